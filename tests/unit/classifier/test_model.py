from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import onnx
import pytest

from runtime.classifier.environment import has_room_for_a_second_model
from runtime.classifier.errors import ModelUnavailableError
from runtime.classifier.model import ModelHost, PublishedModelSource, ServedModel
from runtime.inference.artifact import Artifact, file_entry
from runtime.inference.errors import ArtifactMissingError
from runtime.inference.store import Canary, Current


def test_a_model_is_loaded_once(host: ModelHost, models: Any) -> None:
    assert host.current() is host.current()
    assert models.loads == 1


def test_calls_that_come_at_once_load_one_model(host: ModelHost, models: Any) -> None:
    threads = [threading.Thread(target=host.current) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert models.loads == 1


def test_a_replaced_model_is_served_after_a_refresh(host: ModelHost, models: Any) -> None:
    host.current()
    models.current = "v2"
    host.refresh(at_once=True)
    assert host.current().version == "v2"


def test_a_damaged_replacement_is_refused_and_the_old_model_kept(
    host: ModelHost, models: Any
) -> None:
    old = host.current()
    models.current, models.damaged = "v2", {"v2"}
    host.refresh(at_once=True)
    assert host.current() is old
    assert host.last_failure == "v2 is damaged"
    models.damaged = set()
    host.refresh(at_once=True)
    assert host.current().version == "v2"
    assert host.last_failure is None


def test_a_model_that_started_fast_is_loaded_again_for_fast_calls_once(
    host: ModelHost, models: Any
) -> None:
    quick = host.current()
    host.refresh(at_once=True)
    optimised = host.current()
    host.refresh(at_once=True)
    assert (quick.optimised, optimised.optimised) == (False, True)
    assert host.current() is optimised
    assert models.loads == 2


def test_a_function_without_memory_for_a_second_model_keeps_the_first(models: Any) -> None:
    host = ModelHost(models, may_optimise=lambda: False)
    quick = host.current()
    host.refresh(at_once=True)
    assert host.current() is quick
    models.current = "v2"
    host.refresh(at_once=True)
    assert host.current().version == "v2"


@pytest.mark.parametrize(("resident_mib", "room"), [(200, True), (210, False)])
def test_there_is_room_for_a_second_model_below_two_fifths_of_the_memory(
    tmp_path: Path, resident_mib: int, room: bool
) -> None:
    statm = tmp_path / "statm"
    statm.write_text(f"999999 {resident_mib * 1024 * 1024 // os.sysconf('SC_PAGE_SIZE')} 1 1 0 1 0")
    assert has_room_for_a_second_model(512, statm=statm) is room
    assert has_room_for_a_second_model(100_000)


def test_an_environment_that_lives_on_without_wakeups_is_settled_at_its_first_look(
    models: Any,
) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60)
    host.current()
    now[0] = 59.0
    host.refresh()
    assert not host.current().optimised
    now[0] = 61.0
    host.refresh()
    assert host.current().optimised


def test_a_model_that_cannot_be_settled_is_served_as_it_is(host: ModelHost, models: Any) -> None:
    quick = host.current()
    models.damaged = {"v1"}
    host.refresh(at_once=True)
    assert host.current() is quick
    assert host.last_failure == "v1 is damaged"


def test_a_model_loaded_when_nobody_waits_is_settled_from_the_beginning(host: ModelHost) -> None:
    assert host.current(optimised=True).optimised


def test_a_restored_snapshot_asks_for_a_newer_model_with_its_next_call(models: Any) -> None:
    host = ModelHost(models, clock=lambda: 0.0)
    host.current()
    models.current = "v2"
    host.refresh()
    assert host.current().version == "v1"
    host.restored()
    host.refresh()
    assert host.current().version == "v2"


def test_the_pointer_is_not_asked_for_on_every_call(models: Any) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60)
    host.current()
    models.current = "v2"
    now[0] = 59.0
    host.refresh()
    assert host.current().version == "v1"
    now[0] = 61.0
    host.refresh()
    assert host.current().version == "v2"


def test_a_model_is_replaced_while_calls_run_and_no_call_mixes_the_two(
    function: Any, host: ModelHost, models: Any, pictures: Any, picture: Any
) -> None:
    pictures.pictures["a.jpg"] = picture(110)
    event = {"method": "classification", "file_path": "a.jpg"}
    answers: list[dict[str, Any]] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            answers.append(function.handle(event, None))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for number in range(2, 12):
        models.current = f"v{number}"
        host.refresh(at_once=True)
    stop.set()
    for caller in callers:
        caller.join()
    assert function.handle(event, None)["model"]["version"] == "v11"
    assert {answer["TOP1_ID"] for answer in answers} == {"3"}


def test_a_missing_model_is_asked_for_again(host: ModelHost, models: Any) -> None:
    models.current = ""
    with pytest.raises(ModelUnavailableError, match="there is no model"):
        host.current()
    models.current = "v1"
    assert host.current().version == "v1"


def test_the_packaged_version_serves_at_once_and_the_published_one_after_the_first_call(
    request: pytest.FixtureRequest, models: Any, pictures: Any, picture: Any
) -> None:
    pictures.pictures["a.jpg"] = picture(110)
    models.packaged, models.current = "v1", "v2"
    function = request.getfixturevalue("function")
    event = {"method": "classification", "file_path": "a.jpg"}
    assert function.handle(event, None)["model"]["version"] == "v1"
    for thread in threading.enumerate():
        if thread.name == "model-refresh":
            thread.join()
    assert function.handle(event, None)["model"]["version"] == "v2"


def test_a_packaged_version_that_is_current_is_loaded_once(models: Any) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60)
    models.packaged = "v1"
    host.current()
    host.refresh()
    assert models.loads == 1
    now[0] = 61.0
    host.refresh()
    assert (models.loads, host.current().optimised) == (2, True)


@pytest.mark.parametrize("wait", [False, True])
def test_a_call_waits_for_the_current_version_only_where_it_is_told_to(
    models: Any, wait: bool
) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60, wait_for_current=wait)
    models.packaged, models.current = "v1", "v2"
    assert host.current().version == ("v2" if wait else "v1")
    models.current = "v3"
    assert host.current().version == ("v3" if wait else "v1")
    assert not host.current().optimised
    now[0] = 61.0
    host.refresh()
    assert host.current().version == "v3"
    models.current = "v1"
    assert host.current().version == ("v1" if wait else "v3")


def test_a_damaged_version_is_not_waited_for_by_every_call(models: Any) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60, wait_for_current=True)
    host.current()
    models.current, models.damaged = "v2", {"v2"}
    assert [host.current().version for _ in range(5)] == ["v1"] * 5
    assert models.loads == 2
    now[0] = 61.0
    models.damaged = set()
    assert host.current().version == "v2"


def test_a_pointer_that_could_not_be_read_at_the_start_is_asked_for_by_the_next_call(
    models: Any,
) -> None:
    host = ModelHost(models, wait_for_current=True)
    models.packaged, models.current = "v1", ""
    assert host.current().version == "v1"
    models.current = "v2"
    assert host.current().version == "v2"


def test_nobody_waits_for_an_environment_made_ahead_so_it_takes_the_current_version(
    host: ModelHost, models: Any
) -> None:
    models.packaged, models.current = "v1", "v2"
    assert host.current(optimised=True).version == "v2"


@pytest.mark.parametrize("trouble", ["not answering", "damaged"])
def test_the_packaged_version_stands_in_for_one_that_cannot_be_had(
    models: Any, trouble: str
) -> None:
    host = ModelHost(models, wait_for_current=True)
    models.packaged, models.current = "v1", "" if trouble == "not answering" else "v2"
    models.damaged = {"v2"}
    assert host.current().version == "v1"
    assert host.last_failure
    models.current, models.damaged = "v2", set()
    host.refresh(at_once=True)
    assert host.current().version == "v2"


def test_a_damaged_package_is_no_reason_not_to_serve(host: ModelHost, models: Any) -> None:
    models.packaged, models.damaged, models.current = "v1", {"v1"}, "v2"
    assert host.current().version == "v2"


class EmptyStore:
    """An artifacts bucket in which nothing was published."""

    def current(self, name: str) -> Current:
        raise ArtifactMissingError(f"{name} was not published")


def packaged(artifact: Artifact, into: Path) -> Path:
    """The artifact as a function's package has it."""
    (artifact.folder / "model.onnx").write_bytes(mean_colour_model())
    entry = file_entry(artifact.folder / "model.onnx")
    files = {**artifact.manifest.files, "model.onnx": entry}
    manifest = artifact.manifest._replace(files=files)
    (artifact.folder / "model.json").write_text(manifest.to_json())
    shutil.copytree(artifact.folder, into / "toy" / manifest.version)
    (into / "toy" / "current").write_text(f"{manifest.version}\n")
    return into


def test_a_packaged_model_that_was_never_published_is_current(
    artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = PublishedModelSource(
        EmptyStore(),  # type: ignore[arg-type]
        packaged=packaged(artifact, tmp_path_factory.mktemp("package")),
        name="toy",
        scratch=tmp_path_factory.mktemp("scratch"),
        engine="onnxruntime",
        threads=1,
    )
    version = source.wanted().version
    assert version == source.packaged_version()
    served = source.load(version, optimised=False)
    assert (served.version, served.download_ms) == (version, 0.0)
    served.exercise()


def test_without_a_packaged_or_a_published_model_the_error_says_so(tmp_path: Path) -> None:
    source = PublishedModelSource(
        EmptyStore(),  # type: ignore[arg-type]
        packaged=tmp_path / "models",
        name="toy",
        scratch=tmp_path,
        engine="onnxruntime",
        threads=1,
    )
    assert source.packaged_version() is None
    with pytest.raises(ModelUnavailableError, match="toy was not published"):
        ModelHost(source).current()


class CopyingStore:
    """Pulls from a folder, as ModelStore does from S3."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact

    def pull(self, name: str, into: Path, *, version: str) -> Artifact:
        return Artifact.load(Path(shutil.copytree(self._artifact.folder, into / name / version)))


def mean_colour_model() -> bytes:
    """Logits that are the picture's mean red, green and blue."""
    nodes = [
        onnx.helper.make_node("Cast", ["pictures"], ["floats"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMean", ["floats", "axes"], ["logits"], keepdims=0),
    ]
    pictures = onnx.helper.make_tensor_value_info(
        "pictures", onnx.TensorProto.UINT8, [None, 8, 8, 3]
    )
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [None, 3])
    axes = onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 2])
    graph = onnx.helper.make_graph(nodes, "mean-colour", [pictures], [logits], [axes])
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    return bytes(model.SerializeToString())


def test_a_pulled_model_leaves_no_file_behind_and_is_still_served(
    artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (artifact.folder / "model.onnx").write_bytes(mean_colour_model())
    entry = file_entry(artifact.folder / "model.onnx")
    files = {**artifact.manifest.files, "model.onnx": entry}
    manifest = artifact.manifest._replace(files=files)
    (artifact.folder / "model.json").write_text(manifest.to_json())
    scratch = tmp_path_factory.mktemp("scratch")
    source = PublishedModelSource(
        CopyingStore(artifact),  # type: ignore[arg-type]
        packaged=scratch / "none",
        name="toy",
        scratch=scratch,
        engine="onnxruntime",
        threads=1,
    )
    served = source.load(manifest.version, optimised=False)
    assert list(scratch.iterdir()) == []
    assert (served.version, served.engine) == (manifest.version, "onnxruntime")
    served.exercise()


# A version that is tried on a share of the pictures.


PICTURES = [f"picture {number}".encode() for number in range(1000)]


def answered_by(host: ModelHost) -> list[str]:
    """The version that each of `PICTURES` is answered by, a call after the other."""
    return [host.serving().model_for(one).version for one in PICTURES]


def test_a_canary_answers_its_share_of_the_pictures_and_the_same_ones_again(models: Any) -> None:
    host = ModelHost(models, wait_for_current=True)
    models.canary = Canary("v2", 0.1)
    first = answered_by(host)
    # 99.99 % of shares drawn so lie within four standard deviations, 3.8 % here; these are fixed.
    assert first.count("v2") == pytest.approx(100, abs=38)
    assert set(first) == {"v1", "v2"}
    assert models.loads == 2
    assert answered_by(ModelHost(models, wait_for_current=True)) == first
    models.canary = Canary("v2", 0.4)
    more = answered_by(host)
    assert more.count("v2") == pytest.approx(400, abs=62)
    assert all(now == "v2" for now, before in zip(more, first, strict=True) if before == "v2")
    assert models.loads == 4  # two environments


def test_another_canary_is_tried_on_other_pictures() -> None:
    share = {
        version: {one for one in map(str, range(1000)) if Canary(version, 0.1).takes(one)}
        for version in ("v2", "v3")
    }
    assert len(share["v2"] & share["v3"]) < len(share["v2"]) / 2


def test_a_canary_that_becomes_current_is_not_loaded_again_and_an_ended_one_goes(
    models: Any,
) -> None:
    host = ModelHost(models, wait_for_current=True)
    models.canary = Canary("v2", 0.5)
    canary = host.serving().canary
    assert canary is not None
    models.current, models.canary = "v2", None
    assert host.serving().models == (canary,)
    models.canary = Canary("v3", 0.5)
    assert host.serving().canary is not None
    models.canary = None
    assert host.serving().models == (canary,)
    assert models.loads == 3


def test_a_canary_is_fetched_beside_a_call_and_until_then_the_current_version_answers(
    models: Any,
) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60)
    models.canary = Canary("v2", 0.5)
    assert set(answered_by(host)) == {"v1"}
    host.refresh()
    assert set(answered_by(host)) == {"v1", "v2"}
    models.canary = None
    now[0] = 61.0
    host.refresh()
    assert set(answered_by(host)) == {"v1"}


@pytest.mark.parametrize("wait", [False, True])
def test_a_canary_that_cannot_be_had_leaves_the_current_version_alone(
    models: Any, wait: bool
) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60, wait_for_current=wait)
    models.canary, models.damaged = Canary("v2", 0.5), {"v2"}
    for _ in range(3):
        assert set(answered_by(host)) == {"v1"}
        host.refresh()
    assert host.last_failure == "v2 is damaged"
    assert models.loads == 2
    models.damaged = set()
    now[0] = 61.0
    host.refresh()
    assert set(answered_by(host)) == {"v1", "v2"}
    assert host.last_failure is None


def test_without_memory_for_two_models_the_current_one_answers_all_and_the_log_says_why(
    models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    host = ModelHost(models, wait_for_current=True, may_optimise=lambda: False)
    models.canary = Canary("v2", 0.5)
    assert set(answered_by(host)) == {"v1"}
    assert models.loads == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "v2 is not tried: this function has no memory for two models" in line
    models.current, models.canary = "v2", None
    assert set(answered_by(host)) == {"v2"}


def test_an_environment_made_ahead_has_its_canary_too(models: Any) -> None:
    models.canary = Canary("v2", 0.5)
    host = ModelHost(models)
    host.current(optimised=True)
    assert set(answered_by(host)) == {"v1", "v2"}


def test_a_canary_that_was_current_changes_places(models: Any) -> None:
    """v1 serves while v2 is promoted and v1 is tried again, before anybody looked."""
    host = ModelHost(models, wait_for_current=True)
    host.current()
    models.current, models.canary = "v2", Canary("v1", 0.3)
    answers = answered_by(host)
    assert answers.count("v1") == pytest.approx(300, abs=58)
    assert models.loads == 2


def test_versions_change_under_calls_and_no_picture_is_answered_by_a_third(models: Any) -> None:
    host = ModelHost(models)
    host.current()
    allowed = {"v1", "v2"}
    seen: set[str] = set()
    failed: list[BaseException] = []
    done = threading.Event()
    caller_has_run = threading.Event()

    def call() -> None:
        while not done.is_set():
            try:
                seen.update(answered_by(host))
            except BaseException as error:
                failed.append(error)
            caller_has_run.set()

    caller = threading.Thread(target=call)
    caller.start()
    try:
        for turn in range(50):
            models.canary = Canary("v2", 0.5) if turn % 2 else None
            host.refresh(at_once=True)
            serving = host.serving()
            assert isinstance(serving.model, ServedModel)
            assert len(serving.models) == 1 + turn % 2
            if turn % 2:  # a turn may be over before the other thread has run once
                caller_has_run.clear()
                assert caller_has_run.wait(30)
    finally:
        done.set()
        caller.join()
    assert failed == []
    assert seen == allowed
