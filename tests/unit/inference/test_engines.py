"""Engines give the same answers, say what they are, and may be shared."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from runtime.inference import engines
from runtime.inference.artifact import Artifact, Preprocessing, Weights
from runtime.inference.engines import ENGINES, choose_engine, create_engine, torch_engine
from runtime.inference.engines.onnx_torch import OnnxNetwork
from runtime.inference.engines.processor import computes_bfloat16
from runtime.inference.engines.torch_engine import TorchEngine
from runtime.inference.errors import EngineError, EngineUnavailableError
from visionstack.models.building import build, write_artifact
from visionstack.models.catalog import find_recipe
from visionstack.models.draft import BuildOptions, Draft
from visionstack.paths import MODELS

MakeArtifact = Callable[..., Artifact]
RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return RANDOM.integers(0, 255, (3, 224, 224, 3), np.uint8)


@pytest.mark.parametrize("name", ENGINES)
def test_engines_agree_in_full_precision(
    efficientnet_lite0: Artifact, pictures: np.ndarray, name: str
) -> None:
    (expected,) = create_engine("onnxruntime", efficientnet_lite0).run(pictures)
    engine = create_engine(name, efficientnet_lite0, precision="fp32")
    (logits,) = engine.run(pictures)
    assert engine.name == name
    assert engine.precision == "fp32"
    assert logits.shape == (3, 1000)
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() < 1e-3


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_the_precision_named_is_the_processors_fastest(
    efficientnet_lite0: Artifact, pictures: np.ndarray, name: str
) -> None:
    (expected,) = create_engine("onnxruntime", efficientnet_lite0).run(pictures)
    engine = create_engine(name, efficientnet_lite0)
    (logits,) = engine.run(pictures)
    difference = np.abs(logits - expected).max()
    if computes_bfloat16():
        assert engine.precision == "bf16"
        # Eight bits of mantissa show: were it float32, the difference would be below 1e-4.
        assert 1e-3 < difference < 1
    else:
        assert engine.precision == "fp32"
        assert difference < 1e-3


@pytest.mark.parametrize("name", ENGINES)
def test_a_batch_is_its_pictures_one_by_one(
    efficientnet_lite0: Artifact, pictures: np.ndarray, name: str
) -> None:
    engine = create_engine(name, efficientnet_lite0, precision="fp32")
    (together,) = engine.run(pictures)
    alone = np.concatenate([engine.run(picture[None])[0] for picture in pictures])
    assert np.allclose(together, alone, atol=1e-3)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_every_engine_reads_narrow_weights(pictures: np.ndarray, name: str, precision: str) -> None:
    options = BuildOptions(precision=precision)
    artifact = build(find_recipe("efficientnet-lite0"), root=MODELS, options=options).artifact
    (expected,) = create_engine("onnxruntime", artifact).run(pictures)
    (logits,) = create_engine(name, artifact, precision="fp32").run(pictures)
    assert np.abs(logits - expected).max() < 0.1


_GROWTH = """
import sys
from pathlib import Path
import numpy as np
from runtime.classifier.environment import return_freed_blocks
from runtime.inference.artifact import Artifact
from runtime.inference.engines.onnxruntime_engine import OnnxRuntimeEngine

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

return_freed_blocks()
artifact = Artifact.load(Path(sys.argv[1]))
served = OnnxRuntimeEngine(artifact, threads=1, optimised=False)
served.run(np.zeros((1, 8, 8, 3), np.uint8))
before = peak()
OnnxRuntimeEngine(artifact, threads=1, optimised=True)
print(peak() - before)
"""


def test_narrow_weights_are_in_memory_once_while_they_are_optimised(tmp_path: Path) -> None:
    wide = 12 * 512 * 512 * 9 * 4
    draft = _convolutions(layers=12, channels=512)
    options = BuildOptions(precision="fp16")
    artifact = write_artifact("deep", draft, root=tmp_path, options=options, say=lambda _: None)
    command = [sys.executable, "-c", _GROWTH, str(artifact.folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Widened and laid out anew at the same time, they would take more than twice.
    assert int(done.stdout) < 1.6 * wide


def _convolutions(*, layers: int, channels: int) -> Draft:
    def constant(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(RANDOM.normal(0, 0.01, shape).astype(np.float32), name)

    weights = [constant("w0", channels, 3, 1, 1)]
    weights += [constant(f"w{n}", channels, channels, 3, 3) for n in range(1, layers + 1)]
    nodes = [
        helper.make_node("Transpose", ["pictures"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["floats", "w0"], ["x0"]),
        *(
            helper.make_node("Conv", [f"x{n - 1}", f"w{n}"], [f"x{n}"], pads=[1, 1, 1, 1])
            for n in range(1, layers + 1)
        ),
        helper.make_node("GlobalAveragePool", [f"x{layers}"], ["means"]),
        helper.make_node("Flatten", ["means"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", channels])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return Draft(
        model=model,
        task="classify",
        family="classifier",
        size=8,
        preprocessing=Preprocessing(kind="crop", resize=8),
        labels=[str(n) for n in range(channels)],
        weights=Weights(trained=False, description="random"),
        source="tests",
        licence="AGPL-3.0",
    )


@pytest.mark.parametrize("name", ENGINES)
def test_several_threads_may_run_one_engine(make_artifact: MakeArtifact, name: str) -> None:
    engine = create_engine(name, make_artifact(), precision="fp32")
    batches = [np.full((1 + n % 3, 8, 8, 3), n, np.uint8) for n in range(64)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(engine.run, batches))
    # Looked at only now: an engine that handed out its own memory would have overwritten it.
    for number, (logits,) in enumerate(results):
        assert np.allclose(logits, number, atol=1e-3)


class FakeGraphs:
    """Stands in for CUDA graphs: counts captures by shape, and who does the same at once."""

    def __init__(self) -> None:
        self.captured: list[tuple[int, ...]] = []
        self.crowds = 0
        self.collecting = False
        self.failing = False
        self.within_capture: Callable[[], object] = lambda: None
        self._capturing = threading.Lock()
        self._running: dict[object, threading.Lock] = {}

    def capture(self, network: object, shape: tuple[int, ...]) -> FakeGraph:
        with self.alone(self._capturing):
            self.captured.append(shape)
            self.collecting |= gc.isenabled()
            self.within_capture()
            if self.failing:
                raise RuntimeError("operation not permitted when stream is capturing")
        return FakeGraph(self, self._running.setdefault(network, threading.Lock()))

    @contextmanager
    def alone(self, place: threading.Lock) -> Iterator[None]:
        if not place.acquire(blocking=False):
            self.crowds += 1
            yield
            return
        time.sleep(0.002)
        yield
        place.release()


@dataclass
class FakeGraph:
    graphs: FakeGraphs
    place: threading.Lock

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        with self.graphs.alone(self.place):
            return [batch.mean((1, 2, 3), dtype=np.float32)]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> FakeGraphs:
    fake = FakeGraphs()
    monkeypatch.setattr(torch_engine, "_capture", fake.capture)
    return fake


def gpu_engine(artifact: Artifact) -> TorchEngine:
    engine = TorchEngine(artifact)
    engine.on_gpu = True
    return engine


def test_graphs_are_captured_once_for_each_power_of_two_and_size(
    make_artifact: MakeArtifact, graphs: FakeGraphs
) -> None:
    engine = gpu_engine(make_artifact())
    for count in (1, 2, 3, 4, 5, 3, 1):
        (means,) = engine.run(np.full((count, 8, 8, 3), count, np.uint8))
        assert means.tolist() == [count] * count
    engine.run(np.zeros((1, 16, 16, 3), np.uint8))
    assert graphs.captured == [
        (1, 8, 8, 3),
        (2, 8, 8, 3),
        (4, 8, 8, 3),
        (8, 8, 8, 3),
        (1, 16, 16, 3),
    ]


def test_captures_take_turns_and_so_do_the_runs_of_one_engine(
    make_artifact: MakeArtifact, graphs: FakeGraphs
) -> None:
    engines = [gpu_engine(make_artifact()) for _ in range(2)]
    pictures = [np.zeros((count, 8, 8, 3), np.uint8) for count in (1, 2, 4, 8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: engines[n % 2].run(pictures[n // 2 % 4]), range(64)))
    assert graphs.crowds == 0
    assert len(graphs.captured) == 8


def test_the_old_version_serves_while_the_new_one_is_captured(
    make_artifact: MakeArtifact, graphs: FakeGraphs
) -> None:
    """A capture and the choice of kernels before it take seconds."""
    old, new = gpu_engine(make_artifact()), gpu_engine(make_artifact())
    picture = np.zeros((1, 8, 8, 3), np.uint8)
    old.run(picture)
    served = threading.Event()
    waited: list[bool] = []
    graphs.within_capture = lambda: waited.append(served.wait(20))
    with ThreadPoolExecutor(2) as pool:
        capturing = pool.submit(new.run, picture)
        pool.submit(old.run, picture).add_done_callback(lambda _: served.set())
        capturing.result()
    assert waited == [True]


def test_nothing_is_collected_while_a_graph_is_captured(
    make_artifact: MakeArtifact, graphs: FakeGraphs
) -> None:
    gpu_engine(make_artifact()).run(np.zeros((1, 8, 8, 3), np.uint8))
    assert not graphs.collecting
    assert gc.isenabled()


def test_a_failed_capture_ends_the_engine_and_no_other(
    make_artifact: MakeArtifact, graphs: FakeGraphs
) -> None:
    broken, other = gpu_engine(make_artifact()), gpu_engine(make_artifact())
    one, two = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.uint8)
    broken.run(one)
    graphs.failing = True
    with pytest.raises(EngineError, match="not permitted"):
        broken.run(two)
    graphs.failing = False
    for batch in (two, one):
        with pytest.raises(EngineError, match="not used again: operation not permitted"):
            broken.run(batch)
    assert len(other.run(two)[0]) == 2
    assert gc.isenabled()


def test_warm_up_and_capture_run_the_same_step_and_bear_other_threads(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With torch.cuda's calls recorded: this needs no GPU."""
    steps: list[str] = []
    modes: list[str] = []
    where = ["outside"]

    @contextmanager
    def entered(name: str) -> Iterator[None]:
        where.append(name)
        yield
        where.pop()

    def graph(_: object, *, stream: object, capture_error_mode: str) -> Any:
        modes.append(capture_error_mode)
        return entered("capture")

    cuda = SimpleNamespace(
        Stream=lambda: SimpleNamespace(wait_stream=lambda _: None),
        current_stream=lambda: SimpleNamespace(wait_stream=lambda _: None),
        stream=lambda _: entered("warm-up"),
        CUDAGraph=object,
        graph=graph,
    )
    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    for make in ("zeros", "empty"):
        plain = getattr(torch, make)
        monkeypatch.setattr(torch, make, lambda *a, plain=plain, pin_memory, **k: plain(*a, **k))
    step = torch_engine._step

    def watched(network: OnnxNetwork, pictures: torch.Tensor) -> list[torch.Tensor]:
        steps.append(where[-1])
        return step(network, pictures)

    monkeypatch.setattr(torch_engine, "_step", watched)
    network = OnnxNetwork(onnx.load(make_artifact().model_path)).eval()
    captured = torch_engine._capture(network, (2, 8, 8, 3))
    assert steps == ["warm-up"] * 3 + ["capture"]
    assert modes == ["thread_local"]
    assert [output.dtype for output in captured.outputs] == [torch.float32]


def test_auto_does_not_fall_back_to_the_cpu_where_there_is_a_gpu(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_has_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineUnavailableError, match=r"GPU that torch .* cannot use"):
        create_engine("auto", make_artifact())
    assert not create_engine("torch", make_artifact()).on_gpu


def test_what_the_graph_computes_in_float32_is_not_computed_in_tf32(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = True
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(OnnxNetwork, "to", lambda network, *_, **__: network)
    engine = TorchEngine(make_artifact())
    after = [backend.allow_tf32 for backend in backends]
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed
    assert (engine.on_gpu, engine.precision) == (True, "fp16")
    assert after == [False, False]


@pytest.mark.parametrize(
    ("operator", "attribute"),
    [
        ("Gemm", {"alpha": 0.5}),
        ("Gemm", {"beta": 2.0}),
        ("Gemm", {"transA": 1}),
        ("Conv", {"auto_pad": "SAME_UPPER"}),
        ("MaxPool", {"dilations": [2, 2]}),
        ("MaxPool", {"auto_pad": "SAME_LOWER"}),
    ],
)
def test_an_attribute_that_torch_would_ignore_is_refused(
    operator: str, attribute: dict[str, object]
) -> None:
    node = helper.make_node(operator, ["x", "w"], ["y"], name="n7", **attribute)
    weights = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [weights]))
    with pytest.raises(EngineError, match=rf"{operator} n7 .*{next(iter(attribute))}="):
        OnnxNetwork(model)


@pytest.mark.parametrize("name", ENGINES)
def test_a_batch_that_does_not_fit_is_an_engine_error(
    make_artifact: MakeArtifact, name: str
) -> None:
    engine = create_engine(name, make_artifact())
    with pytest.raises(EngineError) as caught:
        engine.run(np.zeros((1, 8, 8, 1), np.uint8))
    assert caught.value.code == "engine_failed"
    (logits,) = engine.run(np.full((1, 8, 8, 3), 7, np.uint8))
    assert np.allclose(logits, 7, atol=0.1)


@pytest.mark.parametrize("name", ENGINES)
def test_a_file_that_is_no_network_is_an_engine_error(
    make_artifact: MakeArtifact, name: str
) -> None:
    artifact = make_artifact()
    artifact.model_path.write_bytes(b"no network")
    with pytest.raises(EngineError, match="cannot load colours"):
        create_engine(name, artifact)


def test_an_unknown_engine_is_answered_with_the_known_ones() -> None:
    with pytest.raises(EngineUnavailableError, match="onnxruntime, openvino, torch"):
        choose_engine("tensorflow")


def test_auto_is_one_of_the_engines_that_are_installed() -> None:
    assert choose_engine() in ENGINES


def test_an_unknown_precision_is_refused(make_artifact: MakeArtifact) -> None:
    with pytest.raises(EngineUnavailableError, match="auto, fp32, int8"):
        create_engine("auto", make_artifact(), precision="fp8")


def test_a_signal_is_still_handled_when_engines_have_come_and_gone(
    efficientnet_lite0: Artifact,
) -> None:
    """As when a newer model is taken in and the server is then told to stop."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from runtime.inference.artifact import Artifact\n"
        "from runtime.inference.engines import create_engine\n"
        "heard = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: heard.append(True))\n"
        "artifact = Artifact.load(Path(sys.argv[1]))\n"
        "engines = [create_engine('openvino', artifact) for _ in range(2)]\n"
        "engines.pop(0)\n"
        "engines.pop(0)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print(heard)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(efficientnet_lite0.folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "[True]\n"), done.stderr
