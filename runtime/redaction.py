"""Secrets taken out of text that people or logs get to see: addresses, errors, tracebacks.

What is known by its place: the user and password of an address, and the values of parameters whose
name says that they are secret (query or fragment of an address, header, `name=value`, JSON).
"""

from __future__ import annotations

import ipaddress
import logging
import re
import traceback
from typing import Final

HIDDEN: Final = "***"
_NAMES: Final = (
    r"token|password|passwd|pwd|secret|signature|credential|authorization|x-api-key|api_?key"
    r"|aws_?secret_?access_?key|aws_?session_?token|secretaccesskey|sessiontoken"
)
# Cameras' passwords are often not escaped: up to the last @ before a blank or a quote.
_USER_INFO: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*:/{1,3})[^\s\"'<>\\]*@")
_NAMED: Final = re.compile(
    rf"(?i)((?<![a-z])(?:[a-z][a-z-]*-)?(?:{_NAMES})\\?[\"']?\s*(?:=|:\s)\s*\\?[\"']?(?:bearer\s+|basic\s+)?)"
    r"[^\s\"'&#,;)}\]\\]+"
)

_ACCOUNT: Final = re.compile(r"(?<!\d)\d{12}(?!\d)")
_ACCESS_KEY: Final = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")
# Before or after what only stands beside them: API Gateway's addresses, ARNs and ELB's names.
_BY_PLACE: Final = re.compile(
    r"[\w-]+(?=\.(?:execute-api|elb)\.)|(?<=/restapis/)\w+|(?<=/apikeys/)\w+"
    r"|(?<=/execute-api/)\w+|(?<=API-Gateway-Execution-Logs_)\w+"
)
_ADDRESS: Final = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"
    r"|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![\w:]|\.\d))"
)


def without_identities(text: str) -> str:
    """`redacted(text)` for strangers: no account, access key, API or address of anybody either.

    AWS account ids, access key ids, API Gateway's API and key ids, load balancers' names, and IP
    addresses are replaced by `***`.
    """
    for pattern in (_BY_PLACE, _ACCOUNT, _ACCESS_KEY):
        text = pattern.sub(HIDDEN, text)
    return _ADDRESS.sub(lambda found: HIDDEN if _is_address(found[0]) else found[0], redacted(text))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def redacted(text: str) -> str:
    """`text` with `***` in place of each secret that its place gives away."""
    return _NAMED.sub(rf"\g<1>{HIDDEN}", _USER_INFO.sub(rf"\g<1>{HIDDEN}@", text))


def redacted_traceback(error: BaseException) -> str:
    """The traceback of `error` and of its causes, without secrets."""
    return redacted("".join(traceback.format_exception(error)))


class RedactingFormatter(logging.Formatter):
    """Any formatter's lines, without secrets."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return redacted(self._inner.format(record))
