"""`visionstack train`: a classifier of the user's own products."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionstack import console, paths
from visionstack.errors import UsageError

if TYPE_CHECKING:
    from visionstack.training.fitting import Epoch


def register(app: typer.Typer) -> None:
    """Mount this part's commands on the root command."""
    app.command("train")(train)


def train(  # noqa: PLR0917 - Typer's options
    products: Annotated[
        Path,
        typer.Argument(help="Folder or zip: train/{product}/… and test/{product}/…"),
    ] = paths.SAMPLES / "fashion_products.zip",
    name: Annotated[str, typer.Option(help="What the model will be called.")] = "products",
    way: Annotated[
        list[str] | None,
        typer.Option(help="scratch, pretrained or augmented; again for more; all by default."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Most passes over the pictures, each way.")] = 30,
    seconds: Annotated[float, typer.Option(help="Most seconds of training, each way.")] = 120.0,
    size: Annotated[int | None, typer.Option(help="Side of the network's input.")] = None,
    out: Annotated[Path, typer.Option(help="Where the record goes.")] = paths.OUT / "training",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Train a classifier of products in the paper's three ways and keep the best as a model."""
    from runtime.inference.artifact import check_name
    from runtime.inference.errors import ArtifactError
    from visionstack.training.run import WAYS

    ways = [known for known in WAYS if known in (way or WAYS)]
    if unknown := sorted(set(way or ()) - set(WAYS)):
        raise UsageError(f"--way is {', '.join(WAYS)}, not {', '.join(unknown)}.")
    if epochs < 1 or seconds <= 0:
        raise UsageError("--epochs and --seconds must be more than nothing.")
    if size is not None and (size % 32 or not 32 <= size <= 512):
        raise UsageError(f"--size is a multiple of 32 from 32 to 512, not {size}.")
    try:
        check_name(name)
    except ArtifactError as error:
        raise UsageError(error.message) from error
    from visionstack.training.curves import draw
    from visionstack.training.products import read_products
    from visionstack.training.run import Plan
    from visionstack.training.run import train as run

    with console.progress() as progress:
        task = progress.add_task("reading the pictures", total=len(ways) * epochs)
        found = read_products(products, size=size)
        plan = Plan(
            ways=ways, epochs=epochs, seconds=seconds, name=name, models=paths.MODELS, out=out
        )

        def told(title: str, epoch: Epoch) -> None:
            shares = f"epoch {epoch.number}, top 1 {epoch.top1:.1%}"
            progress.update(task, advance=1, description=f"{title}: {shares}")

        outcome = run(
            found, plan, say=lambda what: progress.update(task, description=what), told=told
        )
        progress.update(task, description="drawing the curves")
        drawn = draw(outcome.record, out)
    if as_json:
        console.print_json(outcome.record)
        return
    for row in outcome.record["ways"]:
        console.out.print(
            f"{row['name']}: top 1 {row['top1']:.1%}, top 5 {row['top5']:.1%} after "
            f"{len(row['epochs'])} epochs in {row['seconds']:.0f} s ({row['network']})"
        )
    manifest = outcome.artifact.manifest
    console.out.print(f"model {manifest.name} {manifest.version}: {manifest.weights.description}")
    console.out.print(f"record {out / 'training.json'}, curves {drawn[0]}")
    console.out.print(f"publish it: visionstack models publish {manifest.name}")
