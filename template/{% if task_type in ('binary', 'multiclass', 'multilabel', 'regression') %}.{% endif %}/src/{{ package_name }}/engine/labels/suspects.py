"""Labels that are probably wrong, the most doubtful first."""

from typing import Any

import numpy as np
import polars as pl

from .. import privacy, storage
from ..data import contract as contracts
from ..data import kept, validation
from ..errors import ProjectError
from ..settings import Project
from . import forms
from .exchange import items

REPORT = "reports/suspects.json"
LISTED = 2000
SHOWN = 10


def run(project: Project) -> dict[str, Any]:
    """Write and return reports/suspects.json, from what `ml train` kept."""
    agreed = contracts.read(project.contract_path)
    target, mend = agreed.target, "run `ml train`"
    if privacy.hidden(target):
        raise ProjectError(f"the target {target.name!r} is personal: no report may hold its values")
    frame = validation.stored(project, "data/processed/development.parquet", mend, agreed)
    said = validation.stored(project, kept.OUT_OF_FOLD, mend)
    if said.height != frame.height:
        raise ProjectError("the rows have changed since the model was trained: run `ml train`")
    p = said.to_numpy()
    known = ~np.isnan(p).any(axis=1)
    frame, p = frame.filter(pl.Series(known)), p[known]
    order, each, about = forms.doubted(frame, p, target)
    item = items(frame, agreed)
    listed = zip(order[:LISTED].tolist(), each[:LISTED], strict=True)
    report = {
        "method": forms.METHOD,
        "rows": frame.height,
        "suspects": len(order),
        **about,
        "listed": [{"item": item[n], **one} for n, one in listed],
    }
    storage.write_json(project.path(REPORT), report)
    return report


def told(report: dict[str, Any]) -> str:
    """Say what was found, the most doubtful rows first."""
    lines = [forms.suspected(report)]
    lines += [f"  {one['item']}  {forms.doubt(one)}" for one in report["listed"][:SHOWN]]
    if report["suspects"]:
        lines.append(
            "have people look: `ml label export FILE --choose suspects`; a model may be wrong, too"
        )
    return "\n".join(lines)
