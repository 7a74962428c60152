"""LitServe: the body reaches the worker as bytes, through LitServe's ZeroMQ queue.

LitServe reads the types of `decode_request` at run time, so they can't be postponed here.
"""

from typing import Annotated, Any

import litserve  # type: ignore[import-not-found]
from fastapi import Depends, Request  # type: ignore[import-not-found]

from benchmarks._peers.pipeline import Configuration, DetectionPipeline
from runtime.inference.detector import Prepared


async def raw_body(request: Request) -> bytes:
    """The picture as it came: neither form nor base64 has to be taken apart."""
    body: bytes = await request.body()
    return body


class Detection(litserve.LitAPI):  # type: ignore[misc]
    """One picture a call."""

    def setup(self, device: str) -> None:
        self.pipeline = DetectionPipeline(Configuration.from_env())

    def decode_request(self, request: Annotated[bytes, Depends(raw_body)]) -> Prepared:
        return self.pipeline.prepare(request)

    def predict(self, x: Prepared) -> dict[str, Any]:
        return self.pipeline.answer([x])[0]

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


class BatchedDetection(Detection):
    """As many pictures a call as have come in two milliseconds."""

    def batch(self, inputs: list[Prepared]) -> list[Prepared]:
        return inputs

    def predict(self, x: list[Prepared]) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.pipeline.answer(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output


def main() -> None:
    configuration = Configuration.from_env()
    if configuration.batch > 1:
        api: Detection = BatchedDetection(max_batch_size=configuration.batch, batch_timeout=0.002)
    else:
        api = Detection()
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=configuration.workers, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=configuration.port,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
