"""`visionstack local`: the embedded cloud's start, stop and state."""

from __future__ import annotations

from typing import Annotated

import typer

from visionstack import console, paths
from visionstack.cli.options import ContextOption, JsonOption
from visionstack.cli.packages import pairs

app = typer.Typer(name="local", help="The embedded cloud on this machine.", no_args_is_help=True)
STATE_STYLES = {"healthy": "green", "failed": "red", "unhealthy": "red", "not-run": "yellow"}


@app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, envvar="VISIONSTACK_CLOUD_PORT", help="Default 4566."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start the embedded cloud, with what was deployed to it before."""
    from visionstack.localcloud import lifecycle

    with console.err.status("starting the embedded cloud …"):
        current, started = lifecycle.up(port=port)
    if as_json:
        console.print_json({"endpoint": current.endpoint, "started": started})
        return
    console.out.print(
        f"The embedded cloud is {'up' if started else 'already up'} at {current.endpoint}."
    )


@app.command()
def down(
    wipe: Annotated[
        bool, typer.Option("--wipe", help="Also forget everything that was deployed to it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop it and everything it started."""
    from visionstack.localcloud import lifecycle

    with console.err.status("stopping the embedded cloud …"):
        stopped = lifecycle.down(wipe=wipe)
    if as_json:
        console.print_json({"stopped": stopped, "wiped": wipe})
        return
    console.out.print("Stopped." if stopped else "The embedded cloud was not up.")


@app.command()
def deploy(
    context: ContextOption = None,
    as_json: JsonOption = False,
) -> None:
    """Up, bootstrap, cdk deploy, models published: all that is missing until both lanes answer."""
    from visionstack.deploy.local import deploy as deploy_all

    deployed = deploy_all(context=pairs(context or []))
    if as_json:
        console.print_json(
            {
                "endpoint": deployed.deployment.endpoint_url,
                "stream": {"host": deployed.stream.host, "port": deployed.stream.port},
                "published": list(deployed.published),
            }
        )
        return
    console.out.print(
        "Both lanes are served. Try:\n"
        f"  visionstack stream {paths.sample('dog.jpg')}\n"
        f"  visionstack classify {paths.sample('dog.jpg')}\n"
        "  visionstack open",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def destroy(context: ContextOption = None) -> None:
    """cdk destroy on the embedded cloud, with the settings it was deployed with."""
    from visionstack.deploy.local import destroy as destroy_all

    destroy_all(context=pairs(context or []))
    console.out.print("Destroyed.")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Say what is up: the cloud, its instances and load balancers."""
    from visionstack.localcloud import lifecycle

    found = lifecycle.status()
    if as_json:
        console.print_json(found.to_json())
        return
    where = f" at {found.state.endpoint}" if found.state and found.cloud != "down" else ""
    console.out.print(f"The embedded cloud is {found.cloud}{where}. {found.note}".rstrip())
    # A line a value, which can be copied at any width.
    for one in found.fleet.instances:
        style = STATE_STYLES.get(one.state, "")
        state = f"[{style}]{one.state}[/]" if style else str(one.state)
        boots = f", booted {one.boots} times" if one.boots > 1 else ""
        console.out.print(f"{one.id}: {state}, {one.instance_type} of {one.group}{boots}")
        if one.reason:
            console.out.print(f"  reason  {one.reason}", markup=False, soft_wrap=True)
        console.out.print(f"  log     {one.log}", markup=False, soft_wrap=True)
    for balancer in found.fleet.balancers:
        console.out.print(
            f"{balancer.group}: {balancer.host}:{balancer.stream_port} (stream), "
            f"{balancer.http_port} (http), {balancer.healthy} healthy"
        )
