"""What atheris calls with bytes of its invention: the codec and both ends of the protocol.

Run by `benchmarks.fuzzing` in a virtual environment that holds atheris and nothing else.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports():
    from runtime.protocol import messages
    from runtime.protocol.connection import ClientConnection, ServerConnection
    from runtime.protocol.errors import ProtocolError
    from runtime.protocol.framing import MessageReader
    from runtime.protocol.limits import Limits


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
    server, client = ServerConnection(limits=Limits()), ClientConnection()
    reader = MessageReader(limit=server.message_limit)
    try:
        for message in reader.feed(data):
            server.receive(message)
            client.receive(message)
    except ProtocolError:
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, feed)
    atheris.Fuzz()
