"""`publish` and `collect` of two processes on one bucket, in every order of their requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runtime.inference.artifact import MANIFEST, Artifact
from tests.unit.fake_s3 import FakeS3
from tests.unit.inference.conftest import write_colours
from visionstack.models.errors import ModelError
from visionstack.models.publishing import publish
from visionstack.models.versions import LONGEST_COLLECTION, Versions

PREFIX = "models/colours/"
Operation = Callable[[Any], object]


class Bucket(FakeS3):
    """What is written again was written just now."""

    answer_seconds = 0.0

    def upload_file(self, Filename: str, Bucket: str, Key: str) -> None:  # noqa: N803
        super().upload_file(Filename, Bucket, Key)
        self.written.pop(Key, None)


class Process:
    """Does as many of its requests as it is told to."""

    def __init__(self, s3: FakeS3, operation: Operation) -> None:
        self._s3 = s3
        self._may_go_on = threading.Semaphore(0)
        self._stands = threading.Semaphore(0)
        self._held = True
        self.ended = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(operation,), daemon=True)
        self._thread.start()
        self._stands.acquire()

    def __getattr__(self, name: str) -> Any:
        called = getattr(self._s3, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            # Other objects that are read are never written again.
            constant = name == "get_object" and not kwargs["Key"].endswith("/current")
            if self._held and not constant:
                self._stands.release()
                self._may_go_on.acquire()
            return called(*args, **kwargs)

        return call

    def _run(self, operation: Operation) -> None:
        try:
            operation(self)
        except BaseException as error:
            self.error = error
        self.ended = True
        self._stands.release()

    def do(self, requests: int) -> bool:
        """Whether it has not ended before as many were done."""
        for _ in range(requests):
            if self.ended:
                return False
            self._may_go_on.release()
            self._stands.acquire()
        return True

    def finish(self) -> None:
        self._held = False
        self._may_go_on.release()
        self._thread.join()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    folder = tmp_path_factory.mktemp("made")
    return [write_colours("colours", root=folder, padding=padding) for padding in range(2)]


def published(artifact: Artifact, s3: FakeS3) -> None:
    publish(artifact, client=s3, bucket="b", promote=False)


def never_there(artifact: Artifact, s3: FakeS3) -> None:
    pass


def deleted(artifact: Artifact, s3: FakeS3) -> None:
    published(artifact, s3)
    Versions(s3, "b", "colours").collect(keep=1)


def brought_back(artifact: Artifact, s3: FakeS3) -> None:
    deleted(artifact, s3)
    published(artifact, s3)


def left_over(artifact: Artifact, s3: FakeS3) -> None:
    """Files of a `publish` that was killed two days ago."""
    before = set(s3.objects)
    published(artifact, s3)
    del s3.objects[f"{PREFIX}{artifact.manifest.version}/{MANIFEST}"]
    s3.written = dict.fromkeys(set(s3.objects) - before, datetime.now(UTC) - timedelta(days=2))


def orders(
    bucket: Callable[[], Bucket], publishing: Operation, collecting: Operation
) -> Iterator[tuple[Bucket, BaseException | None]]:
    """One process stops after each of its requests, the other does its first 1, 2, ... all, then
    both do the rest; the bucket afterwards, and what the publisher raised."""
    for publisher_begins in (True, False):
        before, more = 0, True
        while more:
            meanwhile, some_left = 0, True
            while some_left:
                meanwhile += 1
                s3 = bucket()
                publisher, collector = Process(s3, publishing), Process(s3, collecting)
                one, two = (publisher, collector)[:: 1 if publisher_begins else -1]
                more = one.do(before)
                some_left = two.do(meanwhile)
                one.finish()
                two.finish()
                assert collector.error is None or isinstance(collector.error, ModelError)
                yield s3, publisher.error
            before += 1


def check_whole(s3: FakeS3) -> None:
    """Whatever is current, or may become so, has all files of its manifest."""
    versions = Versions(s3, "b", "colours")
    for version in {str(versions.current()), *versions.published()}:
        if not versions.collected(version):
            manifest = json.loads(s3.objects[f"{PREFIX}{version}/{MANIFEST}"])
            assert all(f"{PREFIX}{version}/{name}" in s3.objects for name in manifest["files"])


@pytest.mark.parametrize(
    ("state", "promote"),
    [
        *((state, True) for state in (never_there, published, deleted, brought_back, left_over)),
        *((state, False) for state in (deleted, left_over)),
    ],
)
def test_in_every_order_what_is_published_is_whole_or_refused(
    made: list[Artifact], state: Callable[..., None], promote: bool
) -> None:
    served, raced = made
    versions = [one.manifest.version for one in made]

    before = Bucket()
    publish(served, client=before, bucket="b")
    state(raced, before)

    def bucket() -> Bucket:
        s3 = Bucket(dict(before.objects))
        s3.written = dict(before.written)
        return s3

    def publishing(s3: Any) -> object:
        return publish(raced, client=s3, bucket="b", promote=promote)

    outcomes = set()
    for s3, error in orders(
        bucket, publishing, lambda s3: Versions(s3, "b", "colours").collect(keep=1)
    ):
        check_whole(s3)
        assert error is None or isinstance(error, ModelError)
        outcomes.add(type(error))
        assert Versions(s3, "b", "colours").current() == versions[promote and not error]
        # Whoever was refused succeeds when nobody else is at it.
        publishing(s3)
        check_whole(s3)
        assert versions[1] in Versions(s3, "b", "colours").published()
    assert type(None) in outcomes


def test_what_a_killed_collection_announced_is_published_again_once_nobody_can_be_deleting_it(
    made: list[Artifact],
) -> None:
    s3 = Bucket()
    publish(made[0], client=s3, bucket="b")
    published(made[1], s3)
    killed = Process(s3, lambda s3: Versions(s3, "b", "colours").collect(keep=1))
    while Versions(s3, "b", "colours").log()[-1].action != "collect":
        assert killed.do(1)
    with pytest.raises(ModelError, match="being deleted") as refused:
        publish(made[1], client=s3, bucket="b")
    assert "30 minutes" in str(refused.value.remedy)

    (mark,) = [key for key in s3.objects if key.startswith(f"{PREFIX}collecting/")]
    s3.written[mark] = datetime.now(UTC) - 2 * LONGEST_COLLECTION
    assert publish(made[1], client=s3, bucket="b")
    check_whole(s3)
    Versions(s3, "b", "colours").collect(keep=1)
    assert mark not in s3.objects


def test_a_collection_stops_before_others_take_it_for_dead(
    made: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = Bucket()
    publish(made[0], client=s3, bucket="b")
    published(made[1], s3)
    monkeypatch.setattr("visionstack.models.versions.LONGEST_COLLECTION", timedelta(0))
    with pytest.raises(ModelError, match="took longer"):
        Versions(s3, "b", "colours").collect(keep=1)
    assert made[1].manifest.version in Versions(s3, "b", "colours").published()
