"""Ray Serve: a deployment behind its HTTP proxy, with `serve.batch` where pictures are batched."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import ray  # type: ignore[import-not-found]
from ray import serve
from starlette.requests import Request  # type: ignore[import-not-found]

from benchmarks._peers.pipeline import Configuration, DetectionPipeline


class Detection:
    """One picture a call; the engine runs beside the replica's event loop."""

    def __init__(self, configuration: Configuration) -> None:
        self.pipeline = DetectionPipeline(configuration)

    async def __call__(self, request: Request) -> dict[str, Any]:
        body: bytes = await request.body()
        return await asyncio.to_thread(self.pipeline.detect, body)


class BatchedDetection:
    """As many pictures a call as have come in two milliseconds."""

    def __init__(self, configuration: Configuration) -> None:
        self.pipeline = DetectionPipeline(configuration)
        self.detect.set_max_batch_size(configuration.batch)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.002)  # type: ignore[untyped-decorator]
    async def detect(self, bodies: list[bytes]) -> list[dict[str, Any]]:
        return await asyncio.to_thread(
            lambda: self.pipeline.answer([self.pipeline.prepare(body) for body in bodies])
        )

    async def __call__(self, request: Request) -> dict[str, Any]:
        answer: dict[str, Any] = await self.detect(await request.body())
        return answer


def main() -> None:
    configuration = Configuration.from_env()
    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": configuration.port},
        logging_config={"enable_access_log": False},
    )
    deployment = serve.deployment(
        Detection if configuration.batch == 1 else BatchedDetection,
        num_replicas=configuration.workers,
        max_ongoing_requests=64,
        ray_actor_options={"num_cpus": 1},
        logging_config={"enable_access_log": False},
    )
    serve.run(deployment.bind(configuration))
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
