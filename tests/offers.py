"""A server's welcome, for tests to which its values say nothing; they replace what they look at."""

from __future__ import annotations

from runtime.protocol.options import ModelOffer, WelcomeOffer

MODEL = ModelOffer(
    name="m",
    version="1",
    weights_trained=True,
    weights="w",
    engine="e",
    precision="p",
    device="d",
    labels=("zero", "one"),
)
OFFER = WelcomeOffer(
    session="s1",
    resumed=False,
    next_sequence=0,
    window=4,
    frame_bytes=1000,
    frame_pixels=1000,
    idle_seconds=60,
    resume_seconds=30,
    server="test",
    model=MODEL,
)
