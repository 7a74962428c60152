"""`visionstack models`: build, list, verify and publish model artifacts; change the current one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.contract import Output, Precision, Stack
from visionstack import console, paths
from visionstack.cli.models_shown import percent, print_differences, shared, tell, told_of_canary
from visionstack.cli.options import CloudOption, JsonOption, PrefixOption
from visionstack.errors import UsageError, VisionstackError

if TYPE_CHECKING:
    from runtime.inference.artifact import Artifact
    from visionstack.cloud import Cloud
    from visionstack.models.downloads import Say
    from visionstack.models.versions import Versions

app = typer.Typer(
    name="models",
    help="Build, list, verify and publish model artifacts.",
    no_args_is_help=True,
)


@app.command()
def build(  # noqa: PLR0917
    models: Annotated[
        list[str],
        typer.Argument(help="Names (see `models list`), 'all', or a path to a .pt checkpoint."),
    ],
    name: Annotated[str | None, typer.Option(help="Call the model so.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights file to take instead of fetching one.")
    ] = None,
    weights_url: Annotated[
        str | None, typer.Option(help="Address to fetch the weights from.")
    ] = None,
    cfg: Annotated[
        Path | None, typer.Option(help="Darknet cfg of your weights (yolov3, yolov3-tiny).")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Names of its classes, one a line; COCO's when left out.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the square input in pixels (detectors).")
    ] = None,
    precision: Annotated[Precision, typer.Option(help="How weights are stored.")] = "fp32",
    random: Annotated[
        bool,
        typer.Option("--random", help="Random weights, for timing, where the real can't be had."),
    ] = False,
    force: Annotated[bool, typer.Option(help="Build again what is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Build models; one that is there and up to date is left as it is."""
    from visionstack.models.building import build as build_artifact
    from visionstack.models.catalog import CATALOG, DARKNET, find_recipe
    from visionstack.models.draft import BuildOptions

    if size is not None and (size % 32 or not 32 <= size <= 2048):
        raise UsageError(f"--size is a multiple of 32 from 32 to 2048, not {size}.")
    wanted = list(CATALOG) if models == ["all"] else models
    if len(wanted) > 1 and (name or weights or weights_url or cfg or labels):
        raise UsageError(
            "--name, --weights, --weights-url, --cfg and --labels are for one model at a time."
        )
    if (cfg or labels) and wanted[0] not in DARKNET:
        raise UsageError(f"--cfg and --labels are for {' and '.join(DARKNET)}, not {wanted[0]}.")
    recipes = [find_recipe(model, called=name) for model in wanted]
    options = BuildOptions(
        weights=weights,
        weights_url=weights_url,
        cfg=cfg,
        labels=labels,
        size=size,
        precision=precision,
        random=random,
    )
    answers = []
    for recipe in recipes:
        with _saying(recipe.name) as say:
            built = build_artifact(recipe, root=paths.MODELS, options=options, say=say, force=force)
        artifact = built.artifact
        answers.append({**_summary(artifact), "made": built.made})
        if not as_json:
            console.out.print(f"{'built' if built.made else 'up to date'}: {_sentence(artifact)}")
        if not artifact.manifest.weights.trained:
            console.err.print(f"[yellow]{recipe.name}: {artifact.manifest.weights.description}[/]")
    if as_json:
        console.print_json(answers)


@app.command()
def quantize(
    model: Annotated[str, typer.Argument(help="A built model.")],
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="To calibrate with, else samples: a folder or clip; for a classifier what "
            "`train classifier` takes, or pictures without classes."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Of a detector's pictures, or naming its own; as `accuracy` takes."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add int8 to a built model, with accuracy and time beside fp32, for precision auto."""
    from runtime.inference.errors import InferenceError
    from visionstack.accuracy.quantized import quantize_model, sentence

    with _saying(model) as say:
        try:
            if _load(model).manifest.task == "detect":
                found = quantize_model(
                    model, pictures=pictures, labels=labels, models=paths.MODELS, say=say
                )
            elif labels is not None:
                raise UsageError(
                    f"--labels are boxes, and {model} is a classifier.",
                    remedy="Give --pictures with a folder for each class.",
                )
            else:
                from visionstack.training.quantizing import quantize_classifier

                found = quantize_classifier(model, pictures=pictures, say=say)
        except InferenceError as error:
            raise VisionstackError(f"{model}: {error}") from error
    if as_json:
        rows = [row._asdict() for row in found.artifact.manifest.measured]
        console.print_json({**_summary(found.artifact), "measured": rows, "auto": found.taken})
        return
    console.out.print(f"{_sentence(found.artifact)}: {sentence(found)}")


@app.command("list")
def list_(
    served: Annotated[
        bool, typer.Option("--served", help="Also which versions a deployment serves.")
    ] = False,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """What can be built, what is built here, and what is served to what share of the traffic."""
    from rich.table import Table

    from runtime.inference.artifact import Artifact
    from runtime.inference.errors import ArtifactError
    from visionstack.models.building import built_names, current_folder
    from visionstack.models.catalog import CATALOG

    built = {name: current_folder(paths.MODELS, name) for name in built_names(paths.MODELS)}
    published = _published(cloud, prefix) if served else None
    rows: list[dict[str, Any]] = []
    for name in [*CATALOG, *(name for name in built if name not in CATALOG)]:
        row: dict[str, Any] = {"name": name, "summary": "", "built": name in built}
        if name in CATALOG:
            row["summary"] = CATALOG[name].summary
        if name in built:
            try:
                row |= _summary(Artifact.load(built[name]))
            except ArtifactError as error:
                row |= {"built": False, "damaged": error.message}
        if published:
            row["served"] = published(name).shares()
        rows.append(row)
    if as_json:
        console.print_json(rows)
        return
    table = Table("model", "built", *["served"] * served, "weights", "MB", "what it is")
    for row in rows:
        trained = row.get("trained")
        table.add_row(
            row["name"],
            "[red]damaged[/]" if "damaged" in row else row.get("version", "-"),
            *["\n".join(shared(row["served"])) or "-" for _ in range(served)],
            "-" if trained is None else "trained" if trained else "[yellow]random[/]",
            f"{row['bytes'] / 1e6:.0f}" if row["built"] else "-",
            row["summary"] or row.get("source", ""),
        )
    console.out.print(table)


@app.command()
def verify(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names; all that are built when left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hash every file of built models and compare with their manifests; exit 1 on damage."""
    from visionstack.models.building import built_names

    names = models or built_names(paths.MODELS)
    if not names:
        raise VisionstackError(
            "No model is built here.", remedy="Build one: visionstack models build yolov3-tiny"
        )
    answers = [_summary(_load(name)) for name in names]
    if as_json:
        console.print_json(answers)
        return
    for answer in answers:
        console.out.print(f"intact: {answer['name']} {answer['version']}")


@app.command()
def publish(
    models: Annotated[list[str], typer.Argument(help="Names of built models.")],
    promote: Annotated[bool, typer.Option(help="Make it current.")] = True,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload built models to the deployment's bucket and make them current."""
    from visionstack.cloud.deployment import connect
    from visionstack.models.publishing import publish as publish_artifact
    from visionstack.models.versions import Versions

    artifacts = [_load(name) for name in models]
    deployment = connect(cloud=cloud, prefix=prefix)
    bucket = deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
    client = deployment.client("s3")
    answers = []
    for artifact in artifacts:
        with _saying(artifact.manifest.name) as say:
            fresh = publish_artifact(
                artifact, client=client, bucket=bucket, promote=promote, say=say
            )
        answers.append({**_summary(artifact), "bucket": bucket, "uploaded": fresh})
        if not as_json:
            state = "published" if fresh else "already published"
            if promote:
                state += ", made current"
            elif Versions(client, bucket, artifact.manifest.name).current() == (
                artifact.manifest.version
            ):
                state += ", still current"
            else:
                state += ", not current"
            console.out.print(f"{state}: {_sentence(artifact)}")
    if as_json:
        console.print_json(answers)


_Name = Annotated[str, typer.Argument(help="Name of a published model.")]


@app.command()
def versions(
    name: _Name,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """The published versions of a model, which is current, and how much of the traffic each has."""
    found = _versions(name, cloud, prefix)
    shares = found.shares()
    current = next(iter(shares), None)
    rows: list[dict[str, Any]] = [
        {"version": one, "current": one == current, "share": shares.get(one, 0.0)}
        for one in found.published()
    ]
    if as_json:
        console.print_json(rows)
        return
    if not rows:
        _tell_unpublished(name)
    for row in rows:
        words = ["current"] if row["current"] else []
        if 0 < row["share"] < 1:
            words.append(f"{percent(row['share'])} of the traffic")
        told = f" ({', '.join(words)})" if words else ""
        console.out.print(f"{row['version']}{told}")


@app.command()
def promote(  # noqa: PLR0917 - Typer's options
    name: _Name,
    version: Annotated[
        str | None,
        typer.Argument(help="As `models versions` prints it; the one that is tried already."),
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(help="Try it on so much of the traffic first, such as 10%; 0 ends that."),
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also one that is worse.")] = False,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a published version current; servers and functions follow without a restart."""
    share = None if canary is None else _share(canary)
    versions_ = _versions(name, cloud, prefix)
    if share == 0:
        tell(versions_.end_canary(), as_json, otherwise="no version is tried")
        return
    tried = versions_.canary()
    version = version or (tried.version if tried else None)
    if version is None:
        raise UsageError(
            f"Which version of {name}?", remedy=f"See `visionstack models versions {name}`."
        )
    if share is None:
        tell(versions_.promote(version, anyway=anyway), as_json)
    else:
        tell(versions_.try_on(version, share, anyway=anyway), as_json)


@app.command()
def rollback(
    name: _Name,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a canary; without one, go back to the version that was current before."""
    tell(_versions(name, cloud, prefix).rollback(), as_json)


@app.command()
def log(
    name: _Name,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every change of the current version: who, when, from what, to what."""
    found = _versions(name, cloud, prefix).log()
    if as_json:
        console.print_json([change.to_json() for change in found])
        return
    if not found:
        _tell_unpublished(name)
    for change in found:
        told = f"{change.old or '-'} to {change.new}"
        if change.action == "canary":
            told = told_of_canary(change)
        if change.gone:
            told = f"deleted {', '.join(change.gone)}"
        if change.back:
            told = f"{change.back} is there again"
        console.out.print(f"{change.when} {change.who} {change.action}: {told}", soft_wrap=True)


@app.command()
def diff(  # noqa: PLR0917 - Typer's options
    name: _Name,
    old: Annotated[
        str | None, typer.Argument(help="A version; what a rollback goes back to.")
    ] = None,
    new: Annotated[str | None, typer.Argument(help="Another; the current one.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is alike.")] = False,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """What differs between two published versions: metrics, classes, settings, sizes."""
    from visionstack.models.differences import differences

    versions_ = _versions(name, cloud, prefix)
    old, new = old or versions_.before(), new or versions_.current()
    if old is None or new is None:
        raise VisionstackError(
            f"{name} has no two versions that were current.",
            remedy=f"Name two of `visionstack models versions {name}`.",
        )
    rows = differences(versions_.describe(old), versions_.describe(new))
    if as_json:
        found = [{**asdict(row), "differs": row.differs} for row in rows]
        console.print_json({"name": name, "old": old, "new": new, "rows": found})
        return
    print_differences([row for row in rows if everything or row.differs or row.note], old, new)


@app.command()
def gc(
    name: _Name,
    keep: Annotated[int, typer.Option(min=1, help="Versions that were current last.")] = 3,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete the published versions but the last current ones and those uploaded since."""
    gone = _versions(name, cloud, prefix).collect(keep=keep)
    if as_json:
        console.print_json({"deleted": list(gone)})
        return
    console.out.print(f"deleted: {', '.join(gone) or 'none'}")


def _tell_unpublished(name: str) -> None:
    told = f"Nothing of {name} is published; `visionstack models list` has the names."
    console.err.print(told, markup=False, soft_wrap=True)


def _versions(name: str, cloud: Cloud, prefix: str | None) -> Versions:
    return _published(cloud, prefix)(name)


def _published(cloud: Cloud, prefix: str | None) -> Callable[[str], Versions]:
    from visionstack.cloud.deployment import connect
    from visionstack.models.versions import Versions

    deployment = connect(cloud=cloud, prefix=prefix)
    bucket = deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
    return partial(Versions, deployment.client("s3"), bucket)


def _share(text: str) -> float:
    """`10%` or `0.1`; from 0 to below 1."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise UsageError(
            f"--canary is a share such as 10% or 0.1, from 0 to below 1, not {text!r}.",
            remedy="For all of the traffic leave --canary out.",
        )
    return share


def _load(name: str) -> Artifact:
    from runtime.inference.artifact import Artifact
    from runtime.inference.errors import ArtifactError
    from visionstack.models.building import current_folder

    folder = current_folder(paths.MODELS, name)
    try:
        return Artifact.load(folder)
    except ArtifactError as error:
        raise VisionstackError(
            error.message, remedy=f"Build it again: visionstack models build {name}"
        ) from error


def _summary(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "family": manifest.family,
        "input": [manifest.input.width, manifest.input.height],
        "trained": manifest.weights.trained,
        "weights": manifest.weights.description,
        "precision": manifest.precision,
        "gflop": round(manifest.flop / 1e9, 3),
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
        "source": manifest.source,
        "licence": manifest.licence,
        "folder": str(artifact.folder),
    }


def _sentence(artifact: Artifact) -> str:
    manifest = artifact.manifest
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    trained = "trained" if manifest.weights.trained else "random"
    return f"{manifest.name} {manifest.version} ({manifest.task}, {trained} weights, {size:.0f} MB)"


@contextmanager
def _saying(name: str) -> Iterator[Say]:
    """A spinner on stderr with what is going on."""
    with console.err.status(f"{name} …") as status:
        yield lambda what: status.update(f"{name}: {what}")
