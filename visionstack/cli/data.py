"""`visionstack data`: pictures that the deployed classifier kept for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.contract import Output, Stack
from visionstack import console
from visionstack.cli.options import CloudOption, JsonOption, PrefixOption

app = typer.Typer(
    name="data",
    help="Fetch or delete pictures that the classifier kept for training.",
    no_args_is_help=True,
)


@app.command()
def pull(
    into: Annotated[Path, typer.Argument(help="Folder; a folder a product is made in it.")],
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch kept pictures, the most doubtful first; move them where they belong and train."""
    from visionstack.training.collected import TABLE
    from visionstack.training.collected import pull as fetch

    client, bucket = _bucket(cloud, prefix)
    with console.err.status("fetching …") as status:
        found = fetch(
            client, bucket, into, limit=limit, say=lambda word: status.update(f"fetching {word}")
        )
    if as_json:
        console.print_json(
            [{"sha256": one.sha256, "id": one.folder, "margin": one.margin} for one in found]
        )
        return
    if not found:
        console.out.print(
            "nothing new: pictures are kept where keep_for_training_days is more than 0"
        )
        return
    console.out.print(
        f"{len(found)} pictures in {into}, what was said of them in {into / TABLE}", soft_wrap=True
    )
    console.out.print(
        f"move what is in the wrong folder, then: visionstack train classifier {into}",
        soft_wrap=True,
    )


@app.command()
def delete(
    hashes: Annotated[list[str], typer.Argument(help="SHA-256 of a picture's bytes.")],
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete kept pictures for good, such as at somebody's request."""
    from visionstack.training.collected import delete as remove

    client, bucket = _bucket(cloud, prefix)
    gone = remove(client, bucket, hashes)
    if as_json:
        console.print_json({"deleted": gone})
        return
    console.out.print(f"deleted: {', '.join(gone) or 'none'}", soft_wrap=True)


def _bucket(cloud: Any, prefix: str | None) -> tuple[Any, str]:
    from visionstack.cloud.deployment import connect

    deployment = connect(cloud=cloud, prefix=prefix)
    return deployment.client("s3"), deployment.output(Stack.STORAGE, Output.PICTURES_BUCKET)
