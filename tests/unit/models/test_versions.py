"""The current version changes whole, is logged, and goes back; what is left out is deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.inference.store import ModelStore
from tests.unit.fake_s3 import FakeS3
from tests.unit.inference.conftest import write_colours
from visionstack.models.errors import ModelError
from visionstack.models.publishing import publish
from visionstack.models.versions import Versions


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


def add(s3: FakeS3, version: str, *, share: float | None = None, data: str = "d") -> None:
    s3.objects[f"models/m/{version}/model.onnx"] = b"graph"
    s3.objects[f"models/m/{version}/model.json"] = b"{}"
    if share is not None:
        top1 = {"share": share, "low": share - 0.03, "high": share + 0.03}
        record = {"test": {"top1": top1}, "products": {"sha256": data, "seed": 0}}
        s3.objects[f"models/m/{version}/training.json"] = json.dumps(record).encode()


@pytest.fixture
def versions(s3: FakeS3) -> Versions:
    for version in ("v1", "v2", "v3", "v4", "v5"):
        add(s3, version)
    return Versions(s3, "b", "m")


def test_servers_read_what_was_promoted_and_rollbacks_go_back_one_by_one(
    s3: FakeS3, versions: Versions
) -> None:
    for version in ("v1", "v2", "v3"):
        versions.promote(version)
        assert ModelStore(s3, "b").current_version("m") == version
    assert [versions.rollback().new, versions.rollback().new] == ["v2", "v1"]
    with pytest.raises(ModelError, match="no earlier version"):
        versions.rollback()
    versions.promote("v4")
    assert versions.rollback().new == "v1"
    log = versions.log()
    assert [(c.number, c.action, c.old, c.new) for c in log[2:5]] == [
        (3, "promote", "v2", "v3"),
        (4, "rollback", "v3", "v2"),
        (5, "rollback", "v2", "v1"),
    ]
    assert all(change.who and change.when for change in log)


def test_a_pointer_from_before_the_log_is_a_version_to_go_back_to(
    s3: FakeS3, versions: Versions
) -> None:
    s3.objects["models/m/current"] = b"v1\n"
    versions.promote("v2")
    assert versions.rollback().new == "v1"


def test_what_is_not_whole_in_the_bucket_is_not_promoted(s3: FakeS3, versions: Versions) -> None:
    del s3.objects["models/m/v2/model.json"]
    with pytest.raises(ModelError, match="no published version v2"):
        versions.promote("v2")
    assert versions.current() is None


def test_of_two_that_promote_at_once_one_is_refused(
    s3: FakeS3, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the version is the same again when the second writes."""
    versions.promote("v1")
    published: Callable[[], list[str]] = versions.published

    def meanwhile() -> list[str]:
        other = Versions(s3, "b", "m")
        other.promote("v3")
        other.promote("v1")
        return published()

    monkeypatch.setattr(versions, "published", meanwhile)
    with pytest.raises(ModelError, match="changed by somebody else"):
        versions.promote("v2")
    assert versions.current() == "v1"
    assert [change.new for change in versions.log()] == ["v1", "v3", "v1"]


@pytest.mark.parametrize("writes", [0, 1])
def test_a_kill_at_any_write_leaves_a_version_and_its_log(
    s3: FakeS3, versions: Versions, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    versions.promote("v1")
    put, done = s3.put_object, 0

    def killed(**kwargs: object) -> None:
        nonlocal done
        # The first write of a promotion repeats the log's last entry, the second moves the pointer.
        if done == writes + 1:
            raise KeyboardInterrupt
        done += 1
        put(**kwargs)

    monkeypatch.setattr(s3, "put_object", killed)
    with pytest.raises(KeyboardInterrupt):
        versions.promote("v2")
    monkeypatch.undo()
    after = Versions(s3, "b", "m")
    expected = ["v1", "v2"][: writes + 1]
    assert after.current() == expected[-1]
    assert [change.new for change in after.log()] == expected
    after.promote("v3")
    assert [json.loads(s3.objects[f"models/m/log/{n:06}.json"])["new"]
            for n in range(1, len(expected) + 2)] == [*expected, "v3"]  # fmt: skip


def test_what_is_worse_on_the_same_test_pictures_is_refused_unless_told_to(s3: FakeS3) -> None:
    add(s3, "good", share=0.9)
    add(s3, "same", share=0.88)
    add(s3, "worse", share=0.8)
    add(s3, "other", share=0.8, data="another data set")
    versions = Versions(s3, "b", "m")
    versions.promote("good")
    with pytest.raises(ModelError, match=r"worse than the current good: 80\.0%"):
        versions.promote("worse")
    assert versions.current() == "good"
    for version in ("same", "good", "other", "good"):
        assert versions.promote(version)
    changed = versions.promote("worse", anyway=True)
    assert changed is not None
    assert changed.top1 == {"share": 0.8, "low": pytest.approx(0.77), "high": pytest.approx(0.83)}


def test_what_was_current_last_is_kept_and_the_rest_is_deleted(
    s3: FakeS3, versions: Versions
) -> None:
    for version in ("v1", "v2", "v3", "v4"):
        versions.promote(version)
    assert versions.collect(keep=2) == ("v1", "v2", "v5")
    assert versions.published() == ["v3", "v4"]
    assert not [key for key in s3.objects if key.startswith(("models/m/v1/", "models/m/v5/"))]
    assert versions.log()[-1].gone == ("v1", "v2", "v5")
    assert versions.rollback().new == "v3"


def test_a_version_that_is_being_deleted_is_not_promoted(
    s3: FakeS3, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.promote("v1")
    versions.promote("v2")
    delete = s3.delete_object

    def meanwhile(**kwargs: object) -> None:
        with pytest.raises(ModelError, match="no published version v5"):
            Versions(s3, "b", "m").promote("v5")
        delete(**kwargs)

    monkeypatch.setattr(s3, "delete_object", meanwhile)
    assert "v5" in versions.collect(keep=1)
    monkeypatch.undo()
    add(s3, "v5")
    versions.promote("v5", action="publish")
    assert versions.current() == "v5"


@pytest.mark.parametrize("killed", [False, True], ids=["deleted", "announced and killed"])
def test_a_deleted_version_that_is_published_aside_again_can_be_promoted(
    s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    made = [write_colours("colours", root=tmp_path, padding=padding) for padding in range(3)]
    first = made[0].manifest.version
    for artifact in made:
        publish(artifact, client=s3, bucket="b")
    versions = Versions(s3, "b", "colours")
    with monkeypatch.context() as patched:
        if killed:
            patched.setattr(s3, "delete_object", lambda **_: 1 / 0)
        with suppress(ModelError):
            assert first in versions.collect(keep=1)
    with pytest.raises(ModelError, match="it was deleted"):
        versions.promote(first)
    assert publish(made[0], client=s3, bucket="b", promote=False)
    assert versions.current() == made[2].manifest.version
    assert versions.log()[-1].back == first
    assert versions.promote(first)
    assert ModelStore(s3, "b").pull("colours", tmp_path / "pulled", version=first)
