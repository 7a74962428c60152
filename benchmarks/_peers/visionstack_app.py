"""This project's streaming server; without TLS on loopback, as the peers are."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks._peers.pipeline import Configuration
from runtime.contract import Tls
from runtime.streaming.__main__ import run
from runtime.streaming.settings import Settings

TOKEN = "of-this-machine-for-the-time-of-a-measurement"  # noqa: S105 - guards nothing


def main() -> None:
    configuration = Configuration.from_env()
    version = Path(configuration.model)
    settings = Settings(
        models=(version.parent.name,),
        models_folder=version.parent.parent,
        engine="openvino",
        host=configuration.host,
        port=configuration.port,
        http_port=0,
        tls=Tls.SELF_SIGNED if configuration.tls else Tls.OFF,
        token=TOKEN,
        log_level="WARNING",
        reload_seconds=0,
    )
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
