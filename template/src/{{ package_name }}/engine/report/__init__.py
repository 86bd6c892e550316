"""HTML reports: self-contained, without JavaScript, from Jinja2 templates beside this file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from .. import storage
from ..formats import number, percent, signed
from ..settings import Project
from . import charts


def render(template: str, path: Path, **context: Any) -> None:
    """Write the page made from `templates/<template>`; every value is escaped."""
    environment = Environment(
        loader=PackageLoader(__name__),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["charts"] = charts
    environment.filters |= {
        "number": partial(_there, number),
        "percent": partial(_there, percent),
        "signed": signed,
        "value": value,
        "words": words,
    }
    storage.write_text(path, environment.get_template(template).render(context))


def _there(written: Callable[..., str], value: float | None, *digits: int) -> str:
    return "–" if value is None else written(value, *digits)


def words(name: str) -> str:
    """Write a name as words; what may be decided, such as a metric, has those of the plan."""
    return name.replace("_", " ")


def value(content: Any) -> str:
    """Write a value of a column."""
    if content is None:
        return "missing"
    if isinstance(content, bool):
        return str(content).lower()
    return number(content) if isinstance(content, int | float) else str(content)


def evaluation_page(project: Project) -> Path:
    """Write reports/evaluation.html from the reports that are there."""
    path = project.path("reports/evaluation.html")
    found = {
        name: storage.read_json(file, dict[str, Any]) if file.exists() else None
        for name, file in (
            ("metrics", project.path("reports/metrics.json")),
            ("training", project.path("reports/training.json")),
            ("explain", project.path("reports/explain.json")),
            ("data_quality", project.path("reports/data_quality.json")),
            ("bench", project.path("reports/bench.json")),
        )
    }
    explained, measured = found["explain"], found["metrics"]
    if explained and measured and explained["version"] != measured["version"]:
        found["explain"] = None
    if (bench := found["bench"]) and measured and bench["version"] != measured["version"]:
        found["bench"] = None
    render("evaluation.html", path, plan=project.plan, **found)
    return path
