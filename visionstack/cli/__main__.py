"""`python -m visionstack.cli`, as `visionstack` where that is not on the path."""

from __future__ import annotations

from visionstack.cli.main import main

if __name__ == "__main__":
    main()
