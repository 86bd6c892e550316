"""Draft a data contract from a file: types, keys, roles and doubts, each with its reason."""

import difflib
import itertools
import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from .. import progress, storage, task
from ..errors import ProjectError
from ..formats import NBSP, count, number, percent
from ..kinds import READ
from ..settings import Project, load_yaml
from . import (
    consent,
    fetching,
    joins,
    leakage,
    marks,
    personal,
    sources,
    target_draft,
    texts,
    whole,
)
from .candidate import MAX_LEVELS, Candidate, short
from .contract import (
    UNSERVED,
    Column,
    Kind,
    Role,
    contradiction,
    definition_columns,
    in_ascii,
    leaking_columns,
    of_nobody,
    read,
)
from .inference import dayless, has_points, infer, is_marked, timed
from .ingest import Add, read_table, unchanged, with_columns
from .validation import DTYPES, parse

SPELLED = 1000  # levels, above which nobody looks for one that is written in two ways
NEAR_UNIQUE = 0.95  # share of different values that makes text an identifier or free text
MARK = "# Nobody has edited this contract while the SHA-256 of the lines below is "
# Names of the moment at which a row was observed, and of dates that whom it is about has anyway.
OBSERVED = re.compile(
    r"^(date|day|week|month|period|time|timestamp|datetime|ts)(_|$)|snapshot|observ|event|as_?of"
    r"|(report|record|reference|measure|transaction|order|invoice|booking|visit)\w*_(date|day|time|at)"
)
ATTRIBUTE = re.compile(
    r"since|birth|join|sign_?up|regist|enrol|hire|acqui|expir|until|(^|_)(start|open|first|last|due)"
)


@dataclass(frozen=True)
class Finding:
    """Something to look at; `what` is a word such as leakage, personal, identifier or date."""

    column: str
    what: str
    reason: str


@dataclass(frozen=True)
class Decision:
    """What the draft took for what, such as entity or time, and the evidence."""

    about: str
    choice: str
    evidence: str


@dataclass(frozen=True)
class Draft:
    """The text of a contract, what was decided, and what its readers should look at."""

    text: str
    decisions: list[Decision]
    findings: list[Finding]


def draft(
    file: Path,
    target: str,
    *,
    target_definition: str | None = None,
    entity: str | None = None,
    time_column: str | None = None,
    told: str | None = None,
    name: str | None = None,
    encoding: str = "utf-8",
) -> Draft:
    """Draft a complete contract for `file` (CSV, Parquet or JSON lines).

    `target` is a column of the file or, with `target_definition`, a new one: a SQL expression over
    the others, whose columns are then excluded. `told` is what `target_fields.OPTION` says where
    the values do not tell. Without `entity` and `time_column` they are guessed where there is
    evidence. ProjectError when the file cannot be read or the target cannot be learnt.
    """
    frame = read_table(file, encoding)
    return _draft(frame, target, target_definition, entity, time_column, told, name or file.stem)


def run(
    project: Project,
    file: Path,
    target: str | None = None,
    definition: str | None = None,
    entity: str | None = None,
    time_column: str | None = None,
    told: str | None = None,
    force: bool = False,
    add: Add = unchanged,
) -> Draft:
    """Write a draft for `file` to the project's contract; return it.

    What is not given is taken from the project's answers, entity and time only where the file has
    such a column, if need be in another spelling. An edited contract is replaced with `force` only,
    and kept beside as `.bak`.
    """
    path = project.contract_path
    edited = path.exists() and not is_untouched(path)
    if edited and not force:
        raise ProjectError(f"{path.name} was edited: --force replaces it and keeps it as .bak")
    progress.tell(f"reading {file.name}")
    server = fetching.named(project, str(file))
    encoding = project.config.data.encoding
    found = fetching.table(project, server) if server else read_table(file, encoding)
    declared = []
    with suppress(ProjectError):  # of a contract that cannot be read nothing is known
        declared = joins.of(path)
    if declared:
        found, _ = joins.apply(project, found, None)
    frame = with_columns(found, add)
    progress.tell(f"judging {frame.width} columns of {number(frame.height)} rows")
    answers, columns = project.plan.answers, frame.columns
    if definition is None:
        target = _meant(target or answers["target"], columns) or target
    target = target or answers["target"]
    drafted = _draft(
        frame,
        target,
        definition,
        entity or _meant(answers.get("entity"), columns),
        time_column or _meant(answers.get("time_column"), columns),
        told or target_draft.answered(target, answers, columns),
        file.stem,
        _said(path) if edited else None,
    )
    text = _with_sources(drafted.text, project, file, keep=edited)
    drafted = replace(drafted, text=text)
    if edited:
        kept = (path.with_name(f"{path.name}.bak{n or ''}") for n in itertools.count())
        storage.write_bytes(next(p for p in kept if not p.exists()), path.read_bytes())
    storage.write_text(path, drafted.text)
    contract = read(path)
    for problem in (
        contradiction(contract, answers),
        contract.target.contradiction(answers),
        of_nobody(contract, answers),
    ):
        if problem:
            drafted.findings.append(Finding("plan", "contradiction", problem))
    return drafted


def _said(path: Path) -> dict[str, Column]:
    """Return the columns of which people said what no file tells."""
    with suppress(ProjectError):  # of a contract that cannot be read nothing is known
        return {column.name: column for column in read(path).columns}
    return {}


def _meant(name: str | None, columns: list[str]) -> str | None:
    """Return the column that a name means, None when there is no such or more than one.

    The plan has names of ASCII, files have what people write: kunden_nr means `Kunden-Nr` too.
    """

    def plain(text: str) -> str:
        return re.sub(r"[\W_]+", "", in_ascii(text))

    if not name or name in columns:
        return name or None
    alike = [column for column in columns if plain(column) == plain(name)]
    return alike[0] if len(alike) == 1 else None


def _with_sources(text: str, project: Project, file: Path, *, keep: bool) -> str:
    """Return the draft with where its rows come from, and what people said of that and of consent.

    With `keep` the contract that is there was edited; what cannot be read of it is in its copy.
    """
    path, asks, servers = project.contract_path, None, []
    roles: list[dict[str, Any]] = []
    with suppress(ProjectError):
        roles = load_yaml(path)["roles"] if sources.access(path) else []
    with suppress(ProjectError):
        if keep and sources.of(path):
            servers = [s for s in load_yaml(path)["servers"] if s["server"] != "sample"]
        asks = consent.of(path) if keep else None
    if not servers:
        place = Path(os.path.relpath(file.resolve(), project.root)).as_posix()
        said = {"system": "unknown", "owner": "unknown", "licence": "unknown"}
        said |= {"kind": "internal", "method": "file", "script": "ml ingest"}
        properties = [{"property": name, "value": value} for name, value in said.items()]
        server = {"server": "source", "type": "local", "path": place}
        servers = [server | {"format": file.suffix[1:], "customProperties": properties}]
    _, _, body = text.partition("\n")
    for server in servers:
        server["customProperties"] = [*map(_OneLine, server.get("customProperties", []))]
    told = _dump({"servers": servers})
    told += _dump({"roles": [*map(_OneLine, roles)]}) if roles else ""
    said_yes = {"column": asks.column, "values": [*asks.values]} if asks else {}
    lines = [_OneLine(property="consent", value=said_yes)] if asks else []
    if keep and (joined := consent.said(path, "joins")):
        lines.append(_OneLine(property="joins", value=joined))
    kept = {"customProperties": lines} if lines else {}
    consents = textwrap.indent(_dump(kept), " " * 4) if kept else ""
    body = body.replace("\nschema:\n", f"\n{told}schema:\n", 1)
    body = body.replace("\n    properties:\n", f"\n{consents}    properties:\n", 1)
    return f"{MARK}{storage.sha256_text(body)}\n{body}"


def is_untouched(path: Path) -> bool:
    """Whether a contract is still as it was drafted."""
    first, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    return first == MARK + storage.sha256_text(rest)


def _draft(
    frame: pl.DataFrame,
    target: str,
    definition: str | None,
    entity: str | None,
    time_column: str | None,
    told: str | None,
    name: str,
    said: dict[str, Column] | None = None,
) -> Draft:
    columns, findings = _read(frame)
    for column in columns.values():
        column.keep(None if column.name == target else (said or {}).get(column.name))
    if definition is None and target not in columns:
        definition = target_draft.defined(told, columns)
    if definition is not None:
        _define(columns, target, definition)
    if target not in columns and not task.LABELS_NEEDED:
        nothing = pl.repeat(None, frame.height, dtype=pl.Boolean, eager=True).alias(target)
        columns[target] = Candidate(target, "boolean", nothing)
    outcome = _find(columns, target, "target")
    outcome.role = "target"
    written = frame.get_column(target, default=outcome.values)
    y, meaning = target_draft.propose(outcome, written, told)
    if entity is not None:
        _name(columns, entity, frame)
        _set_role(columns, entity, "entity", ("integer", "category"))
    if time_column is not None:
        _set_role(columns, time_column, "time", ("date", "timestamp"))
    for column in columns.values():
        _judge(column)
    for name_used in (used := leaking_columns(definition)):
        columns[name_used].exclude("leakage", f"the definition of {target} uses it")
    whom = entity or _guess_entity(columns)
    _name(columns, whom, frame)
    time = time_column or _guess_time(columns, whom)
    for column in columns.values():
        _exclude_identifier(column)
        if column.role == "feature" and personal.consents(column.name):
            column.notes.append(("consent", consent.DOUBT))
    features = [column.name for column in columns.values() if column.role == "feature"]
    typed = pl.DataFrame([column.values for column in columns.values()])
    for suspicion in leakage.suspects(typed, y, features, time, used, target):
        columns[suspicion.column].exclude("leakage", suspicion.reason)
    if not task.HAS_PAST and all(column.role != "feature" for column in columns.values()):
        roles = {"entity": "the entity", "time": "the time of the row"}
        others = [column for column in columns.values() if column.role != "target"]
        out = "; ".join(f"{c.name}: {roles.get(c.role) or c.notes[-1][1]}" for c in others)
        out = out[:500] or "there is no other column"
        raise ProjectError(f"no column is left to learn {target!r} from ({out})")
    key, reason = _choose_key(columns, whom, time, typed)
    findings += [Finding(c.name, *note) for c in columns.values() for note in c.notes]
    decisions = [
        Decision("target", target, meaning),
        *_decide_roles(columns, whom, time, key, reason),
        *_decide_rules(columns),
    ]
    return Draft(_render(columns, target, key, name, decisions), decisions, findings)


def _read(frame: pl.DataFrame) -> tuple[dict[str, Candidate], list[Finding]]:
    """Type every column; leave out what a contract cannot describe."""
    columns, findings = {}, []
    readings = {raw.name: infer(raw) for raw in frame.get_columns()}
    beside_commas = any(found and found.decimal_comma for found in readings.values())
    points = not beside_commas and has_points(frame)
    for raw in frame.get_columns():
        name, reading = raw.name, readings[raw.name]
        if (beside_commas or points) and is_marked(raw):
            reading = infer(raw, beside_commas=beside_commas, points=points)
        if reading is None or not name.strip():
            reason = (
                f"the contract has no type for {raw.dtype}" if name.strip() else "it has no name"
            )
            findings.append(Finding(name, "left out", reason))
            continue
        plain = Column(
            name=name,
            kind=reading.kind,
            role="feature",
            formats=reading.formats,
            decimal_comma=reading.decimal_comma,
            thousands_comma=reading.thousands_comma,
        )
        columns[name] = Candidate(name, plain.kind, parse(raw, plain).alias(name), plain.formats)
        columns[name].decimal_comma = reading.decimal_comma
        columns[name].thousands_comma = reading.thousands_comma
        columns[name].notes += reading.doubts
    return columns, findings


def _find(columns: dict[str, Candidate], name: str, use: str) -> Candidate:
    if name in columns:
        return columns[name]
    known = {column.strip().casefold(): column for column in columns}
    near = difflib.get_close_matches(name.strip().casefold(), known, n=1, cutoff=0.5)
    hint = f"did you mean {known[near[0]]!r}?" if near else f"it has {', '.join([*columns][:20])}"
    raise ProjectError(f"the file has no column {name!r} for the {use}: {hint}")


def _name(columns: dict[str, Candidate], entity: str | None, frame: pl.DataFrame) -> None:
    """Read what tells rows apart as text where that is a name: a number is no amount there."""
    column = columns.get(entity or "")
    if task.NAMES_ENTITY and column and column.kind != "category":
        named = Column(name=column.name, kind="category", role="entity")
        column.kind, column.values = named.kind, parse(frame[column.name], named)


def _set_role(
    columns: dict[str, Candidate], name: str, role: Role, kinds: tuple[Kind, ...]
) -> None:
    column = timed(_find(columns, name, role), role)
    if column.kind not in kinds:
        mend = dayless(column.filled) if role == "time" else ""
        raise ProjectError(
            f"{role} {name!r} was read as {column.kind}: use {' or '.join(kinds)}{mend}"
        )
    column.role = role


def _define(columns: dict[str, Candidate], target: str, definition: str) -> None:
    """Compute the target."""
    if target in columns:
        raise ProjectError(
            f"the file has a column {target!r}: drop it, or leave out its definition"
        )
    used = definition_columns(definition)
    typed = pl.DataFrame([_find(columns, name, "definition").values for name in used])
    try:
        values = typed.select(pl.sql_expr(definition).alias(target)).to_series()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise ProjectError(f"definition {definition!r} cannot be computed: {reason}") from None
    kind = target_draft.kind(values.dtype)
    if kind is None or len(values) != typed.height:
        raise ProjectError(f"definition {definition!r} gives no {target_draft.DEFINED}")
    values = values.cast(DTYPES[kind])
    columns[target] = Candidate(target, kind, values, definition=definition)


def _guess_time(columns: dict[str, Candidate], entity: str | None) -> str | None:
    """Take dates that rows were observed at; of others the contract says why they were not taken.

    Of several, those that are named so and then those of the most different values; two clocks of
    one process tick equally often: of such, the earlier one began the row.
    """
    dates = [c for c in columns.values() if c.role == "feature" and c.values.dtype.is_temporal()]
    evidence = {column.name: _observed(column, columns, entity) for column in dates}
    clocks = [column for column in dates if evidence[column.name][0]]
    if not clocks:
        for column in dates:
            doubt = f"not taken as the time of the row ({evidence[column.name][1]}): if rows were "
            column.notes.append(("time", f"{doubt}observed then, draft again with --time"))
        return None
    clocks = [c for c in clocks if OBSERVED.search(personal.snake(c.name))] or clocks
    ticks = max(column.different for column in clocks)
    clocks = [column for column in clocks if column.different >= 0.9 * ticks]
    middle = pl.DataFrame([column.values.cast(pl.Datetime("us")) for column in clocks]).median()
    chosen = min(zip(middle.row(0), clocks, strict=True), key=lambda pair: pair[0])[1]
    chosen.role = "time"
    reason = f"guessed: {evidence[chosen.name][1]}, {chosen.different} different moments"
    chosen.notes.append(("time", reason))
    return chosen.name


def _observed(
    column: Candidate, columns: dict[str, Candidate], entity: str | None
) -> tuple[bool, str]:
    """Say whether rows were observed at the dates of a column, and the evidence for or against."""
    if not column.complete:
        gaps = column.values.null_count()
        return False, f"missing in {gaps} row{'s' * (gaps > 1)}"
    whom = None if entity is None else columns[entity]
    if whom is not None and whom.different < NEAR_UNIQUE * len(whom.values):
        pair = pl.DataFrame([whom.values.alias("whom"), column.values.alias("when")])
        again = pair.filter(pair["whom"].is_duplicated())
        share = again.n_unique() / again.height
        if again.n_unique() == again["whom"].n_unique():
            return False, f"the same in all rows of one {entity}"
        return share >= 0.9, f"another one in {percent(share)} of the rows of one {entity}"
    name = personal.snake(column.name)
    if ATTRIBUTE.search(name):
        return False, "its name says an attribute of what the row is about"
    if OBSERVED.search(name):
        return True, "its name says so"
    if any(c.names_things and c.different == len(c.values) for c in columns.values()):
        return False, "it may be an attribute: there is one row for each identifier"
    ordered = column.values.is_sorted() or column.values.is_sorted(descending=True)
    return ordered, f"the rows are {'' if ordered else 'not '}in its order"


def _guess_entity(columns: dict[str, Candidate]) -> str | None:
    """Take the identifier that repeats and has the most different values."""
    repeating = [
        (column.different, column.name)
        for column in columns.values()
        if column.role == "feature" and column.names_things and column.complete
        if MAX_LEVELS < column.different < NEAR_UNIQUE * len(column.values)
    ]
    if not repeating:
        return None
    different, name = max(repeating)
    columns[name].role = "entity"
    columns[name].notes.append(("entity", f"guessed: an identifier of {different} that repeat"))
    return name


def _judge(column: Candidate) -> None:
    """Exclude what no model should see, no information or personal data; tell free texts."""
    filled, different = column.filled, column.different
    if column.kind == "category" and different <= SPELLED and (told := marks.spelled(filled)):
        column.notes.append(("spelling", told))
    if column.role == "target" or column.extra.get("pseudonym"):
        return
    if not different:
        column.exclude("missing", "no value in any row")
    elif re.search(UNSERVED, column.name):
        column.exclude("name", "rename it in the source without quotes, backslashes and the like")
    elif reason := personal.suspicion(column.name, column.kind, filled):
        column.hide()
        column.exclude("personal", reason)
    elif different == 1 and column.complete:
        column.exclude("constant", "the same value in every row")
    elif whole.judged(column):
        return
    elif column.kind in ("integer", "number") and len(same := marks.marks(filled)):
        column.notes.append(("mark", marks.doubt(same)))
    elif column.kind == "category" and texts.are_texts(filled, MAX_LEVELS):
        column.kind, column.options = "text", {"maxLength": texts.longest(filled)}
        column.extra["freeText"] = True
        column.notes.append(("free text", texts.told(filled)))
        if found := texts.personal(filled):
            column.notes.append(("personal", found))
    elif column.kind == "category" and texts.has_mail(filled):
        column.personal = True
        column.exclude("personal", "some of its values hold an address of mail")
    elif column.kind == "category" and texts.have_words(filled, MAX_LEVELS):
        column.notes.append(("levels", texts.told_of_levels(different)))


def _exclude_identifier(column: Candidate) -> None:
    """Exclude what names a row or a thing: it says nothing about new ones."""
    filled, different = column.filled, column.different
    if column.role != "feature" or different <= 20:
        return
    if column.names_things and different > MAX_LEVELS:
        column.exclude("identifier", f"named so, {different} different values")
    elif column.kind == "category" and different >= NEAR_UNIQUE * len(filled):
        column.exclude("identifier", f"{different} different texts in {len(filled)} rows")
    elif (
        column.kind == "category" and different > MAX_LEVELS and "unreadable" in dict(column.notes)
    ):
        column.role = "excluded"  # numbers or dates as texts: hardly a level comes again
    elif column.kind == "integer" and filled.abs().max() > 2**53:  # type: ignore[operator]
        column.exclude("identifier", "whole numbers of more than 15 digits")
    elif column.kind == "integer" and (filled.sort().diff().drop_nulls() == 1).all():
        column.exclude("row number", "counts the rows")


def _choose_key(
    columns: dict[str, Candidate], entity: str | None, time: str | None, typed: pl.DataFrame
) -> tuple[list[str], str]:
    """Return the columns that identify a row, or none, and the reason.

    One identifier, or entity and time. One that a few rows repeat is a key where they are the same
    rows twice; where they differ, people have to see which row is right.
    """
    named = [
        [column.name]
        for column in sorted(columns.values(), key=lambda column: column.name != entity)
        if column.names_things or "identifier" in dict(column.notes) or column.name == entity
        if not column.personal
    ]
    pairs = [*named, [entity, time]] if entity and time else named
    choices = [names for names in pairs if all(columns[name].complete for name in names)]
    different = [typed.select(names).n_unique() for names in choices]
    for names, found in zip(choices, different, strict=True):
        if found == typed.height:
            return names, "no row repeats it"
    whole = typed.hash_rows().n_unique()
    repeated = typed.height - whole
    told = f"{count(repeated, 'row')} repeat{'s' * (repeated == 1)} an earlier one"
    for names, found in zip(choices, different, strict=True):
        if found == whole:
            return names, f"{told}, in all columns: left out as duplicates"
    reason = told if repeated else "no two rows are equal"
    for names, found in zip(choices, different, strict=True):
        if found >= NEAR_UNIQUE * whole:
            other = count(whole - found, "row")
            reason += (
                f"; {' and '.join(names)} would be it, but {other} of the others "
                f"repeat{'s' * (whole - found == 1)} one: where that is a mistake, give "
                f"{'each' if len(names) > 1 else 'it'} `primaryKey: true`, and "
                "data.repeated_keys in config.yaml says which row stays"
            )
            break
    return [], reason


def _decide_roles(
    columns: dict[str, Candidate],
    entity: str | None,
    time: str | None,
    key: list[str],
    reason: str,
) -> Iterator[Decision]:
    named = "named by you or the plan's answers"
    for about, name, none in (
        ("entity", entity, "no identifier comes again: rows count as independent of each other"),
        ("time", time, "no column says when a row was observed: no split by time"),
    ):
        guess = dict(columns[name].notes).get(about, named) if name else none
        yield Decision(about, name or "none", guess)
    yield Decision("key", ", ".join(key) or "none", reason)
    kinds = Counter(column.kind for column in columns.values() if column.role == "feature")
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    yield Decision("features", str(kinds.total()), listed)
    out = Counter(c.notes[-1][0] for c in columns.values() if c.role == "excluded")
    if out:
        listed = ", ".join(f"{count} {what}" for what, count in out.most_common())
        yield Decision("excluded", str(out.total()), listed)


def _decide_rules(columns: dict[str, Candidate]) -> Iterator[Decision]:
    """Say what a later row must be like, because this file is so."""
    used = [c for c in columns.values() if c.role not in ("excluded", "target")]
    for about, names, evidence in (
        (
            "required",
            [column.name for column in used if column.complete],
            "never missing here: a row without it goes to quarantine",
        ),
        (
            "minimum 0",
            [column.name for column in used if column.counts],
            "never negative here: a row below goes to quarantine",
        ),
        (
            "levels",
            [column.name for column in used if column.listed],
            "their values are listed: another one is a warning",
        ),
        (
            "dates",
            [f"{c.name} as {' or '.join(c.formats)}" for c in columns.values() if c.formats],
            "the formats that read the most values, beside that of 2026-01-31",
        ),
    ):
        if names:
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            yield Decision(about, ", ".join(names[:4]) + more, evidence)


def table(decisions: list[Decision]) -> list[str]:
    """Return decisions as aligned lines."""
    return [f"{d.about:<10} {d.choice}: {d.evidence}" for d in decisions]


def _render(
    columns: dict[str, Candidate],
    target: str,
    keys: list[str],
    name: str,
    decisions: list[Decision],
) -> str:
    slug = re.sub(r"\W+", "_", name).strip("_") or "dataset"
    head = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": slug,
        "name": f"{slug} dataset",
        "version": "1.0.0",
        "status": "draft",
        "description": {"purpose": f"Predict {target}"},
    }
    lines = [
        "# Drafted by `ml contract infer`. Correct it, then run `ml contract check`.",
        "# role: feature, target, entity (whom a row is about), time (when it was observed) or",
        "# excluded. observed: what sample data look like; nothing is checked against it.",
        *(f"# {_printable(line)}" for line in table(decisions)),
        f'{_dump(head)}schema:\n  - name: "{slug}"\n    properties:',
    ]
    for column in columns.values():
        for what, reason in column.notes:
            lines.append(f"      # {_printable(f'{what}: {reason}')}")
        lines.append(textwrap.indent(_dump([_property(column, keys)]), " " * 6).rstrip("\n"))
    body = "\n".join(lines) + "\n"
    return f"{MARK}{storage.sha256_text(body)}\n{body}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == NBSP else " " for c in text)


class _OneLine(dict[str, Any]):
    """A mapping that YAML writes in braces."""


class _Dumper(yaml.SafeDumper):
    def represent_text(self, text: str) -> yaml.Node:
        """Quote control characters, which plain YAML text would lose."""
        quote = None if text == _printable(text) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=quote)

    def represent_braces(self, mapping: _OneLine) -> yaml.Node:
        return self.represent_mapping("tag:yaml.org,2002:map", mapping, flow_style=True)


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(_OneLine, _Dumper.represent_braces)


def _dump(content: Any) -> str:
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=94)


def _property(column: Candidate, keys: list[str]) -> dict[str, Any]:
    """Return the column as the standard writes it; no value of a personal column is in it."""
    filled, kind, is_key = column.filled, column.kind, column.name in keys
    shown = len(filled) > 0 and not column.personal
    low, high = short(filled.min()), short(filled.max())
    description, observed = f"{column.different} different values", {}
    if shown and kind not in ("category", "boolean", *READ):
        description += f" from {low} to {high}"
    if shown and kind in ("number", "integer", "boolean"):
        observed = {"mean": short(filled.mean()), "std": short(filled.std() or 0)}
    if not column.complete:
        observed["missingShare"] = short(column.values.null_count() / len(column.values))
    custom = {
        "role": column.role,
        **column.extra,
        "dateFormats": [*column.formats],
        "decimalComma": column.decimal_comma,
        "thousandsComma": column.thousands_comma,
        **({"observed": observed} if column.role != "target" else {}),
        "reasons": [f"{what}: {reason}" for what, reason in column.notes],
    }
    options = {"minimum": 0} if column.counts else column.options
    levels = {
        "metric": "invalidValues",
        "arguments": _OneLine(validValues=sorted(filled.unique())) if kind == "category" else {},
        "mustBe": 0,
        "severity": "error" if column.role == "target" else "warning",
    }
    content = {
        "name": column.name,
        "logicalType": "string" if kind in ("category", *READ) else kind,
        "required": is_key or (column.role != "excluded" and column.complete),
        "unique": is_key and len(keys) == 1,
        "primaryKey": is_key,
        "primaryKeyPosition": keys.index(column.name) + 1 if is_key else None,
        "classification": "personal" if column.personal else None,
        "logicalTypeOptions": _OneLine(options) if options else None,
        "description": description,
        "transformLogic": column.definition,
        "quality": [levels] if column.listed else None,
        "customProperties": [_OneLine(property=k, value=v) for k, v in custom.items() if v],
    }
    return {name: value for name, value in content.items() if value not in (None, False)}
