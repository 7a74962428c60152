"""MiniStack as a process: how it is started, recognised and known to be ready."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import psutil

from visionstack import processes
from visionstack.cloud import local_state
from visionstack.cloud.local_state import CloudFolder
from visionstack.localcloud.errors import LocalCloudError, PortTakenError
from visionstack.processes import ProcessId

READY_TIMEOUT_S: Final = 60
STOP_GRACE_S: Final = 60
"""It writes its state down while it stops."""
GUARDED: Final = Path(__file__).with_name("guarded_emulator.py")
KEPT_VARIABLES: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH"),
    local_state.USERS_VARIABLE,
)


def start(folder: CloudFolder, *, python: Path, port: int) -> ProcessId:
    """Start MiniStack on loopback and wait until it answers.

    PortTakenError when something else listens there; LocalCloudError with the end of its log when
    it does not come up.
    """
    if listening(port):
        raise PortTakenError(
            f"Port {port} is taken by {owner(port)}, which this project did not start.",
            remedy=f"Stop that, or choose another port: `visionstack local up --port {port + 1}`.",
        )
    folder.make()
    scratch = folder.root / "tmp"
    for place in (scratch, folder.emulator, folder.logs):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget_lost_buckets(folder)
    log = folder.logs / "emulator.log"
    process = processes.start_detached(
        # -P: the modules beside the guard are not to be taken for packages of the same name.
        [str(python), "-P", str(GUARDED)],
        environment=environment(folder, port=port),
        folder=folder.root,
        log=log,
    )
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if health(port) is not None:
            return process
        if not process.alive():
            break
        time.sleep(0.1)
    processes.stop(process, grace_s=2)
    told = "\n".join(f"  {line}" for line in tail(log, lines=6))
    raise LocalCloudError(f"MiniStack did not come up:\n{told}", remedy=f"Its log: {log}")


def _forget_lost_buckets(folder: CloudFolder) -> None:
    """Delete the buckets of stacks that MiniStack does not know any more.

    It writes objects at once and everything else when it stops: after a kill the buckets of what
    was deployed since are there without their stacks, and would be in the way of a new deployment.
    """
    try:
        saved = (folder.emulator / "state" / "s3.json").read_text("utf-8")
    except OSError:
        saved = ""
    objects = folder.emulator / "s3"
    # s3/ACCOUNT/BUCKET, and s3/.versions/ACCOUNT/BUCKET.
    for bucket in [*objects.glob("[0-9]*/*"), *objects.glob(".versions/[0-9]*/*")]:
        if bucket.is_dir() and f"'{bucket.name}'" not in saved:
            shutil.rmtree(bucket)


def environment(folder: CloudFolder, *, port: int) -> dict[str, str]:
    """Nothing of the user's AWS set-up, and everything it writes below the state folder."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return kept | {
        local_state.MARK_VARIABLE: str(folder.root),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": local_state.REGION,
        "AWS_DEFAULT_REGION": local_state.REGION,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder.emulator / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder.emulator / "s3"),
        "TMPDIR": str(folder.root / "tmp"),
        "LAMBDA_EXECUTOR": "local",
        # A daemon would be asked for old containers at every start; none are used here.
        "DOCKER_HOST": f"unix://{folder.root}/no-docker",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "INFO",
        # Lambda's own limit; the default would let a warm environment outlive a test.
        "LAMBDA_WARM_TTL_SECONDS": os.environ.get("LAMBDA_WARM_TTL_SECONDS", "300"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def health(port: int) -> dict[str, Any] | None:
    """MiniStack's health document; None when what listens there, if anything, is not MiniStack."""
    url = f"{local_state.endpoint_url(port)}/_ministack/health"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            value = json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        return None
    return value if isinstance(value, dict) and "services" in value else None


def listening(port: int) -> bool:
    """Whether anything accepts connections on loopback there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def owner(port: int) -> str:
    """Who listens there, as well as this user may know."""
    for connection in psutil.net_connections(kind="tcp"):
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr.port == port
            and connection.pid
        ):
            try:
                name = psutil.Process(connection.pid).name()
            except psutil.NoSuchProcess:
                break
            return f"{name} (pid {connection.pid})"
    return "another program"


def tail(log: Path, *, lines: int) -> list[str]:
    """The last lines of a log that are not empty."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip()][-lines:]
