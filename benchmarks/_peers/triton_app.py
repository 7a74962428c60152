"""Triton, as PyTriton brings it: the server's Python backend calls this process over shared memory.

Pictures and answers are BYTES tensors, in Triton's binary form; Triton batches by itself.
"""

from __future__ import annotations

import json
import signal
from typing import Any

import numpy as np
from pytriton.decorators import batch  # type: ignore[import-not-found]
from pytriton.model_config import (  # type: ignore[import-not-found]
    DynamicBatcher,
    ModelConfig,
    Tensor,
)
from pytriton.triton import Triton, TritonConfig  # type: ignore[import-not-found]

from benchmarks._peers.pipeline import Configuration, DetectionPipeline


def worker(configuration: Configuration) -> Any:
    """The function that one instance of the model calls."""
    pipeline = DetectionPipeline(configuration)

    @batch  # type: ignore[untyped-decorator]
    def detect(picture: Any) -> dict[str, Any]:
        answers = pipeline.answer([pipeline.prepare(bytes(row[0])) for row in picture])
        return {"answer": np.array([[json.dumps(answer).encode()] for answer in answers])}

    return detect


def main() -> None:
    configuration = Configuration.from_env()
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=configuration.port,
        allow_grpc=False,
        allow_metrics=False,
        log_verbose=0,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="detect",
            infer_func=[worker(configuration) for _ in range(configuration.workers)],
            inputs=[Tensor(name="picture", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="answer", dtype=bytes, shape=(1,))],
            config=ModelConfig(
                max_batch_size=configuration.batch,
                batcher=DynamicBatcher(),
            ),
        )
        triton.run()
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
