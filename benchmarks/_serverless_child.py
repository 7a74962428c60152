"""An execution environment of its own: what Lambda's runtime does, with clocks around it.

Run by `benchmarks._serverless_cold` with nothing on the interpreter's path but the package. argv:
the parent's monotonic clock at the start, warm calls to make. Prints one JSON line.
"""

import json
import os
import sys
import time

STARTED = float(sys.argv[1])
WARM_CALLS = int(sys.argv[2])
EVENT = {"method": "classification", "file_path": os.environ["BENCHMARK_PICTURE"]}


def since_start() -> float:
    return time.monotonic() - STARTED


marks = {"interpreter": since_start()}
sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])

from runtime.classifier import handler  # noqa: E402

marks["ready"] = since_start()
first = handler.handle(EVENT, None)
marks["first_answer"] = since_start()
if "TOP1_ID" not in first:
    sys.exit(f"the first call was not answered: {first}")

served = handler._FUNCTION._models.current()
with open(os.environ["BENCHMARK_PICTURE_FILE"], "rb") as file:  # noqa: PTH123
    picture = file.read()
bare, whole, fetch = [], [], []
for _ in range(WARM_CALLS):
    start = time.perf_counter()
    classifier = served.classifier
    classifier.rank(classifier.infer([classifier.prepare(picture)])[0])
    bare.append(time.perf_counter() - start)
    start = time.perf_counter()
    answer = handler.handle(EVENT, None)
    whole.append(time.perf_counter() - start)
    fetch.append(answer["timings"]["download"] / 1000)


def peak_mib() -> float:
    # ru_maxrss would begin with what the parent held when it started this process.
    with open("/proc/self/status") as status:  # noqa: PTH123
        return int(status.read().partition("VmHWM:")[2].split()[0]) / 1024


before_wakeup = peak_mib()
if WARM_CALLS:
    handler.handle({"method": "wakeup", "sleep_time": 0}, None)
settled = []
for _ in range(WARM_CALLS):
    start = time.perf_counter()
    handler.handle(EVENT, None)
    settled.append(time.perf_counter() - start)
print(
    "RESULT"
    + json.dumps(
        {
            "marks_s": marks,
            "first": {key: first[key] for key in ("timings", "model", "engine", "cold")},
            "bare_s": bare,
            "handler_s": whole,
            "fetch_s": fetch,
            "peak_mib": before_wakeup,
            "settled_handler_s": settled,
            "settled_peak_mib": peak_mib() if WARM_CALLS else None,
        }
    )
)
