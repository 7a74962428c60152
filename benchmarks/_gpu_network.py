"""Parts of `benchmarks/gpu_check.py` about the network alone, batches of noise going in.

Each returns what is saved, `shown` being its table.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from benchmarks._gpu_given import SECONDS, artifact, noise, times
from runtime.measurement.statistics import ratio, summarize


def start(quick: bool) -> dict[str, Any]:
    """Loading, the first run of each batch size (its capture) and the memory that it takes."""
    import psutil
    import torch

    from runtime.inference.engines import create_engine

    model = artifact()
    began = time.perf_counter()
    engine = create_engine("torch", model)
    rows: list[dict[str, Any]] = [
        {"batch": "load", "first ms": (time.perf_counter() - began) * 1e3}
    ]
    sizes = (1, 2, 4, 8, 16, 32) if engine.on_gpu and not quick else (1, 2, 4)
    for size in sizes:
        batch = noise(size, model)
        began = time.perf_counter()
        engine.run(batch)
        first = (time.perf_counter() - began) * 1000
        again = times(lambda batch=batch: engine.run(batch), seconds=1.0)  # type: ignore[misc]
        memory = (
            torch.cuda.memory_reserved() if engine.on_gpu else psutil.Process().memory_info().rss
        )
        rows.append(
            {
                "batch": size,
                "first ms": first,
                "again ms": summarize(again).p50,
                "pictures/s": size * 1000 / summarize(again).p50,
                "memory MiB": memory >> 20,
                "samples": again,
            }
        )
    return {
        "rows": rows,
        "shown": [{k: v for k, v in row.items() if k != "samples"} for row in rows[1:]],
    }


def reload(quick: bool) -> dict[str, Any]:
    """The longest time between two answers while another version is loaded beside."""
    from runtime.inference.engines import create_engine

    model = artifact()
    serving = create_engine("torch", model)
    batch = noise(1, model)
    alone = times(lambda: serving.run(batch), seconds=SECONDS)
    loaded = threading.Event()

    def load() -> None:
        try:
            beside = create_engine("torch", model)
            for size in (1, 2, 4, 8) if beside.on_gpu else (1,):
                beside.run(noise(size, model))
        finally:
            loaded.set()

    loading = threading.Thread(target=load)
    began = time.perf_counter()
    loading.start()
    beside: list[float] = []
    while not loaded.is_set():
        start = time.perf_counter()
        serving.run(batch)
        beside.append((time.perf_counter() - start) * 1000)
    loading.join()
    took = time.perf_counter() - began
    shown = [
        {"": "alone", "p50 ms": summarize(alone).p50, "longest ms": max(alone)},
        {
            "": f"while loading, {took:.1f} s",
            "p50 ms": summarize(beside).p50,
            "longest ms": max(beside),
        },
    ]
    return {"alone_ms": alone, "beside_ms": beside, "seconds_loading": took, "shown": shown}


def kernels(quick: bool) -> dict[str, Any]:
    """How many kernels (on a CPU: operations) a picture takes and which take longest."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from runtime.inference.engines.torch_engine import TorchEngine, _step

    model = artifact()
    engine = TorchEngine(model)
    pictures = torch.from_numpy(noise(1, model)).to("cuda" if engine.on_gpu else "cpu")
    activities = [ProfilerActivity.CUDA if engine.on_gpu else ProfilerActivity.CPU]
    with torch.inference_mode():
        for _ in range(3):
            _step(engine._network, pictures)
        with profile(activities=activities) as profiled:
            _step(engine._network, pictures)
            if engine.on_gpu:
                torch.cuda.synchronize()
    spent = "self_device_time_total" if engine.on_gpu else "self_cpu_time_total"
    rows = [
        {"name": one.key[:60], "calls": one.count, "ms": getattr(one, spent) / 1000}
        for one in profiled.key_averages()
        if getattr(one, spent) > 0
    ]
    rows.sort(key=lambda row: -row["ms"])
    total = {
        "name": "all",
        "calls": sum(row["calls"] for row in rows),
        "ms": sum(row["ms"] for row in rows),
    }
    return {"rows": rows, "shown": [total, *rows[:8]]}


def limit(quick: bool) -> dict[str, Any]:
    """The share of the device's largest matrix product that the network reaches, by batch size."""
    from runtime.inference.engines import create_engine
    from runtime.measurement.limit import peak_flop_per_second

    model = artifact()
    engine = create_engine("torch", model)
    peak = peak_flop_per_second("torch", engine.precision)
    rows = []
    for size in (1, 8, 32) if engine.on_gpu else (1,):
        batch = noise(size, model)
        found = times(lambda batch=batch: engine.run(batch), seconds=2.0)  # type: ignore[misc]
        reached = model.manifest.flop * size * 1000 / summarize(found).p50
        rows.append(
            {
                "batch": size,
                "precision": engine.precision,
                "TFLOP/s": reached / 1e12,
                "product's": peak / 1e12 if peak else None,
                "share": reached / peak if peak else None,
            }
        )
    return {"peak": peak, "shown": rows}


def compiled(quick: bool) -> dict[str, Any]:
    """torch.compile's network beside ours, in turns."""
    import torch

    from runtime.inference.engines.torch_engine import TorchEngine, _step

    model = artifact()
    engine = TorchEngine(model)
    batch = noise(1, model)
    pictures = torch.from_numpy(batch).to("cuda" if engine.on_gpu else "cpu")
    mode = "max-autotune" if engine.on_gpu and not quick else "default"
    network = torch.compile(engine._network, mode=mode)

    def theirs() -> None:
        _step(network, pictures)  # type: ignore[arg-type]
        if engine.on_gpu:
            torch.cuda.synchronize()

    ours, rival = [], []
    with torch.inference_mode():
        began = time.perf_counter()
        theirs()
        took = time.perf_counter() - began
        engine.run(batch)
        for _ in range(5 if quick else 10):
            ours += times(lambda: engine.run(batch), seconds=0.3)
            rival += times(theirs, seconds=0.3)
    found = ratio(ours, rival)
    shown = {
        "ours p50 ms": summarize(ours).p50,
        "compiled p50 ms": summarize(rival).p50,
        "ours over compiled": found.value,
        "low": found.low,
        "high": found.high,
        "compiling s": took,
    }
    return {"ours_ms": ours, "compiled_ms": rival, "mode": mode, "shown": [shown]}
