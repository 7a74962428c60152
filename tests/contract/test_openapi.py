from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
import schemathesis.openapi
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from werkzeug.test import Client

from runtime.classifier import errors, requests
from runtime.contract import MAX_WAKEUP_SLEEP_MS, Route
from visionstack.classify.client import CONTENT_TYPES
from visionstack.paths import CHECKOUT

ROUTES = (Route.CLASSIFICATION, Route.WAKEUP, Route.IMAGES, Route.RECOGNITIONS)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("route", ROUTES)
def test_the_function_does_what_the_document_says(
    gateway: Any, route: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_wsgi("/openapi.json", gateway)
    # Operations as hypothesis strategies: schemathesis's pytest plugin does not know pytest 9.
    cases = schema[route]["POST"].as_strategy(generation_mode=mode)

    @given(cases)
    @settings(
        max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    def holds(case: schemathesis.Case) -> None:
        response = case.call_and_validate(
            headers={"x-api-key": "the-key"}, excluded_checks=excluded
        )
        reached.add(response.status_code)

    # No schema can say which bytes are a picture; those that are not get the documented 422.
    excluded = [positive_data_acceptance] if route == Route.RECOGNITIONS else []
    reached: set[int] = set()
    holds()
    # Were nothing to get past the gateway, all would hold.
    assert reached - {403}
    if mode is GenerationMode.POSITIVE and route in (Route.WAKEUP, Route.IMAGES):
        assert reached == {200}


def post(gateway: Any, route: str, **request: Any) -> Any:
    return Client(gateway).post(f"/v1{route}", headers={"x-api-key": "the-key"}, **request)


def check(document: dict[str, Any], name: str, body: object) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema_rs.Draft202012Validator(schema).validate(body)


def test_the_papers_classification_is_answered_as_documented(
    gateway: Any, document: dict[str, Any]
) -> None:
    request = {"method": "classification", "file_path": "test/20200118.jpg"}
    check(document, "ClassificationRequest", request)
    response = post(gateway, Route.CLASSIFICATION, json=request)
    assert response.status_code == 200
    check(document, "Classification", response.json)


def test_the_papers_response_keys_are_all_there(gateway: Any) -> None:
    paper = json.loads((CHECKOUT / "visionstack" / "paper_reference.json").read_text())[
        "serverless_2020"
    ]
    answer = post(gateway, Route.CLASSIFICATION, json=paper["request_example"]).json
    assert set(paper["response_keys"]) <= set(answer)
    wakeup = post(gateway, Route.WAKEUP, json=paper["wakeup_example"]["request"]).json
    assert set(paper["wakeup_example"]["response"]) <= set(wakeup)


def test_a_picture_upload_and_wakeup_are_answered_as_documented(
    gateway: Any, document: dict[str, Any], jpeg: bytes
) -> None:
    recognition = post(gateway, Route.RECOGNITIONS, data=jpeg, content_type="image/jpeg")
    check(document, "Recognition", recognition.json)
    upload = post(gateway, Route.IMAGES, json={"method": "images", "content_type": "image/png"})
    check(document, "Upload", upload.json)
    wakeup = post(gateway, Route.WAKEUP, json={"method": "wakeup", "sleep_time": "0"})
    check(document, "Wakeup", wakeup.json)


def test_the_documents_limits_are_the_functions(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["FilePath"]["maxLength"] == requests.MAX_FILE_PATH_CHARACTERS
    text, number = schemas["WakeupRequest"]["properties"]["sleep_time"]["oneOf"]
    assert number["maximum"] == MAX_WAKEUP_SLEEP_MS
    assert text["pattern"].endswith(f"{MAX_WAKEUP_SLEEP_MS})$")
    types = schemas["UploadRequest"]["properties"]["content_type"]["enum"]
    assert types == list(requests.CONTENT_TYPES)
    assert set(types) == set(CONTENT_TYPES.values())


def test_every_status_the_function_can_give_is_documented(document: dict[str, Any]) -> None:
    documented = {
        status for path in document["paths"].values() for status in path["post"]["responses"]
    }
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    given = {str(kind.status) for kind in kinds if issubclass(kind, errors.ApiError)}
    # 405 never reaches the function: the gateway knows POST only.
    assert given - {"405"} <= documented


def test_the_routes_are_the_contracts(document: dict[str, Any]) -> None:
    routes = {value for name, value in vars(Route).items() if name.isupper()}
    assert set(document["paths"]) == routes
