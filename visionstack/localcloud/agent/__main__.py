"""The agent's process: `python -m visionstack.localcloud.agent STATE_FOLDER`, from `local up`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from stacks.catalog import Catalog
from visionstack import paths
from visionstack.cloud import local_state
from visionstack.cloud.clouds import local_environment
from visionstack.cloud.deployment import Deployment
from visionstack.cloud.local_state import CloudFolder
from visionstack.localcloud.agent.agent import Agent
from visionstack.localcloud.agent.groups import DeployedGroups
from visionstack.localcloud.agent.instance import Surroundings


async def serve(folder: CloudFolder, *, port: int) -> None:
    """Follow the groups until SIGTERM."""
    endpoint = local_state.endpoint_url(port)
    cloud = Deployment(cloud="local", prefix="", endpoint_url=endpoint)
    groups = DeployedGroups(
        autoscaling=cloud.client("autoscaling"),
        ec2=cloud.client("ec2"),
        cloudformation=cloud.client("cloudformation"),
    )
    surroundings = Surroundings(
        folder=folder,
        environment={
            **local_environment(endpoint, environment={"LANG": "C.UTF-8"}),
            local_state.MARK_VARIABLE: str(folder.root),
        },
        cloud_python=paths.CLOUD_VENV / "bin" / "python",
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    agent = Agent(groups, surroundings=surroundings, catalog=Catalog.load())
    await agent.run(stop)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    asyncio.run(serve(CloudFolder(Path(sys.argv[1])), port=int(os.environ["GATEWAY_PORT"])))


if __name__ == "__main__":
    main()
