"""Whether the tests notice small faults: random mutants of the core modules, sampled and seeded.

    python -m benchmarks.mutation [--seed N] [--each K] [--module PATH ...]

A sampler of its own, since cosmic-ray writes each mutant into the module's file, where a run that
is killed leaves it, and starts an interpreter for each. Here a process forked from one that
has the large libraries imports the mutant in the module's place, which takes about as long as the
module's own tests, and the tree is never touched.

Every mutant differs from its module in one place: a comparison's bound or sense, an operator, a
number, a condition, a call left out, a returned value (`benchmarks/_mutants.py`). Killed: a test of
the module's own fails, or takes ten times as long as all of them. Mutants that no test can
tell from the module stand in `benchmarks/mutation_equivalents.json` with the reason, and do not
count.
"""

from __future__ import annotations

import ast
import json
import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import _mutant_trial
from benchmarks._mutants import Mutant, mutants
from benchmarks._results import Results, own_options, table
from visionstack.paths import IMPORT_ROOT
from visionstack.training.judging import Accuracy

LEAST: Final = 0.94
"""Share of the mutants that are no equivalents which have to be killed."""
_SEED: Final = 16
_EACH, _QUICK_EACH = 40, 2
_EQUIVALENTS: Final = Path(__file__).with_name("mutation_equivalents.json")

_UNIT: Final = "tests/unit"
_SETTINGS: Final = (
    "tests/infrastructure/test_settings.py",
    "tests/infrastructure/test_setting_bounds.py",
    "tests/infrastructure/test_setting_defaults.py",
)
_SCHEDULER: Final = (
    f"{_UNIT}/streaming/frames/test_scheduler.py",
    f"{_UNIT}/streaming/frames/test_scheduler_bounds.py",
)
_SESSIONS: Final = (f"{_UNIT}/streaming/sessions", f"{_UNIT}/streaming/test_admission.py")
_COSTS: Final = (f"{_UNIT}/cost",)
MODULES: Final[dict[str, tuple[str, ...]]] = {
    "runtime/streaming/sessions/registry.py": (*_SESSIONS, f"{_UNIT}/streaming/test_serving.py"),
    "runtime/streaming/sessions/answers.py": _SESSIONS,
    "runtime/streaming/frames/scheduler.py": _SCHEDULER,
    "runtime/protocol/messages.py": (f"{_UNIT}/protocol",),
    "runtime/protocol/connection.py": (f"{_UNIT}/protocol", f"{_UNIT}/stream/test_session.py"),
    "runtime/measurement/statistics.py": (f"{_UNIT}/measurement/test_statistics.py",),
    "runtime/warmer/warm_pool.py": (f"{_UNIT}/warmer/test_warm_pool.py",),
    "runtime/classifier/s3.py": (
        f"{_UNIT}/classifier/test_s3.py",
        f"{_UNIT}/classifier/test_s3_bounds.py",
        f"{_UNIT}/classifier/test_partitions.py",
    ),
    "runtime/classifier/signing.py": (f"{_UNIT}/classifier/test_signing.py",),
    "runtime/classifier/credentials.py": (f"{_UNIT}/classifier/test_credentials.py",),
    "runtime/inference/tracking.py": (f"{_UNIT}/inference/test_tracking.py",),
    "runtime/inference/boxes.py": (
        f"{_UNIT}/inference/test_boxes.py",
        f"{_UNIT}/inference/test_box_bounds.py",
    ),
    "visionstack/stream/session.py": (
        f"{_UNIT}/stream/test_session.py",
        f"{_UNIT}/stream/test_session_counts.py",
    ),
    "visionstack/compare/plan.py": (
        f"{_UNIT}/compare/test_plan.py",
        f"{_UNIT}/compare/test_plan_rows.py",
    ),
    "visionstack/cost/serverless.py": _COSTS,
    "visionstack/cost/instances.py": _COSTS,
    "stacks/settings/fields.py": _SETTINGS,
    "stacks/settings/rules.py": _SETTINGS,
}
"""The core modules and the tests that are theirs."""


class MutationError(Exception):
    """Too many mutants survive, or the tests fail without one."""


@dataclass(frozen=True)
class Fate:
    module: str
    line: int
    column: int
    text: str
    change: str
    outcome: str
    """killed, killed by time, survived or equivalent."""


def main(
    out: Path,
    quick: bool,
    *,
    each: int | None = None,
    seed: int = _SEED,
    modules: Sequence[str] | None = None,
) -> None:
    """Write `mutation.json` into `out`, after every mutant. Raises MutationError below LEAST."""
    each = each or (_QUICK_EACH if quick else _EACH)
    results = Results(out / "mutation.json", title="Mutants of the core modules", quick=quick)
    results.values |= {"seed": seed, "sampled_of_each_module": each, "modules": []}
    fates: list[Fate] = []
    for module in modules or MODULES:
        began = time.monotonic()
        of_module = []
        for fate in run(module, each=each, seed=seed):
            of_module.append(fate)
            fates.append(fate)
            results.values |= {"all": _counts(fates), "fates": [asdict(one) for one in fates]}
            results.save()
        row = {"module": module, **_counts(of_module), "seconds": time.monotonic() - began}
        results.values["modules"].append(row)
        print(f"   {module}: {row['killed']} of {row['counted']} killed", flush=True)
    print(table(results.values["modules"]))
    for fate in fates:
        if fate.outcome == "survived":
            print(f"survived: {fate.module}:{fate.line}:{fate.column} {fate.change}: {fate.text}")
    counted, killed = results.values["all"]["counted"], results.values["all"]["killed"]
    low, high = Accuracy(right=killed, of=counted).interval
    results.values |= {"low": low, "high": high}
    results.save()
    print(f"{killed} of {counted} killed: {killed / counted:.1%} ({low:.1%} to {high:.1%})")
    if killed < LEAST * counted and not quick:
        raise MutationError(f"fewer than {LEAST:.0%} of the mutants are killed")


def run(module: str, *, each: int, seed: int) -> Iterator[Fate]:
    """The fates of a sample of a module's mutants as they come, from a process of its own.

    Raises MutationError: the tests fail on the module as it is.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_try_all, args=(module, each, seed, sender))
    process.start()
    sender.close()
    try:
        while (answer := receiver.recv()) is not None:
            if isinstance(answer, str):
                raise MutationError(answer)
            yield answer
    except EOFError:
        raise MutationError(f"the trial of {module} ended without an answer") from None
    finally:
        receiver.close()
        process.join()


def _try_all(module: str, each: int, seed: int, answer: Any) -> None:
    path, tests = Path(module), MODULES[module]
    source = (IMPORT_ROOT / path).read_text()
    passed = _mutant_trial.warm_up(tests, seconds=600)
    began = time.monotonic()
    # Once more in the way of a mutant, so that nothing of that way can pass for a kill.
    unchanged = ast.parse(source)
    if not (passed and _mutant_trial.passes(tests, module=path, tree=unchanged, seconds=600)):
        answer.send(f"the tests of {module} fail without a mutant: {' '.join(tests)}")
        return
    patience = 10 * (time.monotonic() - began) + 10
    found = mutants(source)
    sample = random.Random(f"{seed} {module}").sample(found, min(each, len(found)))  # noqa: S311
    known = _equivalents(module)
    for mutant in sorted(sample, key=lambda mutant: mutant.line):
        outcome = "equivalent"
        if mutant.key not in known:
            outcome = _outcome(mutant, path=path, tests=tests, seconds=patience)
        answer.send(Fate(module, mutant.line, mutant.column, mutant.text, mutant.change, outcome))
    answer.send(None)


def _outcome(mutant: Mutant, *, path: Path, tests: Sequence[str], seconds: float) -> str:
    tree: ast.Module = mutant.tree
    passed = _mutant_trial.passes(tests, module=path, tree=tree, seconds=seconds)
    return {True: "survived", False: "killed", None: "killed by time"}[passed]


def _equivalents(module: str) -> set[tuple[str, str, int]]:
    listed = json.loads(_EQUIVALENTS.read_text())
    return {
        (entry["text"], entry["change"], entry["column"])
        for entry in listed
        if entry["module"] == module
    }


def _counts(fates: list[Fate]) -> dict[str, int]:
    killed = sum(fate.outcome.startswith("killed") for fate in fates)
    survived = sum(fate.outcome == "survived" for fate in fates)
    return {
        "counted": killed + survived,
        "killed": killed,
        "equivalent": len(fates) - killed - survived,
    }


if __name__ == "__main__":
    parser = own_options(__doc__)
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--each", type=int, help="mutants of each module")
    parser.add_argument("--module", choices=list(MODULES), action="append", dest="modules")
    main(**vars(parser.parse_args()), quick=False)
