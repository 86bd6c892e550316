"""Copy measured values from reports/*.json into the measured parts of PLAN.md."""

from ..engine import storage
from ..engine.errors import ProjectError
from ..engine.settings import Project
from . import check, gates, measured, sourced
from .blocks import RESULTS, Parts, PlanError, read, rewrite, same, survey


def run(project: Project) -> list[str]:
    """Write what the reports hold; return the ids whose block changed. Other lines stay."""
    if progress := measured.figures(project):
        progress.run(project)
    if "DATA-05" in project.plan.blocks:
        sourced.run(project)
    path = project.path("PLAN.md")
    text = read(path)
    parts, problems = survey(text)
    if broken := [problem.message for problem in problems if problem.identifier == "PLAN.md"]:
        raise PlanError(broken)  # a slip in one block is no reason not to write the others
    found = measured.measured(project)
    rows = {i: lines for i, lines in found.items() if project.plan.blocks[i].row}
    changed = [i for i, lines in rows.items() if _differs(parts, i, lines)]
    wanted = {i: lines for i, lines in found.items() if i not in rows}
    if changed:
        wanted[RESULTS] = _results(project, parts, rows)
    for identifier, lines in wanted.items():
        part = survey(text)[0].get(("measured", identifier))
        if part is None:
            raise ProjectError(f"PLAN.md: block plan:measured {identifier} is missing: restore it")
        if not same(part.lines, lines):
            text = rewrite(text, part, lines)
            changed += [identifier] * (identifier != RESULTS)
    if changed:
        storage.write_bytes(path, text.encode("utf-8"))
    _card(project, found.get("VERDICT"))
    return [*changed, *[gates.NAME] * gates.run(project, check.check(project, check.GATES[-1]))]


def _card(project: Project, verdict: list[str] | None) -> None:
    """Let the model card say the verdict of PLAN.md, unless a team took that part out of it."""
    path = project.path("docs/model_card.md")
    if verdict is None or not path.exists():
        return
    text = read(path)
    part = survey(text)[0].get(("measured", "VERDICT"))
    if part is not None and not same(part.lines, verdict):
        storage.write_bytes(path, rewrite(text, part, verdict).encode("utf-8"))


def _differs(parts: Parts, identifier: str, lines: list[str]) -> bool:
    part = parts.get(("measured", identifier))
    return part is None or not same(part.lines, lines)


def _results(project: Project, parts: Parts, rows: dict[str, list[str]]) -> list[str]:
    """Return the table of the design choices; a row without a report stays as a run left it."""
    lines = [*measured.TABLE]
    for identifier, block in project.plan.blocks.items():
        if block.row and block.measured:
            part = parts.get(("measured", identifier))
            kept = (
                part.lines if part is not None and measured.sealed(identifier, part.lines) else ()
            )
            empty = f"not measured yet: run `{block.measured}` <!-- {identifier} -->"
            lines += rows.get(identifier) or kept or [f"| {block.title} | {empty} |"]
    return lines
