"""HTML reports: self-contained, without JavaScript, from Jinja2 templates beside this file."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from .. import storage
from . import charts


def render(template: str, path: Path, **context: Any) -> None:
    """Write the page made from `templates/<template>`; every value is escaped."""
    environment = Environment(
        loader=PackageLoader(__name__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["charts"] = charts
    environment.filters |= {
        "number": charts.number,
        "percent": charts.percent,
        "words": lambda name: str(name).replace("_", " "),
    }
    storage.write_text(path, environment.get_template(template).render(context))
