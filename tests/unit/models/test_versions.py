"""The current version changes whole, is logged, and goes back; what is left out is deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runtime.inference.store import Canary, Current, ModelStore
from tests.unit.fake_s3 import FakeS3
from tests.unit.inference.conftest import write_colours
from visionstack import console
from visionstack.cli import models as command
from visionstack.cli.main import app
from visionstack.errors import UsageError
from visionstack.models.errors import ModelError
from visionstack.models.publishing import publish
from visionstack.models.versions import LONGEST_COLLECTION, Versions


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


def test_a_detector_that_is_worse_on_the_same_held_out_part_is_refused(s3: FakeS3) -> None:
    """The other pictures may be others: a user who adds training pictures keeps the test part."""

    def trained(version: str, share: float, *, part: str = "p", spread: float | None = 0.1) -> None:
        add(s3, version)
        figure: dict[str, Any] = {"share": share}
        if spread is not None:
            figure |= {"low": share - spread, "high": share + spread}
        record = {
            "test": {"ap50_95": figure},
            "products": {"sha256": version, "seed": 0, "judged_sha256": part},
        }
        s3.objects[f"models/m/{version}/training.json"] = json.dumps(record).encode()

    trained("good", 0.6)
    trained("same", 0.55)
    trained("worse", 0.4)
    trained("elsewhere", 0.4, part="another part")
    trained("few", 0.4, spread=None)
    versions = Versions(s3, "b", "m")
    versions.promote("good")
    for version in ("worse", "few"):
        with pytest.raises(ModelError, match=r"40\.0% AP50-95 on the same test pictures against"):
            versions.promote(version)
        with pytest.raises(ModelError, match="worse"):
            versions.try_on(version, 0.1)
    for version in ("same", "good", "elsewhere"):
        change = versions.promote(version)
        assert change is not None
        assert change.top1 is None
    versions.promote("few", anyway=True)
    assert versions.log()[-1].ap50_95 == {"share": 0.4}
    # Nothing says how sure the present one's figure is.
    versions.promote("worse")
    assert versions.log()[0].ap50_95 == {"share": 0.6, "low": 0.5, "high": pytest.approx(0.7)}


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


def test_what_was_uploaded_to_be_promoted_later_is_kept_until_a_later_one_is_current(
    s3: FakeS3, versions: Versions
) -> None:
    for day, version in enumerate(("v1", "v2", "v3", "v4", "v5"), start=1):
        s3.written[f"models/m/{version}/model.json"] = datetime(2026, 11, day, tzinfo=UTC)
    versions.promote("v2")
    versions.promote("v3")
    versions.rollback()
    assert versions.collect(keep=1) == ("v1", "v3")
    assert versions.published() == ["v2", "v4", "v5"]
    versions.promote("v5")
    assert versions.collect(keep=1) == ("v2", "v4")


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
    since = versions.before_upload("v5")
    add(s3, "v5")
    versions.promote("v5", action="publish", since=since)
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
    s3.written = dict.fromkeys(s3.objects, datetime.now(UTC) - 2 * LONGEST_COLLECTION)
    assert publish(made[0], client=s3, bucket="b", promote=False)
    assert versions.current() == made[2].manifest.version
    assert versions.promote(first)
    assert versions.log()[-2].back == first
    assert ModelStore(s3, "b").pull("colours", tmp_path / "pulled", version=first)


# A version that is tried on a share of the traffic.


def test_a_canary_is_beside_the_current_version_until_it_is_promoted_or_ended(
    s3: FakeS3, versions: Versions
) -> None:
    store = ModelStore(s3, "b")
    with pytest.raises(ModelError, match="no current version"):
        versions.try_on("v2", 0.1)
    versions.promote("v1")
    for share in (0.1, 0.25):
        versions.try_on("v2", share)
        assert store.current("m") == Current("v1", Canary("v2", share))
        assert versions.canary() == Canary("v2", share)
    with pytest.raises(ModelError, match="v1 is current"):
        versions.try_on("v1", 0.1)
    versions.promote("v2")
    assert store.current("m") == Current("v2")
    for end in (versions.end_canary, versions.rollback, lambda: versions.promote("v2")):
        versions.try_on("v3", 0.5)
        assert end()
        assert store.current("m") == Current("v2")
    assert versions.end_canary() is None
    assert versions.rollback().new == "v1"
    told = [(one.action, one.old, one.new, one.canary) for one in versions.log()]
    assert told[1:6] == [
        ("canary", "v1", "v1", Canary("v2", 0.1)),
        ("canary", "v1", "v1", Canary("v2", 0.25)),
        ("promote", "v1", "v2", None),
        ("canary", "v2", "v2", Canary("v3", 0.5)),
        ("canary", "v2", "v2", None),
    ]


def test_a_canary_stays_when_the_current_version_is_published_again(
    s3: FakeS3, versions: Versions
) -> None:
    """As each deployment does."""
    versions.promote("v1")
    versions.try_on("v2", 0.1)
    assert versions.promote("v1", action="publish") is None
    assert versions.canary() == Canary("v2", 0.1)


def test_readers_of_before_canaries_follow_the_majority(s3: FakeS3, versions: Versions) -> None:
    versions.promote("v1")
    versions.try_on("v2", 0.1)
    first, _, _ = s3.objects["models/m/current"].partition(b"\n")
    assert first == b"v1"
    versions.end_canary()
    known = {"number", "action", "old", "new", "who", "when", "top1", "gone"}
    assert json.loads(s3.objects["models/m/current"].partition(b"\n")[2]).keys() == known


@pytest.mark.parametrize(
    "change",
    [
        b"",
        b"no JSON",
        b"[]",
        b'{"canary": 3}',
        b'{"canary": {"version": "v2"}}',
        b'{"canary": {"version": "../v2", "share": 0.1}}',
        b'{"canary": {"version": "v2", "share": 1.5}}',
        b'{"canary": {"version": "v2", "share": "some"}}',
        b'{"canary": {"version": ["v2"], "share": 0.1}}',
        b'{"canary": {"version": "v2", "share": NaN}}',
    ],
)
def test_a_canary_that_is_unclear_is_none(s3: FakeS3, change: bytes) -> None:
    s3.objects["models/m/current"] = b"v1\n" + change + b"\n"
    assert ModelStore(s3, "b").current("m") == Current("v1")


def test_what_would_not_be_promoted_is_not_tried_unless_told_to(s3: FakeS3) -> None:
    add(s3, "good", share=0.9)
    add(s3, "worse", share=0.8)
    versions = Versions(s3, "b", "m")
    versions.promote("good")
    for refused, reason in (("worse", "worse than the current"), ("none", "no published version")):
        with pytest.raises(ModelError, match=reason):
            versions.try_on(refused, 0.1)
    tried = versions.try_on("worse", 0.1, anyway=True)
    assert tried.top1 is not None
    assert tried.top1["share"] == 0.8


def test_what_is_tried_is_not_deleted_and_stays_tried(s3: FakeS3, versions: Versions) -> None:
    for version in ("v1", "v2", "v3"):
        versions.promote(version)
    versions.try_on("v5", 0.1)
    assert versions.collect(keep=1) == ("v1", "v2", "v4")
    assert versions.canary() == Canary("v5", 0.1)
    assert versions.promote("v5")


def test_an_entry_with_a_field_of_a_later_version_is_read(s3: FakeS3, versions: Versions) -> None:
    versions.promote("v1")
    key = "models/m/log/000001.json"
    s3.objects[key] = json.dumps({**json.loads(s3.objects[key]), "later": 1}).encode()
    assert versions.log()[0].new == "v1"


def test_the_commands_try_a_version_tell_of_it_and_end_it(
    s3: FakeS3, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_published", lambda *_: lambda _: versions)
    versions.promote("v1")

    def told(*words: str) -> str:
        done = CliRunner().invoke(app, ["models", *words])
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    assert told("promote", "m", "v2", "--canary", "10%") == "canary: v2 on 10 % beside v1"
    assert told("promote", "m", "--canary", "0.25") == "canary: v2 on 25 % beside v1"
    shown = told("versions", "m").splitlines()
    assert shown[:3] == ["v1 (current, 75 % of the traffic)", "v2 (25 % of the traffic)", "v3"]
    monkeypatch.setattr(console.out, "_width", 200)
    listed = {one["name"]: one["served"] for one in json.loads(told("list", "--served", "--json"))}
    assert listed["yolov3"] == {"v1": 0.75, "v2": 0.25}
    assert "v1, 75 %" in told("list", "--served")
    assert told("promote", "m", "--canary", "0") == "canary: ended, all to v1"
    assert told("promote", "m", "--canary", "0") == "no version is tried"
    told("promote", "m", "v2", "--canary", "10%")
    assert told("promote", "m") == "current: v2 (was v1)"
    assert told("log", "m").splitlines()[1].endswith("canary: v2 on 10 % beside v1")
    assert versions.canary() is None
    for wrong in (["--canary", "10"], ["--canary", "100%"], ["--canary", "nan"], []):
        with pytest.raises(UsageError):
            CliRunner().invoke(app, ["models", "promote", "m", *wrong], catch_exceptions=False)


@pytest.mark.parametrize("word", ["versions", "log"])
def test_a_model_that_was_never_published_is_told_so(
    versions: Versions, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setattr(command, "_published", lambda *_: lambda _: versions)
    monkeypatch.setattr(versions, "published", list)
    done = CliRunner().invoke(app, ["models", word, "m"])
    assert done.exit_code == 0
    assert not done.stdout
    assert "Nothing of m is published" in done.stderr


def test_what_was_left_again_is_not_called_newer(s3: FakeS3, versions: Versions) -> None:
    published = datetime(2026, 11, 1, tzinfo=UTC)
    for day, version in enumerate(("v1", "v2", "v3", "v4", "v5")):
        s3.written[f"models/m/{version}/model.json"] = published + timedelta(days=day)
    versions.promote("v1")
    assert versions.newer() == ["v2", "v3", "v4", "v5"]
    versions.promote("v2")
    versions.promote("v3")
    assert versions.newer() == ["v4", "v5"]
    versions.rollback()
    assert versions.newer() == ["v4", "v5"]
    versions.try_on("v5", 0.1)
    assert versions.newer() == ["v4", "v5"]
    versions.end_canary()
    assert versions.newer() == ["v4"]
    versions.rollback()
    assert versions.newer() == ["v4"]
