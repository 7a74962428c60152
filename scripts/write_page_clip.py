"""Write the page's sample clip: the first 12 s of samples/pedestrians.avi in what browsers play.

`python scripts/write_page_clip.py [FILE]`
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Final

import av

ROOT: Final = Path(__file__).resolve().parent.parent
CLIP: Final = ROOT / "samples" / "pedestrians.avi"
PAGE_CLIP: Final = ROOT / "runtime" / "streaming" / "transports" / "page" / "sample.mp4"
FRAMES: Final = 120
RATE: Final = 10
SIZE: Final = (640, 480)


def write(path: Path) -> None:
    """H.264 of the baseline profile, which every browser with H.264 plays; index first."""
    with (
        av.open(str(CLIP)) as clip,
        av.open(str(path), "w", options={"movflags": "faststart"}) as to,
    ):
        track = to.add_stream(
            "libx264",
            rate=RATE,
            options={"crf": "28", "profile": "baseline", "preset": "veryslow"},
        )
        track.width, track.height, track.pix_fmt = *SIZE, "yuv420p"
        for frame in islice(clip.decode(video=0), FRAMES):
            picture = frame.reformat(*SIZE, "yuv420p")
            picture.pts = None
            to.mux(track.encode(picture))
        to.mux(track.encode(None))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE_CLIP)
