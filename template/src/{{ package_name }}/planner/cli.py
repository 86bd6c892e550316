"""`ml plan` and `ml update`."""

import sys
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from ..engine import progress
from ..engine.console import AsJson, show
from ..engine.errors import CheckFailed, ProjectError
from ..engine.settings import Project, find_project
from ..engine.storage import project_lock

app = typer.Typer(help="The plan: check, fill, approve, diff, report.", no_args_is_help=True)


def update(
    data: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Another answer; repeat it.")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="VERSION", help="Default: the newest.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take back the last update.")] = False,
    as_json: AsJson = False,
) -> None:
    """Another answer or version of the template: merge it, lose nothing."""
    from . import update as updating

    if undo and (data or to or dry_run):
        raise ProjectError("--undo takes no other option")
    root = find_project().root
    with nullcontext() if dry_run else project_lock(root):
        if undo:
            kept = updating.undo(root)
            lines = [f"{name}, edited since, is now {place}" for name, place in kept.items()]
            return show(kept, as_json, "\n".join(["the files are as before the update", *lines]))
        with progress.shown("update"):
            progress.tell("Copier renders the project twice")
            report = updating.run(root, data or [], to, dry_run)
    show(report, as_json, updating.text(report))
    if report.conflicts and not dry_run:
        _, package = report.answers.get("package_name", ("", __name__.partition(".")[0]))
        way = f"solve them, or take all back: {sys.executable} -m {package} update --undo"
        raise CheckFailed(f"conflicts in {', '.join(report.conflicts)}: {way}")
    return None


def _follow(project: Project) -> None:
    """Let verdict and gates follow what was just written, where the reports can be read."""
    from . import sync

    with project_lock(project.root), suppress(ProjectError):
        sync.run(project)


@app.command("check")
def plan_check(
    gate: Annotated[str | None, typer.Option(help="G0 to G6: also what this gate needs.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is missing, stale or contradictory."""
    from . import check

    check.run(find_project(), gate=gate, as_json=as_json)


@app.command("gate")
def plan_gate(gate: Annotated[str, typer.Argument(metavar="GATE", help="G0 to G6.")]) -> None:
    """Say whether a gate is open, and what it still needs; exit 1 when it is closed."""
    from . import check

    check.gate(find_project(), gate)


@app.command("report")
def plan_report(
    audience: Annotated[
        str | None, typer.Option(help="exec (the default), engineering, data, team or privacy.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="The whole plan as one page.")] = False,
) -> None:
    """Write one page of the plan for one kind of reader, or the whole plan with --html."""
    if html and audience:
        raise ProjectError("--html is the whole plan: give it without --audience")
    project = find_project()
    with project_lock(project.root):
        from . import assessment, page, report

        if html:
            paths = [page.run(project)]
        elif audience == report.PRIVACY:
            paths = assessment.run(project)
        else:
            paths = report.run(project, audience or "exec")
    typer.echo(f"wrote {' and '.join(str(path.relative_to(project.root)) for path in paths)}")


@app.command("experiment")
def plan_experiment(
    file: Annotated[Path, typer.Argument(help="Columns arm and outcome, or today and model.")],
    control: Annotated[str, typer.Option(help="The arm that is treated as today.")] = "control",
    better: Annotated[str | None, typer.Option(help="lower or higher; default: the plan.")] = None,
    control_share: Annotated[float, typer.Option(help="Share of rows drawn into it.")] = 0.5,
    restart: Annotated[bool, typer.Option("--restart", help="Begin another experiment.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read the experiment of EVAL-08 by its rule: go on, better, or harm.

    Exit 1 when the arms are not as they were drawn.
    """
    if better not in (None, "lower", "higher"):
        raise ProjectError("--better is lower or higher")
    project = find_project()
    if not Path(__file__).with_name("experiment.py").exists():
        raise ProjectError(
            "a light plan sizes no experiment: `ml update --data plan_depth=standard` brings one"
        )
    options = {"control": control, "better": better, "control_share": control_share}
    with project_lock(project.root):
        experiment = import_module(".experiment", __package__)
        report = experiment.run(project, file, restart=restart, **options)
    _follow(project)
    show(report, as_json, report["told"])


@app.command("diff")
def plan_diff(
    revision: Annotated[
        str, typer.Argument(metavar="REV", help="A commit, branch or tag, or two: v1..v2.")
    ] = "HEAD",
    as_json: AsJson = False,
) -> None:
    """Say in sentences what changed in the plan since a version that git has."""
    from . import diff

    diff.run(find_project(), revision, as_json)


@app.command("sync")
def plan_sync() -> None:
    """Write measured values into PLAN.md."""
    from . import sync

    project = find_project()
    with project_lock(project.root):
        changed = sync.run(project)
    typer.echo(f"measured blocks written: {', '.join(changed) or 'none'}")


@app.command("fill")
def plan_fill(
    identifier: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    gate: Annotated[str | None, typer.Option(help="Only what this gate still needs.")] = None,
    file: Annotated[
        Path | None, typer.Option("--answers", metavar="FILE", help="Take answers from YAML by id.")
    ] = None,
) -> None:
    """Walk through the open questions at a terminal; each answer is written at once."""
    from . import fill

    project = find_project()
    fill.run(project, identifier, gate, file)
    _follow(project)


@app.command("status")
def plan_status(as_json: AsJson = False) -> None:
    """Count what is done, by gate."""
    from . import check

    check.status(find_project(), as_json)


@app.command("log")
def plan_log(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="decision, scope, done, learned, setback, incident, blocked, next; none: page."
        ),
    ] = None,
    what: Annotated[str, typer.Argument(metavar="[TEXT]", help="What happened.")] = "",
    by: Annotated[str | None, typer.Option(help="Who says so, such as @eva (git's user).")] = None,
    block: Annotated[str, typer.Option(help="The block of the plan that it is about.")] = "",
    solves: Annotated[int, typer.Option(help="The number of an open entry that is over.")] = 0,
    since: Annotated[str | None, typer.Option(help="Of the page: from this date on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Note what happened, or tell what was done, learned, is blocked and comes next."""
    from . import log

    project = find_project()
    if kind is None:
        found = log.page(project, since)
        return show(log.told(found), as_json, log.text(project, found))
    if since:
        raise ProjectError("--since belongs to the page: leave out kind and text")
    with project_lock(project.root):
        entry = log.add(project, kind, what, by=by, block=block, solves=solves)
    return show(entry, as_json, f"{entry.n} noted in {log.LOG}: commit it")


@app.command("approve")
def plan_approve(
    identifier: Annotated[str, typer.Argument(metavar="ID")],
    by: Annotated[str | None, typer.Option(help="Who approves, such as @eva (git's user).")] = None,
    due: Annotated[str | None, typer.Option(help="Review date, such as 2027-03-31.")] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Say no: the gate closes.")] = False,
) -> None:
    """Approve a decision as it stands now."""
    from . import signing

    project = find_project()
    with project_lock(project.root):
        said = signing.approve(project, identifier, by, due, reject=reject)
    _follow(project)
    typer.echo(said)


@app.command("score")
def plan_score(
    least: Annotated[float, typer.Option("--min", help="Exit 1 below this score.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Rate the project by the ML Test Score: what runs by itself, by hand, or not at all."""
    from . import practice

    found = practice.run(find_project())
    show(found, as_json, practice.text(found))
    if found["score"] < least:
        raise CheckFailed(f"the score is {found['score']:g}, below {least:g}")


@app.command("carry")
def plan_carry(
    revision: Annotated[str, typer.Argument(help="The commit with the earlier PLAN.md.")] = "HEAD",
) -> None:
    """Carry answers from a PLAN.md of the earlier form over, after `copier` or `cruft update`."""
    from . import carry

    project = find_project()
    with project_lock(project.root):
        carry.run(project, revision)
    typer.echo("PLAN.md has them: read `git diff`, then `ml plan check`")


@app.command("why")
def plan_why(identifier: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Explain a decision: rule, answers, source, and what would change it."""
    from . import why

    why.run(find_project(), identifier)
