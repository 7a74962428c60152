"""This project's streaming server, without TLS as the peers are: all listen on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks._peers.pipeline import Configuration
from runtime.streaming.__main__ import run
from runtime.streaming.settings import Settings, Tls

TOKEN = "benchmark"  # noqa: S105 - loopback, for the time of a measurement


def main() -> None:
    configuration = Configuration.from_env()
    version = Path(configuration.model)
    settings = Settings(
        models=(version.parent.name,),
        models_folder=version.parent.parent,
        engine="openvino",
        port=configuration.port,
        http_port=0,
        tls=Tls.OFF,
        token=TOKEN,
        log_level="WARNING",
        reload_seconds=0,
    )
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
