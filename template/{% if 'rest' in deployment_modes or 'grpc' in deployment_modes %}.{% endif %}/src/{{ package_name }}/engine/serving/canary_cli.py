"""`ml canary`: a new version beside the champion, first unseen, then for a share of the keys."""

from pathlib import Path
from typing import Annotated

import typer

from .. import progress
from ..console import AsJson, show
from ..settings import find_project
from ..storage import project_lock

app = typer.Typer(help="A new version beside the champion, by stages.", no_args_is_help=True)


@app.command()
def start(version: str, as_json: AsJson = False) -> None:
    """Let a version score, unseen, what the champion answers."""
    from . import canary_judge

    project = find_project()
    with project_lock(project.root), progress.shown("canary"):
        trial = canary_judge.start(project, version)
    show(trial, as_json, f"{version} scores unseen beside {trial.champion}")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the last trial and what was decided of it."""
    from ..errors import ProjectError
    from . import canary, canary_judge

    trial = canary.read(find_project())
    if trial is None:
        raise ProjectError("no version was ever on trial: `ml canary start VERSION`")
    show(trial, as_json, canary_judge.state(trial))


@app.command()
def decide(
    labels: Annotated[
        Path | None, typer.Option(help="Keys or event ids of logged rows, and their target.")
    ] = None,
    signed: Annotated[str, typer.Option(help="Who answers for the end of the unseen stage.")] = "",
    early: Annotated[
        str, typer.Option(metavar="REASON", help="Why the days of this stage need not pass.")
    ] = "",
    dry_run: Annotated[bool, typer.Option(help="Only tell what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go on, hold or roll back by stated tests, with the reason; exit 1 for a rollback."""
    from ..errors import CheckFailed
    from . import canary_judge

    project = find_project()
    with project_lock(project.root), progress.shown("canary"):
        report = canary_judge.decide(
            project, labels=labels, signed=signed, early=early, dry=dry_run
        )
    show(report, as_json, canary_judge.told(report))
    if report["outcome"] == canary_judge.BACK:
        raise CheckFailed(f"{report['version']} goes back: {report['reason']}")


@app.command()
def stop(reason: Annotated[str, typer.Argument(metavar="REASON", help="Why it ends.")]) -> None:
    """End the trial: the champion answers everything."""
    from . import canary_judge

    project = find_project()
    with project_lock(project.root):
        trial = canary_judge.stop(project, reason)
    typer.echo(f"{trial.version} answers nobody any more")
