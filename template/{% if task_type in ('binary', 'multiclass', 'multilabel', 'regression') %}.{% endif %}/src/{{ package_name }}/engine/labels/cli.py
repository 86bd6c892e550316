"""`ml label`: rows for those who label, their labels back, and labels that are in doubt."""

from pathlib import Path
from typing import Annotated

import typer

from .. import progress
from ..console import AsJson, show
from ..settings import find_project
from ..storage import project_lock

app = typer.Typer(help="Labels: hand out, take back, find doubtful ones.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(metavar="FILE", help="CSV or JSON lines.")]


@app.command("export")
def export(
    file: File,
    rows: Annotated[int, typer.Option(min=1, help="How many at most.")] = 200,
    choose: Annotated[str, typer.Option(help="random, suspects or unlabelled.")] = "random",
    given: Annotated[bool, typer.Option(help="Show the label that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write rows for an annotation tool, without personal columns."""
    from . import exchange

    report = exchange.export(find_project(), file, rows, choose, given=given)
    said = f"{report['rows']} rows: {file}; fill the columns label and annotator"
    show(report, as_json, said)


@app.command("import")
def take(file: File, as_json: AsJson = False) -> None:
    """Read labels into a new table; say what changed and how far people agree."""
    project = find_project()
    with project_lock(project.root), progress.shown("label import"):
        from . import exchange

        report = exchange.take(project, file)
    show(report, as_json, exchange.told(report))


@app.command("suspects")
def suspects(as_json: AsJson = False) -> None:
    """Rank labels that are probably wrong, by models that had not seen the row."""
    project = find_project()
    with project_lock(project.root), progress.shown("label suspects"):
        from . import suspects as doubtful

        report = doubtful.run(project)
    show(report, as_json, doubtful.told(report))
