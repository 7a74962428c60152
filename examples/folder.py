"""A folder of pictures to CSV: `folder.py HOST:PORT TOKEN FOLDER [FINGERPRINT]`."""

import csv
import sys
from pathlib import Path

from visionstack.stream import StreamAddress, StreamClient, StreamResult


def main(where: str, token: str, folder: str, fingerprint: str | None = None) -> None:
    """One line an object; a picture that cannot be read is named on stderr and skipped."""
    host, _, port = where.rpartition(":")
    address = StreamAddress(host, int(port), token, fingerprint)
    pictures = sorted(
        path for path in Path(folder).iterdir() if path.suffix in {".jpg", ".png", ".webp"}
    )
    table = csv.writer(sys.stdout)
    table.writerow(["file", "label", "confidence", "x1", "y1", "x2", "y2"])
    # "lossless": every picture is answered, in order, over lost connections too.
    with StreamClient(address, policy="lossless") as client:
        for answer in client.stream((path, path.name) for path in pictures):
            if not isinstance(answer, StreamResult):
                print(f"{answer.context}: {answer}", file=sys.stderr)
                continue
            for found in answer.detections:
                table.writerow([answer.context, found.label, found.confidence, *found.box])


if __name__ == "__main__":
    main(*sys.argv[1:])
