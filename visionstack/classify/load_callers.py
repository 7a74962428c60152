"""Callers of a load test on locust, in a process of their own: gevent patches what it imports.

Run by `visionstack.classify.load` as `python -m visionstack.classify.load_callers`.

Each caller makes its calls one after another; a call that is throttled is made again after a
back-off with full jitter, until it is answered. The configuration comes in the environment variable
`VISIONSTACK_LOAD` and the samples go to the file that it names.
"""

from __future__ import annotations

# time.sleep yields to the other callers: locust has gevent patch the standard library.
from locust import FastHttpUser, constant, task  # isort: skip
from locust.env import Environment  # isort: skip

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.backoff import full_jitter
from visionstack.classify.answers import read_object
from visionstack.classify.client import is_busy, retry_seconds
from visionstack.errors import VisionstackError

if TYPE_CHECKING:
    from visionstack.cloud.signing import SignedRequests

CONFIG: dict[str, Any] = json.loads(os.environ["VISIONSTACK_LOAD"])
SAMPLES: list[dict[str, Any]] = []
_FAILED_ATTEMPTS = 8
_BODY = json.dumps({"method": "classification", "file_path": CONFIG["file_path"]}).encode()
_JSON = "application/json"


def _signing() -> SignedRequests | None:
    """Finds and renews the credentials as the parent does: they do not go between processes."""
    if CONFIG["signed_by"] is None:
        return None
    from visionstack.cloud.deployment import connect

    return connect(cloud=CONFIG["signed_by"]).signing()


SIGNING = _signing()


class Caller(FastHttpUser):  # type: ignore[misc]
    """One of the callers that come at the same time."""

    wait_time = constant(0)
    connection_timeout = 120.0
    network_timeout = 120.0

    @task  # type: ignore[untyped-decorator]
    def calls(self) -> None:
        """All calls of this caller, then no more."""
        for _ in range(CONFIG["repeats"]):
            SAMPLES.append(self._answered())
        self.stop()

    def _answered(self) -> dict[str, Any]:
        asked = time.monotonic()
        throttled = failed = attempt = 0
        while True:
            attempt += 1
            try:
                headers = _headers()
            except VisionstackError:
                # A caller that ended without its samples would be waited for without end.
                lost = _sample(asked, time.monotonic(), throttled=throttled, failed=failed)
                return lost | {"code": "no_credentials"}
            sent = time.monotonic()
            with self.client.post(
                "/classification",
                data=_BODY,
                headers=headers,
                catch_response=True,
            ) as response:
                response.success()
                status = response.status_code
                body = read_object(response.content or b"") or {}
            sample = _sample(asked, sent, throttled=throttled, failed=failed, status=status)
            if status == 200:
                return sample | {"top": body.get("TOP1_ID"), "cold": body.get("cold")}
            busy = is_busy(status, body.get("code"))
            if busy:
                throttled += 1
            else:
                failed += 1
            late = sample["seconds"] > CONFIG["deadline"]
            refused = 400 <= status < 500 and not busy
            if late or refused or failed >= _FAILED_ATTEMPTS:
                return sample | {"code": body.get("code")}
            after = response.headers.get("retry-after") if response.headers else None
            pause = full_jitter(attempt, first=CONFIG["base"], longest=CONFIG["cap"])
            time.sleep(retry_seconds(after) + pause)


def _headers() -> dict[str, str]:
    if SIGNING is None:
        return {"content-type": _JSON, "x-api-key": CONFIG["key"]}
    url = CONFIG["host"] + "/classification"
    return {"content-type": _JSON, **SIGNING.headers("POST", url, body=_BODY, content_type=_JSON)}


def _sample(
    asked: float, sent: float, *, throttled: int, failed: int, status: int = 0
) -> dict[str, Any]:
    """What became of a call whose last attempt was sent at `sent`; status 0: without an answer."""
    now = time.monotonic()
    return {
        "asked": asked,
        "seconds": now - asked,
        "answer_seconds": now - sent,
        "throttled": throttled,
        "failed": failed,
        "status": status,
    }


def main() -> None:
    """Start all callers at once and write the samples when the last has its answers."""
    environment = Environment(user_classes=[Caller], host=CONFIG["host"], catch_exceptions=False)
    runner = environment.create_local_runner()
    runner.start(CONFIG["callers"], spawn_rate=CONFIG["callers"])
    while len(SAMPLES) < CONFIG["callers"] * CONFIG["repeats"]:
        time.sleep(0.05)
    runner.quit()
    Path(CONFIG["out"]).write_text(json.dumps(SAMPLES))


if __name__ == "__main__":
    main()
