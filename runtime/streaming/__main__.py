"""`python -m runtime.streaming`: the server as it is deployed, set by environment variables."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys

from runtime.protocol.errors import StreamingError
from runtime.streaming.errors import EngineBrokenError
from runtime.streaming.host import aws, logs
from runtime.streaming.host.descriptors import make_room_when_exhausted, raise_limit
from runtime.streaming.host.instance import InstanceMetadata, Leaving, NotAnInstanceError, leaving
from runtime.streaming.memory import exempt_from_collection
from runtime.streaming.server import Server
from runtime.streaming.settings import Settings
from runtime.streaming.supervision import supervised

log = logging.getLogger("runtime.streaming")


async def run(settings: Settings, *, server: Server | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or until the instance has to go; then drain and stop.

    Any of these also ends the wait for a model.

    Raises EngineBrokenError, after a drain as well, when only a new process can serve on.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = server or Server(settings)
    raise_limit(settings.limits.descriptors)
    make_room_when_exhausted(server.make_room)
    metadata = InstanceMetadata(settings.metadata_endpoint)
    starting = asyncio.create_task(server.start())
    telling = asyncio.create_task(_tell_deployment(server, settings, metadata))
    ending = asyncio.create_task(
        _first(stopped, server.broken, metadata if settings.group else None)
    )
    try:
        await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            exempt_from_collection()
        notice = await ending
        starting.cancel()
        if server.registry is not None:
            await server.drain(notice.reason if notice else "the server is stopping")
    finally:
        tasks = (starting, ending, telling)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()
    if notice is not None and notice.hook and settings.group is not None:
        await asyncio.to_thread(_complete_drain, settings.group, metadata)
    if notice is None and not stopped.is_set():
        raise EngineBrokenError("An engine failed on a picture that is known to be good.")
    if notice is not None:
        # To end now would have systemd start the server once more on an instance that is going.
        await stopped.wait()


async def _tell_deployment(server: Server, settings: Settings, metadata: InstanceMetadata) -> None:
    """Once the server listens: with or without its models, its boot has succeeded."""
    if settings.stack is None or settings.stack_resource is None:
        return
    await server.listening.wait()
    try:
        instance = await asyncio.to_thread(metadata.get, "instance-id")
    except NotAnInstanceError:
        return
    await asyncio.to_thread(
        aws.signal_listening, settings.stack, settings.stack_resource, instance or ""
    )


def _complete_drain(group: str, metadata: InstanceMetadata) -> None:
    try:
        instance = metadata.get("instance-id")
    except NotAnInstanceError as error:
        log.warning("the drain hook was not completed", extra={"reason": str(error)})
        return
    aws.complete_drain(group, instance or "")


async def _first(
    stopped: asyncio.Event, broken: asyncio.Event, metadata: InstanceMetadata | None
) -> Leaving | None:
    """Wait for the signal, a broken engine or the instance's notice; None for the first two."""
    signalled = asyncio.create_task(stopped.wait())
    waiting: set[asyncio.Task[object]] = {signalled, asyncio.create_task(broken.wait())}
    told = None
    if metadata is not None:
        told = asyncio.create_task(
            supervised("notice of leaving", functools.partial(leaving, metadata))
        )
        waiting.add(told)
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return told.result() if told is not None and told.done() and not signalled.done() else None


def main() -> int:
    """Exit code: 0 after a drain, 1 when it could not start."""
    try:
        settings = Settings.from_env(os.environ)
        logs.configure(settings.log_level, group=settings.log_group)
        asyncio.run(run(settings))
    except StreamingError as error:
        print(f"visionstack stream server: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
