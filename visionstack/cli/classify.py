"""The serverless lane's commands: `classify` and `wakeup`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from runtime.contract import MAX_WARM_ENVIRONMENTS
from visionstack import console
from visionstack.cli.options import CloudOption, JsonOption, PrefixOption
from visionstack.errors import UsageError

if TYPE_CHECKING:
    from visionstack.classify.client import Classification
    from visionstack.classify.many import Failure
    from visionstack.cloud.deployment import Deployment


def classify(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH…", help="Picture files, folders, or an s3:// prefix."),
    ],
    *,
    concurrency: Annotated[int, typer.Option(min=1, max=200, help="Calls at the same time.")] = 5,
    job: Annotated[
        bool,
        typer.Option("--job", help="Upload the pictures and classify them as one folder job."),
    ] = False,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify pictures by the serverless lane; every one is answered or listed as failed.

    An s3:// prefix, or local folders with --job, run as a Step Functions distributed map.
    """
    from visionstack.classify.client import CONTENT_TYPES, ClassifierClient
    from visionstack.classify.many import Failure, classify_all, find_pictures
    from visionstack.cloud.deployment import connect
    from visionstack.picture_files import left_out

    remote = [path for path in paths if path.startswith("s3://")]
    if remote and len(paths) > 1:
        raise UsageError("An s3:// prefix is classified alone.", remedy="Name one prefix a call.")
    found = find_pictures(Path(path) for path in paths if path not in remote)
    pictures = found.pictures
    if told := left_out(found.others, CONTENT_TYPES):
        console.err.print(f"[yellow]{escape(told)}[/]", soft_wrap=True)
    deployment = connect(cloud=cloud, prefix=prefix)
    if remote or job:
        _classify_folder(deployment, remote, pictures, as_json=as_json)
        return
    with (
        ClassifierClient.of(deployment, connections=concurrency) as client,
        console.progress() as bar,
    ):
        task = bar.add_task("classifying", total=len(pictures))
        results = classify_all(
            client, pictures, concurrency=concurrency, done=lambda: bar.advance(task)
        )
    if as_json:
        console.print_json([result.to_json() for result in results])
    else:
        _show(results)
    failures = [result for result in results if isinstance(result, Failure)]
    if failures:
        noun = "picture" if len(results) == 1 else "pictures"
        console.err.print(f"[bold red]{len(failures)} of {len(results)} {noun} failed[/]")
        for remedy in dict.fromkeys(failure.remedy for failure in failures if failure.remedy):
            console.err.print(remedy, markup=False)
        raise typer.Exit(1)


def wakeup(
    target: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_WARM_ENVIRONMENTS,
            help="Environments to reach; default: the deployed target.",
        ),
    ] = None,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one cycle of the deployed warmer and say how many environments it reached."""
    from visionstack.classify.trials import DeployedEnvironments
    from visionstack.cloud.deployment import connect

    environments = DeployedEnvironments(connect(cloud=cloud, prefix=prefix))
    with console.progress() as bar:
        bar.add_task("waking environments", total=None)
        report = environments.warm(target)
    if as_json:
        console.print_json(report)
    else:
        console.out.print(
            f"reached [bold]{report['reached']} of {report['target']}[/] environments in "
            f"{report['rounds']} round(s) of {report['sleep_ms']} ms; "
            f"{report['cold']} started, {len(report['spares'])} spare, "
            f"{report['busy']} at work for others"
        )
    if report["reached"] + report["busy"] < report["target"]:
        raise typer.Exit(1)


def _classify_folder(
    deployment: Deployment, remote: list[str], pictures: Sequence[Path], *, as_json: bool
) -> None:
    from visionstack.classify.folder import FolderJobs, new_run
    from visionstack.cloud.aws_errors import translated

    jobs, run = FolderJobs.of(deployment), new_run()
    unread: tuple[Failure, ...] = ()
    with console.progress() as bar, translated("run the folder job"):
        if remote:
            below, names = jobs.prefix_of(remote[0]), None
        else:
            upload = bar.add_task("uploading", total=len(pictures))
            uploaded = jobs.upload(pictures, run=run, done=lambda: bar.advance(upload))
            below, names = uploaded.prefix, uploaded.names
            unread = uploaded.failures
        task = bar.add_task("classifying", total=None)
        report = jobs.run(
            below,
            run=run,
            names=names,
            progress=lambda answered, total: bar.update(task, completed=answered, total=total),
        )
    report = replace(
        report, pictures=report.pictures + len(unread), failures=(*unread, *report.failures)
    )
    if as_json:
        console.print_json(report.to_json())
    else:
        rate = len(report.answers) / report.seconds if report.seconds else 0.0
        console.out.print(
            f"[bold]{len(report.answers)} of {report.pictures}[/] pictures classified in "
            f"{report.seconds:.1f} s ({rate:.1f} a second): {escape(report.results)}"
        )
        for failure in report.failures:
            console.out.print(
                f"[red]{escape(failure.file)}[/] {escape(failure.code)}: {escape(_told(failure))}",
                soft_wrap=True,
            )
    if report.failures:
        console.err.print("Leave out what is no picture, or save it anew as JPEG, PNG or WebP.")
        raise typer.Exit(1)


def _show(results: Sequence[Classification | Failure]) -> None:
    from visionstack.classify.client import Classification

    answered = [result for result in results if isinstance(result, Classification)]
    random_weights = {one.model["name"] for one in answered if not one.model.get("trained", True)}
    for name in sorted(random_weights):
        told = f"{escape(str(name))} has random weights: its answers mean nothing"
        console.err.print(f"[bold yellow]{told}[/]")
    few = len(results) <= 10
    table = Table(box=None, pad_edge=False)
    for heading in ("picture", "class", "id"):
        table.add_column(heading)
    table.add_column("softmax", justify="right")
    table.add_column("ms", justify="right")
    for result in results:
        if isinstance(result, Classification):
            for place, top in enumerate(result.top if few else result.top[:1]):
                table.add_row(
                    escape(Path(result.file).name) if place == 0 else "",
                    escape(top.label),
                    escape(top.id),
                    f"{top.softmax:.3f}",
                    _milliseconds(result) if place == 0 else "",
                )
        else:
            table.add_row(escape(Path(result.file).name), f"[red]{escape(_told(result))}[/]")
    console.out.print(table)


def _told(failure: Failure) -> str:
    """Without the path, which stands before it."""
    return failure.message.removeprefix(f"{failure.file}: ").removeprefix(f"{failure.file} ")


def _milliseconds(result: Classification) -> str:
    cold = " (cold)" if result.cold else ""
    return f"{result.seconds * 1000:.0f}{cold}"
