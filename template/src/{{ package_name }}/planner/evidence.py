"""Hold what was planned against what was measured: one table, one verdict, one list of findings."""

from ..engine.settings import Project
from .compared import Contradiction, Row
from .quantities import Evidence


def table(project: Project) -> list[Row]:
    """Return a row for each quantity that is planned and can be measured."""
    return Evidence(project).rows()


def contradictions(project: Project) -> list[Contradiction]:
    """Return what the reports say against the plan, each with the id of the rule that says so."""
    return Evidence(project).contradictions


def verdict(project: Project) -> str:
    """Return go or stop in one line: by the evidence once there is some, else by the answers."""
    return Evidence(project).verdict()


def on_defaults(project: Project) -> bool:
    """Whether only money that nobody gave makes the plan say stop."""
    return Evidence(project).on_defaults


def lines(project: Project) -> list[str]:
    """Return the verdict and a table of what was planned and measured; ids stand there hidden."""
    evidence = Evidence(project)
    head = "Measured on made-up data" if evidence.made_up else "Measured (95 %)"
    cells = [
        (row.quantity, row.planned, row.measured, f"{row.says} <!-- {row.id} -->")
        for row in evidence.rows()
    ]
    shown = [("Quantity", "Planned", head, "Says"), ("---", "--:", "--:", "---"), *cells]
    rows = (f"| {' | '.join(row)} |" for row in shown)
    return [f"**Verdict:** {evidence.verdict()}.", "<!-- evidence -->", *rows]
