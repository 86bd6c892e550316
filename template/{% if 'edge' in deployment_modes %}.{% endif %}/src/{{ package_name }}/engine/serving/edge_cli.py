"""`ml edge`: keys, packages for devices, rings, and what devices send back."""

from pathlib import Path
from typing import Annotated

import typer

from .. import progress
from ..console import AsJson, show
from ..formats import number
from ..settings import find_project
from ..storage import project_lock

app = typer.Typer(help="The model on devices.", no_args_is_help=True)


@app.command()
def key(
    force: Annotated[bool, typer.Option(help="Replace deploy/edge.pub.")] = False,
) -> None:
    """Make the pair of keys that packages are signed with; the secret is shown once."""
    from . import edge

    project = find_project()
    with project_lock(project.root):
        secret = edge.make_key(project, force=force)
    typer.echo(f"{edge.KEY}={secret}")
    typer.echo(
        f"{edge.PUBLIC} is for devices: commit it; keep the line above as a secret", err=True
    )


@app.command()
def package(as_json: AsJson = False) -> None:
    """Write the champion for devices into dist/edge, signed; exit 1 when it is over the budget."""
    from . import edge

    project = find_project()
    with project_lock(project.root), progress.shown("edge package"):
        report = edge.package(project)
    size, slow = number(report["size_mb"], 2), number(report["one_row_ms"]["p95"], 2)
    text = f"{edge.FOLDER}/{report['version']}.zip: {size} MB, 95 % of rows within {slow} ms here"
    show(report, as_json, text)


@app.command()
def release(
    version: Annotated[str | None, typer.Argument(help="Default: the champion.")] = None,
    share: Annotated[int, typer.Option(help="% of the devices: 1, then 10, then 100.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Sign which version devices shall have; the same devices stay in as the share grows."""
    from . import edge

    project = find_project()
    with project_lock(project.root):
        told = edge.release(project, version, share)
    show(told, as_json, f"{edge.FOLDER}/release.json: {told['version']} for {share} % of devices")


@app.command()
def collect(
    files: Annotated[list[Path], typer.Argument(help="Queues that devices handed over.")],
    as_json: AsJson = False,
) -> None:
    """Put what devices answered into the prediction log, each event once."""
    from ..errors import CheckFailed
    from . import edge_log

    project = find_project()
    log = project.path("data/predictions")  # all that an image may write to
    log.mkdir(parents=True, exist_ok=True)
    with project_lock(log):
        report = edge_log.collect(project, files)
    text = f"{report['added']} of {report['events']} events added, "
    text += f"{report['already_there']} were there, {report['rejected']} rejected"
    text += "".join(f"; {count}: {why}" for why, count in report["reasons"].items())
    text += f"; {report['lost_on_devices']} lost on devices" * bool(report["lost_on_devices"])
    show(report, as_json, text)
    if report["events"] and report["rejected"] == report["events"]:
        raise CheckFailed("no event is of this project")
