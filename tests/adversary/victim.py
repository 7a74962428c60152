"""A client that is there to be killed: `PORT TOKEN`, its picture (a JPEG) on standard input."""

from __future__ import annotations

import asyncio
import sys

from tests.adversary.client import Connection, frame


async def main(port: int, token: str, picture: bytes) -> None:
    """Keep four frames under way, without end."""
    one = await Connection.open(port)
    assert isinstance(await one.hello(token=token, policy="lossless"), dict)
    sequence = 0
    while True:
        one.send(frame(sequence, picture, encoding=1))
        sequence += 1
        if sequence > 4:
            await one.receive()
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.stdin.buffer.read()))
