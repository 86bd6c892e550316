"""Evaluate Jinja of the template in Copier's own environment, without a whole render."""

import json
from functools import cache
from typing import Any

from copier._main import Worker

from .rendering import plain_template


@cache
def environment() -> Any:
    """Return the environment in which Copier renders this template."""
    return Worker(src_path=str(plain_template()), dst_path="unused", quiet=True).jinja_env


def evaluate_all(module: str, macro: str, cases: list[Any]) -> list[Any]:
    """Call a macro that returns JSON for each list of arguments, in one render."""
    source = (
        f'{{% from "{module}" import {macro} %}}'
        f"[{{% for case in cases %}}{{{{ {macro}(*case) }}}}"
        '{{ "," if not loop.last }}{% endfor %}]'
    )
    return json.loads(environment().from_string(source).render(cases=cases))
