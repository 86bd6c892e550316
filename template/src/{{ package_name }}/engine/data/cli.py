"""`ml contract`: draft the data contract, check it, draw sample data from it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from .. import progress
from ..console import AsJson, show
from ..settings import find_project
from ..storage import project_lock
from . import target_fields

app = typer.Typer(help="The data contract: draft, check, sample.", no_args_is_help=True)


@app.command("infer")
def infer(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, Parquet and the like, or a server.")],
    target: Annotated[
        str | None, typer.Option(help="The column to predict, if it is another than in the plan.")
    ] = None,
    definition: Annotated[str | None, typer.Option(help=target_fields.DEFINITION)] = None,
    entity: Annotated[str | None, typer.Option(help="The column that names the case.")] = None,
    time: Annotated[str | None, typer.Option(help="The column with the time of the row.")] = None,
    told: Annotated[str | None, typer.Option(target_fields.OPTION, help=target_fields.HELP)] = None,
    force: Annotated[bool, typer.Option(help="Replace an edited contract.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draft the contract from data; people correct it."""
    project = find_project()
    with project_lock(project.root), progress.shown("contract infer"):
        from . import drafting

        given = target, definition, entity, time, told, force
        draft = drafting.run(project, file, *given, add=context.obj("columns").add)
    lines = [f"wrote {project.config.data.contract}; decided:"]
    lines += [f"  {line}" for line in drafting.table(draft.decisions)]
    evidence = {decision.evidence for decision in draft.decisions}
    findings = [
        f"  {f.column}: {f.what}: {f.reason}" for f in draft.findings if f.reason not in evidence
    ]
    lines += ["please check:", *findings] if findings else []
    source = os.path.relpath(file.resolve(), project.root) if file.exists() else str(file)
    if file.resolve() != project.path(project.config.data.source).resolve():
        lines.append(f"then set data.source to {source} in config.yaml, and run `ml run`")
    show({"decisions": draft.decisions, "findings": draft.findings}, as_json, "\n".join(lines))


@app.command("check")
def check() -> None:
    """Lint the contract."""
    from ..errors import CheckFailed
    from . import contract

    path = find_project().contract_path
    problems = contract.lint(path)
    if not problems:
        from . import joins

        joins.of(path)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise CheckFailed(f"{path.name}: {len(problems)} problems")
    for warning in contract.written_down(path):
        typer.echo(f"warning: {warning}")
    typer.echo(f"{path.name}: good")


@app.command("sample")
def draw(
    rows: Annotated[int | None, typer.Option(min=1, help="How many rows.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 7,
) -> None:
    """Write sample data that satisfy the contract."""
    project = find_project()
    with project_lock(project.root), progress.shown("contract sample"):
        from . import sample

        typer.echo(f"wrote {sample.run(project, rows or project.config.data.sample_rows, seed)}")
