"""Processes that publish, promote, roll back and collect are killed at every call of S3.

The real signal, in a process of its own: nothing of it runs afterwards, no `finally` and no retry.
What is left in the bucket is then looked at by another process, as the next user's.
"""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime.inference.artifact import Artifact
from runtime.inference.store import ModelStore
from tests.unit.fake_s3 import FakeS3, FolderObjects
from tests.unit.inference.conftest import write_colours
from visionstack.models.publishing import publish
from visionstack.models.versions import Versions

MOST_CALLS = 60
Operation = Callable[[Any], object]


class Bucket(FakeS3):
    """On disk, where it outlives who is killed; it answers at once."""

    answer_seconds = 0.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(FolderObjects(folder))

    def copied(self, folder: Path) -> Bucket:
        shutil.copytree(self.folder, folder)
        return Bucket(folder)


class KilledAt:
    """A client whose process is killed at its call number `at`: before it, or when it was done."""

    def __init__(self, client: FakeS3, at: int, *, done: bool) -> None:
        self._client = client
        self._left = at
        self._done = done

    def __getattr__(self, name: str) -> Any:
        called = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left < 0 and not self._done:
                os.kill(os.getpid(), signal.SIGKILL)
            found = called(*args, **kwargs)
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return call


def killed(operation: Operation, client: KilledAt) -> bool:
    """Whether the operation's process was killed; False when it had ended before."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            operation(client)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def check_whole(s3: FakeS3, into: Path) -> str | None:
    """What is current can be pulled, every hash as its manifest says; the log can be read."""
    versions = Versions(s3, "b", "colours")
    current = versions.current()
    if current is not None:
        ModelStore(s3, "b").pull("colours", into, version=current)
        assert current in versions.published()
    canary = versions.canary()
    assert ModelStore(s3, "b").current("colours") == (current, canary)
    if canary is not None:
        ModelStore(s3, "b").pull("colours", into, version=canary.version)
    numbers = [change.number for change in versions.log()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert not versions.log() or versions.log()[-1].new == current
    return current


def versions_with_objects(s3: FakeS3) -> set[str]:
    parts = [key.split("/") for key in s3.objects]
    return {part[2] for part in parts if part[2] not in {"current", "log", "collecting"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    folder = tmp_path_factory.mktemp("made")
    return [write_colours("colours", root=folder, padding=padding) for padding in range(4)]


def operations(made: list[Artifact]) -> dict[str, tuple[Operation, set[int]]]:
    """What is tried, after `publish` of 0 and 1, and which versions may then be current."""
    third = made[2].manifest.version
    return {
        "publish": (lambda s3: publish(made[2], client=s3, bucket="b"), {1, 2}),
        "publish aside": (
            lambda s3: publish(made[2], client=s3, bucket="b", promote=False),
            {1},
        ),
        "promote": (
            lambda s3: Versions(s3, "b", "colours").promote(third, anyway=True),
            {1, 2},
        ),
        "rollback": (lambda s3: Versions(s3, "b", "colours").rollback(), {0, 1}),
        "canary": (lambda s3: Versions(s3, "b", "colours").try_on(third, 0.1, anyway=True), {1}),
        "canary ended": (lambda s3: Versions(s3, "b", "colours").end_canary(), {1}),
        "canary promoted": (
            lambda s3: Versions(s3, "b", "colours").promote(third, anyway=True),
            {1, 2},
        ),
        "collect": (lambda s3: Versions(s3, "b", "colours").collect(keep=1), {1}),
    }


@pytest.mark.parametrize("done", [False, True], ids=["before a call", "after a call"])
@pytest.mark.parametrize(
    "name",
    [
        "publish",
        "publish aside",
        "promote",
        "canary",
        "canary ended",
        "canary promoted",
        "rollback",
        "collect",
    ],
)
def test_whenever_it_is_killed_what_is_current_is_whole_and_the_next_one_succeeds(
    tmp_path: Path, made: list[Artifact], name: str, done: bool
) -> None:
    operation, allowed = operations(made)[name]
    ids = [artifact.manifest.version for artifact in made]
    before = Bucket(tmp_path / "bucket")
    for artifact in made[:2]:
        publish(artifact, client=before, bucket="b")
    if name in {"promote", "canary", "canary ended", "canary promoted"}:
        publish(made[2], client=before, bucket="b", promote=False)
    if name in {"canary ended", "canary promoted"}:
        Versions(before, "b", "colours").try_on(ids[2], 0.5, anyway=True)
    for at in range(MOST_CALLS):
        s3 = before.copied(tmp_path / f"bucket-{at}")
        ended = not killed(operation, KilledAt(s3, at, done=done))

        current = check_whole(s3, tmp_path / f"pulled-{at}")
        assert current in {ids[number] for number in allowed}

        if name != "rollback":  # after one that was done there is nothing more to go back to
            operation(s3)
            check_whole(s3, tmp_path / f"pulled-{at}")
        publish(made[3], client=s3, bucket="b")
        assert Versions(s3, "b", "colours").canary() is None
        assert check_whole(s3, tmp_path / f"pulled-{at}") == ids[3]
        Versions(s3, "b", "colours").rollback()
        if ended:
            break
    else:
        pytest.fail(f"{name} makes more than {MOST_CALLS} calls")
    assert at > 2


@pytest.mark.parametrize("name", ["publish", "publish aside", "collect"])
def test_what_a_kill_left_is_collected_once_nobody_can_be_uploading_it(
    tmp_path: Path, made: list[Artifact], name: str
) -> None:
    operation, _ = operations(made)[name]
    second = made[1].manifest.version
    debris = 0
    before = Bucket(tmp_path / "bucket")
    for artifact in made[:2]:
        publish(artifact, client=before, bucket="b")
    for at in range(MOST_CALLS):
        s3 = before.copied(tmp_path / f"bucket-{at}")
        ended = not killed(operation, KilledAt(s3, at, done=True))
        versions = Versions(s3, "b", "colours")
        partial = versions_with_objects(s3) - set(versions.published())
        debris += len(partial)
        if versions.current() == second:
            versions.collect(keep=2)
            assert versions_with_objects(s3) >= partial  # it may be on its way this very moment
            s3.written = dict.fromkeys(s3.objects, datetime.now(UTC) - timedelta(days=2))
            versions.collect(keep=1)
            assert versions_with_objects(s3) == {second}
        if ended:
            break
    assert debris or name == "collect"
