"""The agent's process, from `local up`: `python -m visionstack.localcloud.agent FOLDER PYTHON`.

FOLDER holds the embedded cloud's state, PYTHON is what the instances' `aws` runs in. Both are told
and not looked up: the agent works in another folder than the command, so another project is near.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from runtime.redaction import RedactingFormatter
from stacks.catalog import Catalog
from visionstack.cloud import local_state
from visionstack.cloud.clouds import local_environment
from visionstack.cloud.deployment import Deployment
from visionstack.cloud.local_state import CloudFolder
from visionstack.localcloud.agent.agent import Agent
from visionstack.localcloud.agent.groups import DeployedGroups
from visionstack.localcloud.agent.instance import Surroundings


async def serve(folder: CloudFolder, *, cloud_python: Path, port: int) -> None:
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
        cloud_python=cloud_python,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    agent = Agent(groups, surroundings=surroundings, catalog=Catalog.load())
    await agent.run(stop)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for handler in logging.getLogger().handlers:
        if handler.formatter is not None:
            handler.setFormatter(RedactingFormatter(handler.formatter))
    logging.getLogger("botocore").setLevel(logging.WARNING)
    folder, cloud_python = map(Path, sys.argv[1:])
    port = int(os.environ["GATEWAY_PORT"])
    asyncio.run(serve(CloudFolder(folder), cloud_python=cloud_python, port=port))


if __name__ == "__main__":
    main()
