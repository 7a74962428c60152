"""`visionstack train`: a classifier or a detector of the user's own, and the paper's figure 3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from visionstack import console, extras, paths
from visionstack.cli.options import CloudOption, JsonOption, OutOption
from visionstack.errors import UsageError
from visionstack.training import WayChoice

if TYPE_CHECKING:
    from rich.progress import Progress

    from visionstack.training.dataset import Dataset
    from visionstack.training.plans import Candidate, Epoch

_SAMPLE: Final = paths.SAMPLES / "fashion_products.zip"
_Size = Annotated[int | None, typer.Option(help="Side of the network's input.")]
_Seed = Annotated[int, typer.Option(min=0, help="Of the split and of the training.")]
_Backbone = Annotated[
    str | None,
    typer.Option(help="efficientnet-lite0, resnet18 to resnet152, or a name of timm's."),
]


class _Group(TyperGroup):
    """`visionstack train DATA`, as it was before there were several commands, is `classifier`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or not (args[0] in self.commands or args[0] in ("-h", "--help")):
            args = ["classifier", *(args or [str(_SAMPLE)])]
            console.err.print(
                "[yellow]`visionstack train` is now `visionstack train classifier`[/]"
            )
        found: list[str] = super().parse_args(ctx, args)
        return found


app = typer.Typer(
    name="train",
    cls=_Group,
    help="Train a network on your own pictures.",
    no_args_is_help=False,
)


@app.command()
def classifier(  # noqa: PLR0917 - Typer's options
    data: Annotated[
        Path, typer.Argument(help="A folder a product, a zip of such, or a CSV with file,id.")
    ] = _SAMPLE,
    name: Annotated[str, typer.Option(help="What the model will be called.")] = "products",
    backbone: _Backbone = None,
    way: Annotated[WayChoice, typer.Option(help="auto goes by the data.")] = "auto",
    augment: Annotated[
        bool | None,
        typer.Option(help="Change size, rotation and lighting; the validation decides."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the pictures.")] = 60,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without gain to end after.")] = 8,
    batch: Annotated[int, typer.Option(min=2, help="Pictures at a time.")] = 32,
    size: _Size = None,
    seed: _Seed = 0,
    unknown: Annotated[bool, typer.Option(help='Answer "unknown" when in doubt.')] = False,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard's files.")] = False,
    deploy: Annotated[bool, typer.Option("--deploy", help="Publish and serve it.")] = False,
    cloud: CloudOption = "local",
    out: OutOption = paths.OUT / "training",
    as_json: JsonOption = False,
) -> None:
    """Train a classifier of products; with --deploy, from pictures to an address."""
    from visionstack.training.run import Plan

    _check_size(size)
    _check_name(name)
    extras.require("torch")
    if deploy:
        paths.project()  # what is missing is told before hours of training
    folder = out / name
    with console.progress() as progress:
        display = _Display(progress)
        dataset, read = _read(data, folder, size=size, seed=seed, tick=display.tick)
        tell_of_data(dataset)
        plan = Plan(
            name=name,
            models=paths.MODELS,
            folder=folder,
            backbone=backbone,
            way=way,
            augment=augment,
            epochs=epochs,
            patience=patience,
            batch=batch,
            unknown=unknown,
            tensorboard=tensorboard,
        )
        from visionstack.report.write import write
        from visionstack.training.report import report
        from visionstack.training.run import train

        def told(candidate: Candidate, epoch: Epoch) -> None:
            display.word(f"{candidate.key}: {epoch.val_top1:.1%} of validation right")
            display.tick(epoch.number, epochs)

        outcome = train(dataset, plan, say=display.step, told=told)
        page = write(report(outcome, dataset), folder, formats=["html"])["html"]
    record = outcome.record
    if not as_json:
        _print(record, page)
    if deploy:
        from visionstack.cloud.clouds import resolve_cloud
        from visionstack.deploy.live import go_live

        path = dataset.test.paths[0]
        picture = folder / f"test-picture{Path(path).suffix.lower()}"
        picture.write_bytes(read(path))
        live = go_live(name, picture, cloud=resolve_cloud(cloud))
        record["live"] = {**live.to_json(), "shown": dataset.ids[int(dataset.test.product[0])]}
        if not as_json:
            console.out.print(
                f"served at {live.url}\n{path} is {record['live']['shown']}; the answer: "
                f"TOP1_ID {live.answer.top[0].id} ({live.answer.top[0].softmax:.0%})",
                markup=False,
            )
            console.out.print(live.curl, markup=False, soft_wrap=True)
            console.out.print(
                'later deployments keep it by -c, or in cdk.json by "visionstack": '
                f'{{"classifier_model": "{name}"}}',
                markup=False,
                soft_wrap=True,
            )
    elif not as_json:
        console.out.print(f"serve it: visionstack local deploy -c classifier_model={name}")
    if as_json:
        console.print_json(record)


@app.command()
def compare(  # noqa: PLR0917 - Typer's options
    data: Annotated[Path, typer.Argument(help="As for classifier.")] = _SAMPLE,
    seeds: Annotated[int, typer.Option(min=2, help="Repetitions.")] = 5,
    counts: Annotated[
        str, typer.Option(help="Pictures a product to train and choose with.")
    ] = "5,10,25,100",
    backbone: _Backbone = None,
    size: _Size = None,
    out: OutOption = paths.OUT / "training",
    as_json: JsonOption = False,
) -> None:
    """The paper's figure 3: three ways of training, over seeds and amounts of data."""
    from visionstack.training.comparing import Question, compare_ways, draw

    _check_size(size)
    try:
        wanted = tuple(sorted({int(count) for count in counts.split(",")}))
    except ValueError:
        wanted = ()
    if not wanted or wanted[0] < 3:
        raise UsageError(f"--counts is numbers from 3 with commas between, not {counts!r}.")
    with console.progress() as progress:
        display = _Display(progress)
        dataset, _ = _read(data, out / "compare", size=size, seed=0, tick=display.tick)
        display.step("the network")
        question = Question(
            seeds=seeds, counts=wanted, backbone=backbone, models=paths.MODELS, folder=out
        )
        record = compare_ways(dataset, question, say=display.word, tick=display.tick)
        page = draw(record, out)
    if as_json:
        console.print_json(record)
        return
    for row in record["rows"]:
        console.out.print(
            f"{row['pictures']:>4} a product, {row['name']}: {row['top1']['mean']:.1%} "
            f"({row['top1']['low']:.1%} to {row['top1']['high']:.1%})"
        )
    for one in record["order"]:
        console.out.print(f"{one['pictures']:>4} a product: {one['sentence']}")
    console.out.print(f"record {out / 'compare.json'}, report {page}")


@app.command()
def detector(  # noqa: PLR0917 - Typer's options
    data: Annotated[Path, typer.Argument(help="A data set's YAML as Ultralytics wants it.")],
    name: Annotated[str, typer.Option(help="What the model will be called.")] = "detector",
    model: Annotated[
        str, typer.Option(help="An Ultralytics YAML, or a checkpoint (.pt) to start from.")
    ] = "yolov3-tiny.yaml",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures.")] = 50,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without gain to end after.")] = 10,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 8,
    size: Annotated[int, typer.Option(help="Side of the network's input.")] = 416,
    seed: _Seed = 0,
    out: OutOption = paths.OUT / "training",
    as_json: JsonOption = False,
) -> None:
    """Train a detector through Ultralytics, out to the same kind of model."""
    from visionstack.training.detecting import DetectorPlan, sentence, train_detector

    _check_size(size)
    _check_name(name)
    plan = DetectorPlan(
        data=data,
        name=name,
        model=model,
        epochs=epochs,
        patience=patience,
        batch=batch,
        size=size,
        seed=seed,
        models=paths.MODELS,
        folder=out / name,
    )
    with console.err.status(f"training {name} …") as status:
        record = train_detector(plan, say=status.update)
    if as_json:
        console.print_json(record)
        return
    told = f"{record['artifact']['name']} {record['artifact']['version']}: {sentence(record)}"
    console.out.print(f"model {told}", soft_wrap=True)
    console.out.print(f"serve it: visionstack local deploy -c stream_model={name}")


def tell_of_data(dataset: Dataset) -> None:
    """What was not used, on stderr: the first few by name, all of them in the report."""
    if dataset.skipped:
        files = "file is" if len(dataset.skipped) == 1 else "files are"
        console.err.print(f"[yellow]{len(dataset.skipped):,} {files} not used:[/]")
        for one in dataset.skipped[:10]:
            console.err.print(f"  {one.path}: {one.reason}", markup=False, soft_wrap=True)
    if dataset.near:
        console.err.print(
            f"{len(dataset.near):,} pairs of near-duplicates, each kept on one side of the split"
            f" ({dataset.left_out:,} pictures left out for it)"
        )


def _read(
    data: Path,
    folder: Path,
    *,
    size: int | None,
    seed: int,
    tick: Callable[[int, int], None],
) -> tuple[Dataset, Callable[[str], bytes]]:
    from visionstack.training.dataset import read_dataset
    from visionstack.training.products import list_products

    listing = list_products(data)
    return read_dataset(listing, folder, size=size, seed=seed, tick=tick), listing.read


def _check_name(name: str) -> None:
    from runtime.inference.artifact import check_name
    from runtime.inference.errors import ArtifactError
    from visionstack.models.catalog import CATALOG

    try:
        check_name(name)
    except ArtifactError as error:
        raise UsageError(error.message) from error
    if name in CATALOG or name == "cache":
        raise UsageError(
            f"{name!r} is the name of a model that visionstack builds itself.",
            remedy="Give yours another by --name.",
        )


def _check_size(size: int | None) -> None:
    if size is not None and (size % 32 or not 32 <= size <= 512):
        raise UsageError(f"--size is a multiple of 32 from 32 to 512, not {size}.")


class _Display:
    """What is going on, how far it is, and the time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("reading the pictures", total=None)

    def step(self, what: str) -> None:
        """Another step, of a length that is not known yet: the last one's total is not its own."""
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=None)

    def word(self, what: str) -> None:
        """Other words for the step that is going on."""
        self._progress.update(self._task, description=what)

    def tick(self, done: int, total: int) -> None:
        """How far the step is."""
        self._progress.update(self._task, completed=done, total=total)


def _print(record: dict[str, Any], page: Path) -> None:
    top1, calibration = record["test"]["top1"], record["calibration"]
    chosen = next(way for way in record["ways"] if way["chosen"])
    console.out.print(f"{chosen['name']} ({record['network']['name']}): {record['why']}")
    console.out.print(
        f"test top 1 {top1['share']:.1%} ({top1['low']:.1%} to {top1['high']:.1%}, 95 %), "
        f"calibration error {calibration['error_before']:.1%} before and "
        f"{calibration['error_after']:.1%} after a temperature of {calibration['temperature']:.2f}"
    )
    if not record["network"]["pretrained"] and chosen["way"] != "scratch":
        console.err.print(f"[yellow]started from {record['network']['starting_weights']}[/]")
    console.out.print(f"model {record['artifact']['name']} {record['artifact']['version']}")
    console.out.print(f"report {page}")
