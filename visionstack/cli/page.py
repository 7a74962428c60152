"""`visionstack open`: the page of a deployed lane; and the page's address for all who print it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote, urlencode

import typer

from runtime.contract import Route
from visionstack import console
from visionstack.cli.options import CloudOption, PrefixOption
from visionstack.errors import VisionstackError

if TYPE_CHECKING:
    from visionstack.cloud.deployment import ClassifierApi, Deployment

_PREFLIGHT_SECONDS: Final = 10
WARNING_STEPS: Final = (
    "The browser warns of a certificate it does not know, since the server made it itself: choose "
    "to go on (Android and desktop: Advanced, Proceed; iPhone: Show Details, visit this website)."
)


def open_deployed(
    *,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    host: Annotated[
        str | None,
        typer.Option(help="The stream's own name, where its certificate is for one."),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Open the page of the deployed lanes in the browser, and show it as a QR code for a phone."""
    from runtime.protocol.loopback import is_loopback
    from visionstack.cloud.deployment import connect

    deployment = connect(cloud=cloud, prefix=prefix)
    endpoint = deployment.stream_endpoint()
    name = host or endpoint.host
    own = f"https://{bracketed(name)}:{endpoint.http_port}"
    elsewhere = deployment.page_url()
    api = _callable_api(deployment, origin=elsewhere or own)
    address = page_address(elsewhere or own, token=endpoint.token, api=api)
    console.out.print(f"page: {address}", soft_wrap=True, markup=False)
    if elsewhere is not None and endpoint.fingerprint is not None:
        console.err.print(
            "Detect is not on that page, since browsers do not know the stream's certificate. "
            "Deploy with certificate_arn and stream_host, or use the stream server's own page.",
            soft_wrap=True,
            markup=False,
        )
        stream_page = page_address(own, token=endpoint.token)
        console.out.print(f"stream page: {stream_page}", soft_wrap=True, markup=False)
    # One by one too, as `serve` prints them: what programs of one's own are given.
    parts = {"address": f"{bracketed(name)}:{endpoint.port}", "token": endpoint.token}
    if endpoint.fingerprint is not None:
        parts["fingerprint"] = endpoint.fingerprint
    if api is not None:
        parts |= {"api": api.url, "key": str(api.key)}
    for what, value in parts.items():
        console.out.print(f"{what}: {value}", soft_wrap=True, markup=False)
    if endpoint.fingerprint is not None:
        console.err.print(WARNING_STEPS, soft_wrap=True, markup=False)
    if elsewhere is None and is_loopback(name):
        console.err.print(
            "Only this machine reaches it. For a phone: `visionstack try --phone`.", markup=False
        )
    else:
        show_qr_code(address)
    if browser:
        tell_opened(address)


def tell_opened(address: str) -> None:
    """Open the page, and say whether it opened."""
    if opened(address):
        console.err.print("The page opens in your browser.")
    else:
        console.err.print("No browser was found here: open the address above in one.")


def opened(address: str) -> bool:
    """Open it in a browser with windows; False where there is none.

    Over SSH Python would take one of the terminal, which holds everything up until it is left.
    """
    import webbrowser

    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not screen:
        return False
    return webbrowser.open(address)


def _callable_api(deployment: Deployment, *, origin: str) -> ClassifierApi | None:
    """The API that the page can call; None, and why on stderr, where there is none."""
    try:
        api = deployment.classifier_api()
    except VisionstackError as error:
        console.err.print(f"Without Classify: {error.message}", markup=False, soft_wrap=True)
        return None
    if not api.key:
        console.err.print("Without Classify: with auth=iam a page cannot sign its calls.")
        return None
    if not lets_in(api.url, origin=origin):
        from visionstack.cloud.deployment import DEPLOY
        from visionstack.deploy.local import keeping_classifier

        keeping = keeping_classifier(deployment)
        console.err.print(
            f"Classify will fail: the API lets in no page of {origin}. Let it in with "
            f"{DEPLOY[deployment.cloud]} -c cors_origin={origin}{keeping}",
            markup=False,
            soft_wrap=True,
        )
    return api


def lets_in(url: str, *, origin: str) -> bool:
    """Whether the API's preflight allows pages of `origin` to call it with a key (CORS)."""
    # A tenth of `visionstack --help`.
    from urllib.request import Request, urlopen

    asked = Request(  # noqa: S310 - the deployment's own API
        f"{url}{Route.RECOGNITIONS}",
        method="OPTIONS",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key",
        },
    )
    try:
        with urlopen(asked, timeout=_PREFLIGHT_SECONDS) as answer:  # noqa: S310
            allowed = answer.headers.get("Access-Control-Allow-Origin")
    except OSError:
        return False
    return allowed in {"*", origin}


def page_address(origin: str, *, token: str, api: ClassifierApi | None = None) -> str:
    """The page's address. Secrets come after the `#`, where no server and no log sees them."""
    given = {"token": token}
    if api is not None:
        given |= {"api": api.url, "key": api.key}
    return f"{origin}/#{urlencode(given, quote_via=quote)}"


def bracketed(host: str) -> str:
    """An IPv6 address as addresses with a port want it; anything else as it is."""
    return f"[{host}]" if ":" in host else host


def show_qr_code(address: str) -> None:
    """On stderr, for a phone's camera."""
    import segno

    console.err.print("On a phone, scan this:")
    segno.make(address, error="l", micro=False).terminal(out=sys.stderr, compact=True)
