"""Runs every benchmark of this folder, or those named: `python -m benchmarks [--quick] [NAME …]`.

Each module has `main(out, quick)`, which writes JSON with the raw samples into `out`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from pathlib import Path

import benchmarks


def names() -> list[str]:
    """The benchmarks there are: modules of this package that are no helper of another."""
    return sorted(
        module.name
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if not module.name.startswith("_")
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[*names(), []], help="which; all by default")
    parser.add_argument("--quick", action="store_true", help="few samples, no peers to install")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in arguments.name or names():
        print(f"== {name}", flush=True)
        started = time.monotonic()
        try:
            importlib.import_module(f"benchmarks.{name}").main(arguments.out, arguments.quick)
        except Exception as error:  # one benchmark's failure must not cost the others
            failed.append(name)
            print(f"!! {name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        print(f"-- {name}: {time.monotonic() - started:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
