"""Drafts to artifacts: written aside, put in place by a rename, and not built twice.

`root/{name}/{version}/` is immutable, `root/{name}/current` names a version, and
`root/{name}/recipe.json` says what that version was built from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

from runtime.contract import Precision
from runtime.inference.artifact import (
    MANIFEST,
    Artifact,
    FileEntry,
    InputSpec,
    Manifest,
    check_name,
    file_entry,
)
from runtime.inference.errors import ArtifactError
from visionstack.files import replace_file
from visionstack.models.catalog import Recipe
from visionstack.models.downloads import Say
from visionstack.models.draft import BuildContext, BuildOptions, Draft
from visionstack.models.errors import ModelError, StillRandomError

CACHE: Final = "cache"
READY: Final = "model.ready.onnx"
_TOOLS: Final = ("onnx", "onnxruntime", "torch", "torchvision", "ultralytics-opencv-headless")


@dataclasses.dataclass(frozen=True, slots=True)
class Built:
    """An artifact, and whether it had to be made."""

    artifact: Artifact
    made: bool


def build(
    recipe: Recipe,
    *,
    root: Path,
    options: BuildOptions | None = None,
    say: Say = lambda _: None,
    force: bool = False,
) -> Built:
    """The recipe's artifact under `root`; what is there and intact is kept unless `force`.

    One with random weights is kept only as long as the real ones cannot be had. Raises `ModelError`
    kinds; `DownloadError` when the weights cannot be had and `options.random` is not set.
    """
    options = options or BuildOptions()
    name = recipe.name
    if options.precision != "fp32" and not name.endswith(f"-{options.precision}"):
        name = f"{name}-{options.precision}"
    try:
        check_name(name)
    except ArtifactError as error:
        raise ModelError(error.message, remedy="Give a name by --name.") from error
    key = _recipe_key(recipe, options)
    there = None if force else _already_built(root / name, key)
    if there and there.manifest.weights.trained:
        return Built(there, made=False)
    context = BuildContext(
        options=options, cache=root / CACHE, say=say, random_is_built=there is not None
    )
    try:
        draft = recipe.make(context)
    except StillRandomError:
        assert there  # noqa: S101 - nothing else raises it
        return Built(there, made=False)
    artifact = write_artifact(name, draft, root=root, options=options, say=say)
    replace_file(
        root / name / "recipe.json", json.dumps({"key": key, "version": artifact.folder.name})
    )
    return Built(artifact, made=True)


def ready(recipe: Recipe, *, root: Path, options: BuildOptions | None = None) -> Artifact:
    """`build` for those who use the model: random weights only where the user built it so before.

    Raises `ModelError` kinds.
    """
    try:
        manifest = (current_folder(root, recipe.name) / MANIFEST).read_bytes()
        random = not Manifest.from_json(manifest).weights.trained
    except (OSError, ModelError, ArtifactError):
        random = False
    options = options or BuildOptions()
    options = dataclasses.replace(options, random=options.random or random)
    return build(recipe, root=root, options=options).artifact


def write_artifact(
    name: str, draft: Draft, *, root: Path, options: BuildOptions | None = None, say: Say
) -> Artifact:
    """Store a draft as `root/{name}/{version}` and point `current` at it."""
    from visionstack.models.onnx_graph import flop, ready_for_onnxruntime
    from visionstack.models.weights import narrow, save_graphs

    home = root / name
    home.mkdir(parents=True, exist_ok=True)
    precision: Precision = options.precision if options else "fp32"
    work = flop(draft.model)
    partial = Path(tempfile.mkdtemp(prefix=".building.", dir=home))
    try:
        say("writing the artifact")
        graphs = {"model.onnx": draft.model}
        if draft.task == "classify":
            graphs[READY] = ready_for_onnxruntime(draft.model)
        save_graphs({file: narrow(graph, precision) for file, graph in graphs.items()}, partial)
        (partial / "labels.txt").write_text("\n".join(draft.labels) + "\n", "utf-8")
        for extra, text in draft.extra.items():
            (partial / extra).write_text(text, "utf-8")
        files = {path.name: file_entry(path) for path in sorted(partial.iterdir())}
        manifest = _manifest(name, draft, files, precision=precision, flop=work)
        (partial / MANIFEST).write_text(manifest.to_json(), "utf-8")
        partial.chmod(0o755)
        final = home / manifest.version
        with contextlib.suppress(ArtifactError):
            artifact = Artifact.load(final)
            replace_file(home / "current", manifest.version + "\n")
            return artifact
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    replace_file(home / "current", manifest.version + "\n")
    return Artifact(final, manifest)


def current_folder(root: Path, name: str) -> Path:
    """The folder of a built model's current version. Raises `ModelError` if there is none."""
    try:
        version = (root / check_name(name) / "current").read_text("utf-8").strip()
        return root / name / check_name(version, what="model version")
    except (OSError, ArtifactError) as error:
        raise ModelError(
            f"The model {name!r} is not built here.",
            remedy=f"Build it: visionstack models build {name}",
        ) from error


def built_names(root: Path) -> list[str]:
    """Names of the models under `root`."""
    return sorted(path.parent.name for path in root.glob("*/current"))


def _manifest(
    name: str, draft: Draft, files: dict[str, FileEntry], *, precision: Precision, flop: int
) -> Manifest:
    return Manifest(
        name=name,
        task=draft.task,
        family=draft.family,
        input=InputSpec(
            width=draft.size,
            height=draft.size,
            colour="BGR" if draft.task == "detect" else "RGB",
        ),
        preprocessing=draft.preprocessing,
        weights=draft.weights,
        source=draft.source,
        licence=draft.licence,
        files=files,
        precision=precision,
        flop=flop,
        ready=READY if READY in files else "",
        anchors=draft.anchors,
    )


def _already_built(home: Path, key: str) -> Artifact | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, ArtifactError):
        known = json.loads((home / "recipe.json").read_text("utf-8"))
        current = (home / "current").read_text("utf-8").strip()
        if known["key"] == key and known["version"] == current:
            return Artifact.load(home / current)
    return None


def _recipe_key(recipe: Recipe, options: BuildOptions) -> str:
    """Changes with the options, this package's code and data, and the tools' versions."""
    digest = hashlib.sha256(f"{recipe.name}\n{recipe.summary}\n".encode())
    chosen = dataclasses.asdict(options)
    del chosen["random"]  # says what to do without weights, not what to build of them
    for option, value in chosen.items():
        known = file_entry(value) if isinstance(value, Path) and value.is_file() else value
        digest.update(f"{option}={known}\n".encode())
    package = Path(__file__).parent
    for path in sorted(package.rglob("*")):
        if path.suffix in (".py", ".cfg", ".txt") and path.name != "commands.py":
            digest.update(path.read_bytes())
    for tool in _TOOLS:
        digest.update(f"{tool}=={_installed(tool)}\n".encode())
    return digest.hexdigest()


def _installed(tool: str) -> str:
    """Its version; darknet's networks are built without torch, which may not be there."""
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
