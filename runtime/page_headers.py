"""The headers of the page: the stream server sends them, and CloudFront where it serves the page.

Standard library only: the CDK app imports it too.
"""

from __future__ import annotations

from typing import Final

HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), display-capture=(self), screen-wake-lock=(self), "
    "fullscreen=(self), microphone=(), geolocation=()",
    # Together these give WebAssembly its threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Beside the content security policy."""


def content_security_policy(*connections: str) -> str:
    """Scripts, styles and workers are the page's own; `connections` is what it may call besides.

    WebAssembly may be compiled, text may not be evaluated.
    """
    admitted = " ".join(["'self'", *connections])
    return (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
        "img-src 'self' blob: data:; media-src 'self' blob:; "
        f"connect-src {admitted}; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
