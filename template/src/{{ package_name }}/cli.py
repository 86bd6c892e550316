"""The `ml` command: thin; heavy libraries are imported by the command that needs them."""

from typing import Annotated, Any

import typer

from .engine import console, progress
from .engine.cli import app as engine_app
from .engine.console import AsJson, show
from .engine.data.cli import app as contract_app
from .engine.formats import numbers, percent, signed
from .engine.settings import find_project
from .engine.storage import project_lock
from .planner.cli import app as plan_app
from .planner.cli import update

app = typer.Typer(
    help="Plan, train, evaluate, serve and monitor the model of this project.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(engine_app)
app.add_typer(contract_app, name="contract")
app.add_typer(plan_app, name="plan")


def main() -> None:
    """Run the command; every expected problem is one line on stderr."""
    console.run(app)


@app.callback()
def start(context: typer.Context) -> None:
    """Hand columns.py, which only some commands need, to those that read a source."""

    def add(frame: Any) -> Any:
        from . import columns

        return columns.add(frame)

    context.obj = add


@app.command()
def run(
    force: Annotated[bool, typer.Option(help="Run every step, up to date or not.")] = False,
    as_json: AsJson = False,
) -> None:
    """Everything from data to report; skips what is up to date."""
    project = find_project()
    with project_lock(project.root):
        from . import pipeline

        report = pipeline.run(project, lambda line: typer.echo(line, err=as_json), force=force)
    show(report, as_json, "reports/evaluation.html and PLAN.md are up to date")


@app.command()
def train(as_json: AsJson = False) -> None:
    """Fit baselines and candidates; save the best as a new version."""
    project = find_project()
    with project_lock(project.root), progress.shown("train"):
        from . import pipeline

        report = pipeline.train(project)
    show(report, as_json, f"{report['version']}: {report['chosen']}; now run `ml evaluate`")


@app.command()
def tune(
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials in all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Search better settings; resumes; `ml train` uses them."""
    project = find_project()
    with project_lock(project.root), progress.shown("tune"):
        from . import tuning

        report = tuning.run(project, trials)
    lines = []
    for library, found in report["searches"].items():
        gain = 1 - found["best"]["loss"] / (found["default"]["loss"] or 1)
        lines.append(f"{library}: {found['trials']} trials; loss lower by {percent(gain)}")
    if report["ignored"]:
        other = ", ".join(report["ignored"])
        lines.append(f"earlier trials were made with other {other}, so it began anew")
    show(report, as_json, "; ".join([*lines, "now run `ml train`"]))


@app.command()
def evaluate(
    version: Annotated[str | None, typer.Argument(help="Default: the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a version on the test set; exit 1 when its gate stays closed."""
    project = find_project()
    with project_lock(project.root), progress.shown("evaluate"):
        from . import evaluation

        report = evaluation.run(project, version)
    lines = [f"{report['version']} passes its gate: see reports/evaluation.html"]
    lines += [f"warning: {warning}" for warning in report["gate"]["warnings"]]
    show(report, as_json, "\n".join(lines))


@app.command()
def explain(
    row: Annotated[int | None, typer.Option(help="Explain this row of the test set.")] = None,
    as_json: AsJson = False,
) -> None:
    """Explain the newest version, over all and for single rows."""
    project = find_project()
    with project_lock(project.root), progress.shown("explain"):
        from . import explain as explanation

        report = explanation.run(project, row)
    lines = ["reports/explain.json and evaluation.html hold the explanations"]
    if row is not None:
        found = report["rows"][0]
        score = report["score"]
        lines = [f"{score} {numbers(found[score])} (mean {numbers(report['base'])})"]
        if "against" in found:  # of several numbers, the first less the second is explained
            lines.append(f"for {found['class']} against {found['against']}:")
        for one in found.get("each", [found]):
            lines += [f"for {one['of']}, {numbers(one['score'])}:"] if "of" in one else []
            lines.extend(
                f"  {signed(item['contribution'])} {item['feature']} = {item['value']}"
                for item in one["contributions"]
            )
    show(report, as_json, "\n".join(lines))


app.command()(update)
