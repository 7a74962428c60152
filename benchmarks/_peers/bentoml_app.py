"""BentoML: a service with a mounted ASGI route, or its own batching over uploaded files.

BentoML's typed inputs for pictures are PIL images and files; the mounted route takes the bytes as
they come. BentoML reads the types of its methods at run time, so they can't be postponed here.
"""

import asyncio
from pathlib import Path
from typing import Any

import bentoml  # type: ignore[import-not-found]
from starlette.applications import Starlette  # type: ignore[import-not-found]
from starlette.requests import Request  # type: ignore[import-not-found]
from starlette.responses import JSONResponse  # type: ignore[import-not-found]
from starlette.routing import Route  # type: ignore[import-not-found]

from benchmarks._peers.pipeline import Configuration, DetectionPipeline

configuration = Configuration.from_env()


async def detect(request: Request) -> JSONResponse:
    """The mounted route."""
    service = bentoml.get_current_service()
    return JSONResponse(await asyncio.to_thread(service.pipeline.detect, await request.body()))


@bentoml.service(workers=configuration.workers, traffic={"timeout": 30}, metrics={"enabled": False})
@bentoml.asgi_app(Starlette(routes=[Route("/detect", detect, methods=["POST"])]), path="/raw")
class DetectionService:
    def __init__(self) -> None:
        self.pipeline = DetectionPipeline(configuration)

    @bentoml.api(  # type: ignore[untyped-decorator]
        batchable=True, max_batch_size=max(2, configuration.batch), max_latency_ms=1000
    )
    def batched(self, pictures: list[Path]) -> list[dict[str, Any]]:
        return self.pipeline.answer([self.pipeline.prepare(p.read_bytes()) for p in pictures])
