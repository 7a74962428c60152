"""Print every object that a camera sees: `camera.py HOST:PORT TOKEN SOURCE [FINGERPRINT]`."""

import sys

from visionstack.stream import DroppedFrame, StreamAddress, StreamClient, StreamResult
from visionstack.stream.sources import open_source


def main(where: str, token: str, source: str, fingerprint: str | None = None) -> None:
    """SOURCE is a camera's number, an rtsp:// address or a video file."""
    host, _, port = where.rpartition(":")
    address = StreamAddress(host, int(port), token, fingerprint)
    frames = (frame.picture for frame in open_source(source).frames)
    # "live": when the server is behind, the newest frame wins and the others are told as dropped.
    with StreamClient(address, policy="live", track=True) as client:
        for answer in client.stream(frames):
            if isinstance(answer, StreamResult):
                for found in answer.detections:
                    name = f"{found.label} #{found.track}"
                    print(f"{answer.sequence}: {name} {found.confidence:.0%} at {found.box}")
            elif isinstance(answer, DroppedFrame):
                print(f"{answer.sequence}: dropped", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
