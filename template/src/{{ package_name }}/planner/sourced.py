"""Where the data come from, as a table of PLAN.md: of `servers` and columns of the contract."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from ..engine import storage
from ..engine.data import contract, sources
from ..engine.errors import ProjectError
from ..engine.formats import count, number, percent
from ..engine.settings import Project
from . import grounds
from .blocks import code, escape
from .gates import Finding

REPORT = "reports/sources.json"
# What has structure; others are read whole.
TABLED = {"number", "integer", "boolean", "category", "date", "timestamp"}
HEAD = ["Source", "Kind", "Exact place", "Owner", "Licence", "How, and by what", "Fresh", "Volume"]


def run(project: Project) -> None:
    """Write the sources to reports/sources.json, the best first, with the kinds of the columns."""
    agreed = contract.read(project.contract_path)
    report = {
        "sources": [msgspec.to_builtins(found) for found in sources.of(project.contract_path)],
        "kinds": Counter(column.kind for column in agreed.features),
    }
    if personal := grounds.rows(agreed, project.plan):
        report["personal"] = personal
    if access := sources.access(project.contract_path):
        report["access"] = [msgspec.to_builtins(one) for one in access]
    taken = sources.taken(project)
    report |= {name: taken[name] for name in ("joined", "fresh") if name in taken}
    path = project.path(REPORT)
    if not path.exists() or storage.read_json(path, dict[str, Any]) != report:
        storage.write_json(path, report)


def told(report: dict[str, Any]) -> str:
    """Say which kinds of columns matter, and each source in a row."""
    found = [msgspec.convert(item, sources.Source) for item in report["sources"]]
    columns = dict(report["kinds"])
    texts = columns.pop("text", 0)
    shown = {name: columns.pop(name) for name in sorted(columns.keys() - TABLED)}
    kinds = ", ".join(f"{number(n)} {kind}" for kind, n in sorted(columns.items()))
    whole = ({"free text": texts} if texts else {}) | shown
    listed = ", ".join(count(n, kind) for kind, n in whole.items())
    unstructured = f"unstructured: {listed}; " if listed else ""
    others = ", ".join(["text"] * (not texts) + ["pictures"] * (not shown) + ["sound"])
    lines = [
        f"structured: {kinds or 'none'}; {unstructured}which of them matter says EXPL-01; "
        f"{others} and video: not needed because the model reads the columns of the contract"
    ]
    several = len(found) > 1
    if several:
        best = next((s for s in found if s.worth), None)
        lines.append(
            f"order: by relevance x feasibility, then by cost; {escape(best.server)} comes first"
            if best
            else "order: as in the contract, since nobody has judged relevance and feasibility"
        )
    may = (f"{escape(one['role'])} may {one['access']}" for one in report.get("access", []))
    lines += [f"access: {said}" for said in [", ".join(may)] if said]
    lines += grounds.told(report.get("personal", []))
    lines += [_join(one) for one in report.get("joined", [])]
    if fresh := report.get("fresh"):
        lines.append(
            f"fresh: when read, the newest row of {escape(fresh['server'])} was "
            f"{number(fresh['hours'])} h old; {number(fresh['limit'])} h is promised"
        )
    head = [*HEAD, *["Relevance x feasibility", "Used"] * several]
    rows = [_row(source, several=several) for source in found]
    table = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(
        [*lines, *(["<!-- sources -->", *table] if rows else ["sources: the contract names none"])]
    )


def _join(one: dict[str, Any]) -> str:
    as_of = f", the last before it by {one['as_of']}" if one["as_of"] else ""
    return (
        f"joined: {escape(one['server'])} by {escape(', '.join(one['on']) + as_of)}, "
        f"{one['cardinality']}; {count(one['unmatched'], 'row')} without a partner, "
        f"{percent(one['max_unmatched'])} at most"
    )


def _row(source: sources.Source, *, several: bool) -> list[str]:
    fresh = "" if source.freshness_hours is None else f"{number(source.freshness_hours)} h"
    rows = "" if source.rows is None else count(source.rows, "row")
    grown = source.growth_per_year
    cost = "" if source.cost_per_month is None else f"{number(source.cost_per_month, 2)} a month"
    volume = [rows, "" if grown is None else f"{percent(grown)} a year more", cost]
    why = f"no: {source.why}" if source.why else "no"
    cells = [
        *(f"{source.server} ({source.system})", source.kind, source.place, source.owner),
        *(
            source.licence,
            ", ".join(filter(None, [f"{source.method}: {source.script}", source.schedule])),
            fresh,
            ", ".join(filter(None, volume)),
        ),
    ]
    if several:
        cells += [str(source.worth) if source.worth else "", "yes" if source.used else why]
    return [escape(cell) or "unknown" for cell in cells]


def _access(project: Project, level: str) -> Iterator[Finding]:
    """Tell where nobody has said who may read rows of people, and roles that the plan lacks."""
    try:
        found = sources.access(project.contract_path)
    except ProjectError as error:
        yield Finding("error", "DATA-05", str(error))
        return
    if not found and project.plan.answers["personal_data"]:
        message = "nobody has said who may read rows of people: say it in `roles` of the contract"
        yield Finding(level, "DATA-05", message)
    duties = project.plan.responsibilities
    known = {r for d in duties for r in (d.accountable, d.responsible, *d.consulted, *d.informed)}
    if odd := [one.role for one in found if one.role not in known]:
        message = (
            f"the contract gives access to {', '.join(odd)}, whom no role of TEAM-02 is: there are "
            f"{', '.join(sorted(known))}"
        )
        yield Finding("warning", "DATA-05", message)


def check(project: Project, due: set[str]) -> Iterator[Finding]:
    """Tell what nobody has said of a source, and what is said but not so."""
    if "DATA-05" not in project.plan.blocks:
        return
    try:
        found = sources.of(project.contract_path)
    except ProjectError as error:
        yield Finding("error", "DATA-05", str(error))
        return
    level = "error" if "DATA-05" in due else "warning"
    yield from _access(project, level)
    for source in found:
        if lacks := source.lacks:
            message = f"nobody has said of {code(source.server)}: {', '.join(lacks)}"
            yield Finding(level, "DATA-05", f"{message}: say it in `servers` of the contract")
        script = source.script
        if script.endswith((".sql", ".py", ".sh")) and not project.path(script).is_file():
            message = (
                f"the source {source.server} is extracted by {code(script)}, which is not there"
            )
            yield Finding("error", "DATA-05", message)
        if source.place.startswith(("api: http://", "s3: http://")):
            message = f"the source {source.server} is read without TLS: take its https address"
            yield Finding("warning", "SEC-01", message)
    fresh = sources.taken(project).get("fresh")
    if fresh and fresh["late"]:
        message = (
            f"the newest row of {fresh['server']} was {number(fresh['hours'])} h old when it was "
            f"read, {number(fresh['limit'])} h is promised: ask its owner, then `ml ingest`"
        )
        yield Finding(level, "DATA-05", message)
    used = [source for source in found if source.used]
    read = project.config.data.source
    if not any(
        source.place.endswith(f": {read}") or source.method != "file" or source.server == read
        for source in used
    ):
        message = f"config.yaml reads {code(read)}, which no server of the contract names"
        yield Finding("warning", "DATA-05", message)
    if len(found) > 1 and (blind := [s.server for s in found if not s.worth]):
        message = f"nobody has judged relevance and feasibility (1 to 5) of {', '.join(blind)}"
        yield Finding("warning", "DATA-05", message)
