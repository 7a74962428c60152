"""What atheris calls with bytes of its invention: the codec and both ends of the protocol.

Run by `benchmarks.fuzzing` in a virtual environment that holds atheris and nothing else.
"""

from __future__ import annotations

import contextlib
import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports():
    from runtime.protocol import messages
    from runtime.protocol.connection import Role, StreamProtocol
    from runtime.protocol.errors import ProtocolError


def feed(data: bytes) -> None:
    """Anything but ProtocolError ends the run. What is decoded must survive being sent again."""
    try:
        decoded = messages.decode(data)
    except ProtocolError:
        pass
    else:
        again = messages.decode(decoded.encode())
        # A NaN in a box is not equal to itself; its bytes are.
        if again.encode() != decoded.encode():
            raise AssertionError(f"{decoded} became {again}")
    for role in Role:
        protocol = StreamProtocol(role)
        protocol.receive_data(data)
        with contextlib.suppress(ProtocolError):
            list(protocol.events())


if __name__ == "__main__":
    atheris.Setup(sys.argv, feed)
    atheris.Fuzz()
