from __future__ import annotations

import base64
import io
import json
import random
import struct
import threading
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from runtime.classifier.environment import ExecutionEnvironment
from runtime.classifier.errors import ModelUnavailableError, UnavailableError
from runtime.classifier.function import Function
from runtime.classifier.metrics import CallLog
from runtime.classifier.model import ModelHost
from runtime.classifier.service import ClassifierService

Make = Callable[..., bytes]
CONTEXT = SimpleNamespace(aws_request_id="r-1")


def http(
    function: Function, route: str, body: bytes, *, content_type: str = "application/json",
    verb: str = "POST", binary: bool = False,
) -> tuple[int, dict[str, Any], dict[str, str]]:  # fmt: skip
    event = {
        "resource": route,
        "httpMethod": verb,
        "headers": {"Content-Type": content_type},
        "requestContext": {},
        "body": base64.b64encode(body).decode() if binary else body.decode("utf-8", "replace"),
        "isBase64Encoded": binary,
    }
    answer = function.handle(event, CONTEXT)
    assert answer["headers"]["Content-Type"] == "application/json"
    return answer["statusCode"], json.loads(answer["body"]), answer["headers"]


def classify(function: Function, path: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    body = json.dumps({"method": "classification", "file_path": path}).encode()
    return http(function, "/classification", body)


def recognise(function: Function, data: bytes, kind: str = "image/jpeg") -> tuple[int, Any, Any]:
    return http(function, "/recognitions", data, content_type=kind, binary=True)


def test_a_stored_picture_is_answered_in_the_papers_keys(
    function: Function, pictures: Any, picture: Make
) -> None:
    pictures.pictures["test/a.jpg"] = picture(110)
    status, body, _ = classify(function, "test/a.jpg")
    assert status == 200
    assert body["method"] == "classification"
    assert (body["TOP1_ID"], body["TOP1_label"]) == ("3", "ray")
    shares = [body[f"TOP{place}_softmax"] for place in range(1, 6)]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1
    assert body["time"] > 0
    assert body["model"] == {"name": "toy", "version": "v1", "trained": False}
    assert set(body["timings"]) >= {"download", "decode", "inference"}


def test_only_the_first_call_of_an_environment_is_cold(
    function: Function, pictures: Any, picture: Make
) -> None:
    pictures.pictures["a.jpg"] = picture()
    first, second = classify(function, "a.jpg")[1], classify(function, "a.jpg")[1]
    assert (first["cold"], second["cold"]) == (True, False)
    assert first["environment"] == second["environment"]
    assert "init" in first["timings"]
    assert "init" not in second["timings"]


def test_a_picture_in_the_body_is_kept_and_found_again_by_its_path(
    function: Function, pictures: Any, picture: Make
) -> None:
    data = picture(40)
    status, body, _ = recognise(function, data)
    assert status == 200
    assert body["method"] == "recognition"
    assert pictures.pictures[body["file_path"]] == data
    again = classify(function, body["file_path"])[1]
    assert again["TOP1_ID"] == body["TOP1_ID"] == "1"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_are_decoded_alike(function: Function, picture: Make, kind: str) -> None:
    body = recognise(function, picture(110, kind=kind), f"image/{kind.lower()}")[1]
    assert body["TOP1_ID"] == "3"


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("I;16", "PNG"), ("RGBA", "PNG"), ("1", "PNG")]
)
def test_unusual_pixels_are_decoded(
    function: Function, picture: Make, mode: str, kind: str
) -> None:
    image = picture(255, mode="L", kind="PNG")
    if mode == "I;16":
        buffer = io.BytesIO()
        Image.new("I;16", (9, 9), 65535).save(buffer, "PNG")
        image = buffer.getvalue()
    else:
        image = picture(255, mode=mode, kind=kind)
    assert recognise(function, image)[0] == 200


def test_one_pixel_is_a_picture(function: Function, picture: Make) -> None:
    assert recognise(function, picture(110, size=(1, 1)))[0] == 200


def test_an_animation_is_its_first_frame(function: Function) -> None:
    buffer = io.BytesIO()
    frames = [Image.new("L", (9, 9), shade) for shade in (0, 250)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert recognise(function, buffer.getvalue(), "image/gif")[1]["TOP1_ID"] == "0"


def test_a_picture_turned_by_exif_is_answered(function: Function) -> None:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (30, 10), 110).save(buffer, "JPEG", exif=exif)
    assert recognise(function, buffer.getvalue())[1]["TOP1_ID"] == "3"


def test_bytes_that_are_no_picture_are_refused(function: Function, pictures: Any) -> None:
    status, body, _ = recognise(function, b"<html>not a picture</html>" * 10)
    assert (status, body["code"]) == (422, "not_a_picture")
    assert pictures.pictures == {}


def test_a_truncated_picture_is_refused(function: Function, picture: Make) -> None:
    whole = picture(kind="PNG", size=(200, 200), mode="RGB")
    status, body, _ = recognise(function, whole[: len(whole) // 2])
    assert (status, body["code"]) == (422, "truncated_picture")


def test_a_decompression_bomb_is_refused_by_its_header(function: Function) -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    status, body, _ = recognise(function, bomb, "image/png")
    assert (status, body["code"]) == (413, "too_many_pixels")


def test_an_oversized_picture_is_refused(function: Function) -> None:
    status, body, _ = recognise(function, b"\xff\xd8" + bytes(10 * 1024 * 1024))
    assert (status, body["code"]) == (413, "picture_too_large")


def test_a_body_that_the_gateway_did_not_encode_is_refused(function: Function) -> None:
    answer = http(function, "/recognitions", b"\xff\xd8\xff", content_type="image/jpeg")
    assert answer[0] == 422


def test_an_empty_body_is_refused(function: Function) -> None:
    assert recognise(function, b"")[0] == 400


def test_broken_base64_is_refused(function: Function) -> None:
    event = {"resource": "/recognitions", "httpMethod": "POST", "requestContext": {}, "body": "#",
             "headers": {"content-type": "image/png"}, "isBase64Encoded": True}  # fmt: skip
    assert function.handle(event, CONTEXT)["statusCode"] == 400


def test_a_missing_picture_is_a_404(function: Function) -> None:
    status, body, _ = classify(function, "nope.jpg")
    assert (status, body["code"]) == (404, "not_found")


@pytest.mark.parametrize("body", [b"nope", b"[]", b'{"method": "classification"}'])
def test_a_body_that_is_not_the_routes_is_a_400(function: Function, body: bytes) -> None:
    assert http(function, "/classification", body)[0] == 400


def test_other_content_types_are_a_415(function: Function) -> None:
    assert http(function, "/classification", b"{}", content_type="text/plain")[0] == 415
    assert recognise(function, b"x", "text/html")[0] == 415


def test_other_routes_and_verbs_are_named(function: Function) -> None:
    assert http(function, "/nope", b"{}")[0] == 404
    status, _, headers = http(function, "/wakeup", b"{}", verb="GET")
    assert (status, headers["Allow"]) == (405, "POST")


def test_failing_storage_is_a_503_that_says_when_to_come_back(
    function: Function, pictures: Any
) -> None:
    pictures.down = True
    status, body, headers = classify(function, "a.jpg")
    assert (status, body["code"], headers["Retry-After"]) == (503, "unavailable", "1")


def test_a_missing_model_is_a_503_until_it_is_published(
    function: Function, models: Any, host: Any, pictures: Any, picture: Make
) -> None:
    host._serving, models.current = None, ""
    pictures.pictures["a.jpg"] = picture()
    status, body, _ = classify(function, "a.jpg")
    assert (status, body["code"]) == (503, "model_unavailable")
    models.current = "v2"
    assert classify(function, "a.jpg")[1]["model"]["version"] == "v2"


def test_a_bug_gives_the_request_id_and_no_details(
    function: Function, engine: Any, picture: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.failure = ZeroDivisionError("secret detail")
    status, body, _ = recognise(function, picture())
    assert (status, body["code"]) == (500, "internal_error")
    assert "r-1" in body["message"]
    assert "secret" not in body["message"]
    assert "secret detail" in capsys.readouterr().err


def test_a_wakeup_answers_with_its_environment(function: Function) -> None:
    body = http(function, "/wakeup", b'{"method": "wakeup", "sleep_time": "800"}')[1]
    assert body["method"] == "wakeup"
    assert len(body["environment"]) == 32


def test_a_cold_wakeup_leaves_nothing_for_the_first_picture_to_set_up(
    function: Function, engine: Any, host: Any
) -> None:
    wakeup = b'{"method": "wakeup", "sleep_time": "0"}'
    http(function, "/wakeup", wakeup)
    assert host.current().optimised
    assert engine.runs == 1
    http(function, "/wakeup", wakeup)
    assert engine.runs == 1


def test_a_wakeup_settles_what_a_real_call_started_and_runs_it_once(
    function: Function, engine: Any, host: Any, picture: Make
) -> None:
    recognise(function, picture())
    assert not host.current().optimised
    http(function, "/wakeup", b'{"method": "wakeup", "sleep_time": "0"}')
    assert host.current().optimised
    assert engine.runs == 2


def test_environments_made_ahead_of_calls_are_settled_and_have_run_once(
    service: Any, host: Any, environment: Any, engine: Any
) -> None:
    function = Function(
        service=service, models=host, environment=environment,
        log=SimpleNamespace(write=lambda record: None),  # type: ignore[arg-type]
    )  # fmt: skip
    function.initialise(ahead=True)
    assert host.current().optimised
    assert engine.runs == 1


def test_an_upload_is_handed_out_without_a_model(
    function: Function, host: Any, models: Any
) -> None:
    host._serving, models.current = None, ""
    status, body, _ = http(function, "/images", b'{"method":"images","content_type":"image/png"}')
    assert status == 200
    assert body["file_path"].endswith(".png")
    assert body["max_bytes"] == 10 * 1024 * 1024


def test_a_direct_invocation_takes_and_gives_the_same_json(
    function: Function, pictures: Any, picture: Make
) -> None:
    pictures.pictures["a.jpg"] = picture(110)
    event = {"method": "classification", "file_path": "a.jpg"}
    assert function.handle(event, CONTEXT)["TOP1_ID"] == "3"


@pytest.mark.parametrize("event", [None, [], "text", {}, {"method": 3}, {"method": "recognition"}])
def test_a_direct_invocation_that_makes_no_sense_is_told_so(
    function: Function, event: object
) -> None:
    assert function.handle(event, CONTEXT)["code"] == "bad_request"


def test_a_direct_invocation_raises_what_is_worth_a_retry(
    function: Function, pictures: Any
) -> None:
    pictures.down = True
    with pytest.raises(UnavailableError):
        function.handle({"method": "classification", "file_path": "a.jpg"}, CONTEXT)


def test_a_huge_direct_event_is_refused(function: Function) -> None:
    answer = function.handle({"method": "classification", "file_path": "x" * 300_000}, CONTEXT)
    assert answer["code"] == "too_large"


def test_a_folder_batch_lists_answers_and_failures_and_drops_none(
    function: Function, pictures: Any, picture: Make
) -> None:
    pictures.pictures = {"a.jpg": picture(110), "b.jpg": b"nope"}
    keys = ["pictures/a.jpg", "pictures/b.jpg", "pictures/gone.jpg", "pictures/../x"]
    event = {"method": "folder", "run": "r1", "items": [{"Key": key} for key in keys]}
    answer = function.handle(event, CONTEXT)
    assert (answer["classified"], answer["failed"]) == (1, 3)
    rows = [json.loads(line) for line in pictures.results[answer["results"]].splitlines()]
    assert [row["file_path"] for row in rows] == ["a.jpg", "b.jpg", "gone.jpg", "../x"]
    assert [row.get("code") for row in rows] == [None, "not_a_picture", "not_found", "bad_request"]
    again = function.handle(event, CONTEXT)
    assert again["results"] == answer["results"]


def test_the_next_picture_of_a_batch_and_no_other_arrives_while_one_is_classified(
    function: Function, pictures: Any, engine: Any, picture: Make
) -> None:
    names = ["a.jpg", "b.jpg", "c.jpg"]
    pictures.pictures = dict.fromkeys(names, picture(110))
    began = {name: threading.Event() for name in names}
    fetch, run, seen = pictures.fetch, engine.run, []

    def fetch_and_tell(file_path: str) -> bytes:
        began[file_path].set()
        return bytes(fetch(file_path))

    def run_and_look(batch: Any) -> Any:
        following = names[min(len(seen) + 1, 2)]
        seen.append((began[following].wait(20), sum(event.is_set() for event in began.values())))
        return run(batch)

    pictures.fetch, engine.run = fetch_and_tell, run_and_look
    items = [{"Key": f"pictures/{name}"} for name in names]
    assert function.handle({"method": "folder", "run": "r", "items": items}, CONTEXT)["failed"] == 0
    assert seen == [(True, 2), (True, 3), (True, 3)]


def test_a_folder_batch_is_tried_again_as_a_whole_when_storage_fails(
    function: Function, pictures: Any
) -> None:
    pictures.down = True
    event = {"method": "folder", "run": "r1", "items": [{"Key": "pictures/a.jpg"}]}
    with pytest.raises(UnavailableError):
        function.handle(event, CONTEXT)


def test_every_call_is_one_log_line_with_metrics_and_without_the_path(
    function: Function, pictures: Any, picture: Make, logged: list[dict[str, Any]]
) -> None:
    pictures.pictures["private/name.jpg"] = picture()
    classify(function, "private/name.jpg")
    classify(function, "gone.jpg")
    good, bad = logged
    named = {metric["Name"] for metric in good["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert named <= set(good)
    assert {"ColdCalls", "InitMilliseconds", "InferenceMilliseconds"} <= named
    assert good["BilledMilliseconds"] >= good["DurationMilliseconds"] + good["InitMilliseconds"]
    assert (bad["status"], bad["code"], bad["ClientErrors"]) == (404, "not_found", 1)
    assert "private" not in json.dumps(logged)


def test_a_failing_init_is_left_for_the_first_call(
    service: Any, host: Any, environment: Any, models: Any
) -> None:
    models.damaged = {"v1"}
    function = Function(
        service=service, models=host, environment=environment,
        log=SimpleNamespace(write=lambda record: None),  # type: ignore[arg-type]
    )  # fmt: skip
    function.initialise()
    with pytest.raises(ModelUnavailableError, match="v1 is damaged"):
        function.handle({"method": "wakeup", "sleep_time": "0"}, CONTEXT)


def test_a_load_that_init_has_no_time_for_goes_on_and_the_first_call_waits_for_it(
    service: Any, host: Any, environment: Any
) -> None:
    began, may_end = threading.Event(), threading.Event()
    loads: list[str] = []

    def fetch_libraries() -> None:
        loads.append(threading.current_thread().name)
        began.set()
        assert may_end.wait(60)

    function = Function(
        service=service, models=host, environment=environment, before_model=fetch_libraries,
        log=SimpleNamespace(write=lambda record: None),  # type: ignore[arg-type]
    )  # fmt: skip
    function.initialise(seconds=0.01)
    assert began.wait(60)
    assert not host._serving, "INIT is over, the model is not there yet"
    answers: list[Any] = []
    wakeup = {"method": "wakeup", "sleep_time": "0"}
    call = threading.Thread(target=lambda: answers.append(function.handle(wakeup, CONTEXT)))
    call.start()
    call.join(0.1)
    assert answers == []
    may_end.set()
    call.join(60)
    assert answers[0]["method"] == "wakeup"
    assert len(loads) == 1, "nothing was fetched twice"


def test_init_ends_before_lambda_ends_it(
    service: Any, host: Any, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda gives INIT 10 s, of which interpreter and imports take one at most."""
    waited: list[float | None] = []
    monkeypatch.setattr(threading.Thread, "join", lambda self, timeout=None: waited.append(timeout))
    function = Function(
        service=service, models=host, environment=environment,
        log=SimpleNamespace(write=lambda record: None),  # type: ignore[arg-type]
    )  # fmt: skip
    function.initialise()
    (seconds,) = waited
    assert seconds is not None
    assert 1 < seconds <= 9


def test_no_snapshot_is_taken_of_an_environment_without_its_model(
    service: Any, host: Any, models: Any
) -> None:
    models.current = ""
    variables = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    function = Function(
        service=service, models=host, environment=ExecutionEnvironment(variables, started=0.0),
        log=SimpleNamespace(write=lambda record: None),  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(ModelUnavailableError, match="there is no model"):
        function.initialise(ahead=True)


def test_a_restored_environment_is_another_one_with_new_connections(
    service: Any, host: Any, environment: Any, models: Any
) -> None:
    reconnected: list[bool] = []
    function = Function(
        service=service, models=host, environment=environment,
        log=SimpleNamespace(write=lambda record: None),  # type: ignore[arg-type]
        reconnect=lambda: reconnected.append(True),
    )  # fmt: skip
    before = environment.id
    host.current()
    models.current = "v2"
    random.seed(1)
    before_restore = random.getstate()
    function.restored()
    assert random.getstate() != before_restore
    host.refresh()
    assert host.current().version == "v2"
    assert environment.id != before
    assert reconnected == [True]
    assert function.handle({"method": "wakeup", "sleep_time": "0"}, CONTEXT)["cold"] is False


def test_pages_of_the_origin_that_was_named_may_read_answers_and_errors(
    service: Any, host: Any, environment: Any, picture: Make
) -> None:
    for origin in ("https://203.0.113.7:8443", ""):
        log = CallLog(function_name="classifier", clock=lambda: 0.0, write=lambda _: None)
        function = Function(
            service=service, models=host, environment=environment, log=log, cors_origin=origin
        )
        for data, expected in ((picture(), 200), (b"no picture", 422)):
            status, _, headers = recognise(function, data)
            assert status == expected
            assert headers.get("Access-Control-Allow-Origin", "") == origin


@pytest.mark.parametrize("kept", [False, True])
def test_pictures_are_kept_for_training_only_where_a_setting_says_so(
    host: ModelHost, pictures: Any, environment: Any, picture: Make, kept: bool
) -> None:
    service = ClassifierService(
        models=host,
        pictures=pictures,
        environment=environment,
        upload_expires_seconds=60,
        keep_for_training=kept,
    )
    log = CallLog(function_name="f", clock=lambda: 1.0, write=lambda line: None)
    function = Function(service=service, models=host, environment=environment, log=log)
    pictures.pictures["a.jpg"] = picture(110)
    assert classify(function, "a.jpg")[0] == 200
    assert len(pictures.kept) == kept
    if kept:
        data, told = pictures.kept["a.jpg"]
        assert data == pictures.pictures["a.jpg"]
        assert told.top[0][0] == "3"
        pictures.not_kept = True
        assert classify(function, "a.jpg")[0] == 200
