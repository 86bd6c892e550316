"""Draft a data contract from a file: types, keys, roles and doubts, each with its reason."""

import difflib
import itertools
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from . import leakage, storage
from .contract import Column, Kind, Role, definition_columns
from .errors import ProjectError
from .inference import infer
from .ingest import read_table
from .settings import Project
from .validation import parse

MAX_LEVELS = 50  # more levels than this are not listed in the contract
NEAR_UNIQUE = 0.95  # share of different values that makes text an identifier or free text
EXAMINED = 1000  # different values that patterns of personal data are tried on
MARK = "# Nobody has edited this draft while the SHA-256 of the lines below is "

ID_NAME = re.compile(r"(^|[_\W])(id|uuid|guid|key)$|(customer|client|user|account|order)id$")
PERSONAL_NAMES = {
    "e-mail": r"e_?mail",
    "phone": r"phone|mobile(_?(no|number))?$|telefon|(^|_)(tel|fax)(_|$)",
    "name": r"^name$|(first|last|middle|full|given|family|customer|client|person|user)_?name"
    r"|surname|vorname|nachname",
    "address": r"address|street|strasse|straße|(^|_)(zip|plz)|post(al)?_?code",
    "birth": r"birth|(^|_)dob(_|$)|geburt",
    "account or card": r"(^|_)iban|(card|account)_?(no|num|number)$",
    "official number": r"(^|_)ssn|social_?security|passport|(tax|national)_?(id|number)",
    "IP address": r"(^|_)ip(_|$)|ip_?addr",
}
PERSONAL_VALUES = {
    "e-mail": r"^[^@\s]+@[^@\s]+\.\w+$",
    "phone": r"^(\+\d|\(\d|0\d+[ /-])[\d ()/.-]{5,20}$|^\d{3}-\d{3}-\d{4}$",
    "IBAN": r"^[A-Z]{2}\d{2} ?([A-Z0-9]{4} ?){2,7}[A-Z0-9]{1,4}$",
    "official number": r"^\d{3}-\d{2}-\d{4}$",
    "IP address": r"^(\d{1,3}\.){3}\d{1,3}$|^([0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{0,4}$",
}


@dataclass(frozen=True)
class Finding:
    """Something to look at; `what` is a word such as leakage, personal, identifier or date."""

    column: str
    what: str
    reason: str


@dataclass(frozen=True)
class Draft:
    """The text of a contract, and what its readers should look at."""

    text: str
    findings: list[Finding]


@dataclass
class _Column:
    """A column on its way into the contract; `values` are typed, null where missing."""

    name: str
    kind: Kind
    values: pl.Series
    formats: tuple[str, ...] = ()
    role: Role = "feature"
    personal: bool = False
    target: dict[str, Any] = field(default_factory=dict)
    definition: str | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)

    def exclude(self, what: str, reason: str) -> None:
        self.notes.append((what, reason))
        self.role = "excluded" if self.role == "feature" else self.role

    @property
    def filled(self) -> pl.Series:
        values = self.values.drop_nulls()
        return values.filter(values.is_finite()) if values.dtype.is_float() else values

    @property
    def snake(self) -> str:
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).lower()

    @property
    def is_key(self) -> bool:
        """Whether every row has a value of its own."""
        return not self.values.null_count() and self.values.n_unique() == len(self.values)


def draft(
    file: Path,
    target: str,
    *,
    target_definition: str | None = None,
    entity: str | None = None,
    time_column: str | None = None,
    name: str | None = None,
    encoding: str = "utf-8",
) -> Draft:
    """Draft a complete contract for `file` (CSV, Parquet or JSON lines).

    `target` is a column of the file with two values or, with `target_definition`, a new one: a SQL
    expression over the others such as `arr_delay > 15`, whose columns are then excluded. Without
    `entity` and `time_column` they are guessed, and the guess is a finding. ProjectError when the
    file cannot be read or the target cannot be learnt.
    """
    frame = read_table(file, encoding)
    return _draft(frame, target, target_definition, entity, time_column, name or file.stem)


def run(
    project: Project,
    file: Path,
    target: str | None = None,
    definition: str | None = None,
    entity: str | None = None,
    time_column: str | None = None,
    force: bool = False,
) -> Draft:
    """Write a draft for `file` to the project's contract; return it.

    What is not given is taken from the project's answers, entity and time only where the file has
    such a column. An edited contract is replaced with `force` only, and kept beside as `.bak`.
    """
    path = project.contract_path
    edited = path.exists() and not _is_untouched(path)
    if edited and not force:
        raise ProjectError(f"{path.name} was edited: --force replaces it and keeps it as .bak")
    frame = read_table(file, project.config.data.encoding)
    known = {name: project.plan.answers.get(name) for name in ("entity", "time_column")}
    known = {name: column for name, column in known.items() if column in frame.columns}
    drafted = _draft(
        frame,
        target or project.plan.answers["target"],
        definition,
        entity or known.get("entity"),
        time_column or known.get("time_column"),
        file.stem,
    )
    if edited:
        kept = (path.with_name(f"{path.name}.bak{n or ''}") for n in itertools.count())
        storage.write_bytes(next(p for p in kept if not p.exists()), path.read_bytes())
    storage.write_text(path, drafted.text)
    return drafted


def _is_untouched(path: Path) -> bool:
    first, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    return first == MARK + storage.sha256_text(rest)


def _draft(
    frame: pl.DataFrame,
    target: str,
    definition: str | None,
    entity: str | None,
    time_column: str | None,
    name: str,
) -> Draft:
    columns, findings = _read(frame)
    labels, used = _set_target(columns, frame, target, definition)
    if entity is not None:
        _set_entity(columns, entity)
    if time_column is not None:
        _set_time(columns, time_column)
    features = [column for column in columns.values() if column.role == "feature"]
    for column in features:
        _judge(column)
    for used_name in used:
        columns[used_name].exclude("leakage", f"the definition of {target} uses it")
    moment = time_column or _guess_time(columns)
    whom = entity or _guess_entity(columns)
    for column in features:
        _exclude_identifier(column)
    typed = pl.DataFrame([column.values for column in columns.values()])
    names = [column.name for column in features if column.role == "feature"]
    for suspicion in leakage.suspects(typed, labels, names, moment, used):
        columns[suspicion.column].exclude("leakage", suspicion.reason)
    if all(column.role != "feature" for column in features):
        raise ProjectError(f"no column is left to learn {target!r} from: see which were excluded")
    keys = _choose_key(columns, whom, moment)
    findings += [Finding(c.name, *note) for c in columns.values() for note in c.notes]
    return Draft(_render(columns, target, keys, name), findings)


def _read(frame: pl.DataFrame) -> tuple[dict[str, _Column], list[Finding]]:
    """Type every column; leave out what a contract cannot describe."""
    columns, findings = {}, []
    for raw in frame.get_columns():
        reading = infer(raw) if raw.name.strip() else None
        if reading is None:
            reason = f"left out: {raw.dtype} has no type in a contract"
            findings.append(
                Finding(raw.name, "left out", reason if raw.name.strip() else "no name")
            )
            continue
        plain = Column(name=raw.name, kind=reading.kind, role="feature", formats=reading.formats)
        columns[raw.name] = _Column(
            raw.name, reading.kind, parse(raw, plain), reading.formats, notes=[*reading.doubts]
        )
    return columns, findings


def _find(columns: dict[str, _Column], name: str, use: str) -> _Column:
    if name in columns:
        return columns[name]
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join([*columns][:20])}"
    raise ProjectError(f"the file has no column {name!r} for the {use}: {hint}")


def _set_target(
    columns: dict[str, _Column], frame: pl.DataFrame, name: str, definition: str | None
) -> tuple[pl.Series, list[str]]:
    """Give the target its role; return its labels of 1, 0 or null, and the columns it is made of."""
    used: list[str] = []
    if definition is not None:
        if name in columns:
            raise ProjectError(
                f"the file has a column {name!r}: leave out its definition, or rename"
            )
        used = definition_columns(definition)
        for other in used:
            _find(columns, other, f"definition of {name}")
        typed = pl.DataFrame([column.values for column in columns.values()])
        try:
            values = typed.select(pl.sql_expr(definition).alias(name)).to_series()
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            raise ProjectError(f"definition {definition!r} cannot be computed: {reason}") from None
        if values.dtype != pl.Boolean or len(values) != frame.height:
            raise ProjectError(f"definition {definition!r} gives no true or false for each row")
        columns[name] = _Column(name, "boolean", values, definition=definition)
    target = _find(columns, name, "target")
    target.role = "target"
    found = (
        target.filled.value_counts(sort=True).to_series(0).cast(pl.String)
    )  # most frequent first
    if len(found) != 2:
        shown = f"one value ({found[0]})" if len(found) == 1 else f"{len(found)} different values"
        raise ProjectError(
            f"target {name!r} has {shown if len(found) else 'no value'} in {frame.height} rows and "
            "needs two: choose another column, or give a definition such as 'delay_min > 15'"
        )
    if target.kind in ("number", "integer") and set(target.filled.cast(pl.Int64)) == {0, 1}:
        target.kind, target.values = "integer", target.values.cast(pl.Int64)
        found = pl.Series(["0", "1"])
    elif target.kind != "boolean":
        target.kind, target.values = "category", frame[name].cast(pl.String).replace("", None)
        found = target.filled.value_counts(sort=True).to_series(0)
    positive = next((value for value in ("true", "1") if value in found), found[1])
    labels = (target.values.cast(pl.String) == positive).cast(pl.Int8)
    if labels.null_count():
        reason = f"missing in {labels.null_count()} rows: nothing is learnt from them"
        target.notes.append(("target", reason))
    target.target |= {"positiveValue": positive, "positiveShare": _short(labels.mean())}
    return labels, used


def _set_entity(columns: dict[str, _Column], name: str) -> None:
    column = _find(columns, name, "entity")
    if column.kind not in ("integer", "category"):
        raise ProjectError(f"entity {name!r} is {column.kind}: text or whole numbers name a thing")
    column.role = "entity"


def _set_time(columns: dict[str, _Column], name: str) -> None:
    column = _find(columns, name, "time column")
    if column.kind not in ("date", "timestamp"):
        raise ProjectError(f"time column {name!r} cannot be read as dates: it is {column.kind}")
    column.role = "time"


def _guess_time(columns: dict[str, _Column]) -> str | None:
    """Take the date column that is never missing and has the most different values."""
    complete = [
        column
        for column in columns.values()
        if column.kind in ("date", "timestamp")
        and column.role == "feature"
        and not column.values.null_count()
    ]
    if not complete:
        return None
    # Two clocks of one event tick equally often: the earlier one is when the row began.
    ticks = max(column.values.n_unique() for column in complete)
    rival = [column for column in complete if column.values.n_unique() >= 0.9 * ticks]
    chosen = min(rival, key=lambda column: column.values.cast(pl.Datetime("us")).median())
    chosen.role = "time"
    reason = f"guessed: never missing, {chosen.values.n_unique()} different moments"
    chosen.notes.append(("time", reason))
    return chosen.name


def _guess_entity(columns: dict[str, _Column]) -> str | None:
    """Take the column named like an identifier that repeats and has the most different values."""
    counts = {
        name: column.values.n_unique()
        for name, column in columns.items()
        if column.role == "feature"
        and column.kind in ("integer", "category")
        and ID_NAME.search(column.snake)
        and not column.values.null_count()
    }
    counts = {
        n: c for n, c in counts.items() if MAX_LEVELS < c < NEAR_UNIQUE * len(columns[n].values)
    }
    if not counts:
        return None
    chosen = max(counts, key=lambda name: counts[name])
    columns[chosen].role = "entity"
    columns[chosen].notes.append(("entity", f"guessed: an identifier, {counts[chosen]} repeat"))
    return chosen


def _judge(column: _Column) -> None:
    """Exclude what no model should see: no information, personal data, free text."""
    filled = column.filled
    different = filled.n_unique()
    if not different:
        column.exclude("missing", "no value in any row")
    elif different == 1 and not column.values.null_count():
        column.exclude("constant", "the same value in every row")
    elif personal := _personal(column, different):
        column.personal = True
        column.notes = [note for note in column.notes if note[0] != "unreadable"]  # shows values
        column.exclude("personal", personal)
    elif column.kind == "category" and different > max(MAX_LEVELS, 0.5 * len(filled)):
        words = filled.head(EXAMINED).str.count_matches(r"\S+").mean()
        if float(words or 0) >= 4:  # type: ignore[arg-type]
            column.exclude("free text", f"{different} different texts: make features of them first")


def _personal(column: _Column, different: int) -> str:
    """Say why the column looks like data that identify a person; "" when it does not."""
    filled = column.filled
    if column.kind == "category" and different > min(10, 0.5 * len(filled)):
        texts = filled.unique().sort().head(EXAMINED).str.strip_chars()
        for what, pattern in PERSONAL_VALUES.items():
            if float(texts.str.contains(pattern).mean() or 0) >= 0.8:  # type: ignore[arg-type]
                return f"its values look like personal data ({what})"
    elif column.kind == "integer":
        middle = float(filled.median() or 0)  # type: ignore[arg-type]
        if not (middle >= 10_000 or ("birth" in column.snake and 1900 < middle < 2030)):
            return ""  # a count, such as emails_sent
    elif column.kind not in ("date", "timestamp"):
        return ""
    for what, pattern in PERSONAL_NAMES.items():
        dated = column.kind in ("date", "timestamp")
        if re.search(pattern, column.snake) and (what == "birth" or not dated):
            return f"its name says personal data ({what})"
    return ""


def _exclude_identifier(column: _Column) -> None:
    """Exclude what names a row or a thing: it says nothing about new ones."""
    filled = column.filled
    different, rows = filled.n_unique(), len(filled)
    if column.role != "feature" or column.kind not in ("integer", "category") or different <= 20:
        return
    if ID_NAME.search(column.snake) and different > MAX_LEVELS:
        column.exclude("identifier", f"named so, {different} different values")
    elif column.kind == "category" and different >= NEAR_UNIQUE * rows:
        column.exclude("identifier", f"{different} different texts in {rows} rows")
    elif column.kind == "integer" and different == rows == filled.max() - filled.min() + 1:  # type: ignore[operator]
        column.exclude("identifier", "a row number")


def _choose_key(columns: dict[str, _Column], entity: str | None, time: str | None) -> list[str]:
    """Return the columns that identify a row: one identifier, or entity and time."""
    single = [
        name
        for name, column in columns.items()
        if column.kind in ("integer", "category")
        and (name == entity or ID_NAME.search(column.snake))
        and not column.personal
        and column.is_key
    ]
    if single:
        return [entity if entity in single else single[0]]
    if entity is None or time is None:
        return []
    pair = pl.DataFrame([columns[entity].values, columns[time].values])
    unique = not pair.null_count().row(0) > (0, 0) and pair.is_unique().all()
    return [entity, time] if unique else []


def _render(columns: dict[str, _Column], target: str, keys: list[str], name: str) -> str:
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
        f'{_dump(head)}schema:\n  - name: "{slug}"\n    properties:',
    ]
    for column in columns.values():
        for what, reason in column.notes:
            comment = "".join(c if c.isprintable() else " " for c in f"{what}: {reason}")
            lines.append(f"      # {comment}")
        lines.append(textwrap.indent(_dump([_property(column, keys)]), " " * 6).rstrip("\n"))
    body = "\n".join(lines) + "\n"
    return f"{MARK}{storage.sha256_text(body)}\n{body}"


class _OneLine(dict[str, Any]):
    """A mapping that YAML writes in braces."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _OneLine,
    lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True),
)


def _dump(content: Any) -> str:
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=94)


def _property(column: _Column, keys: list[str]) -> dict[str, Any]:
    """Return the column as the standard writes it."""
    filled = column.filled
    is_key, numeric = column.name in keys, column.kind in ("number", "integer", "boolean")
    observed: dict[str, Any] = {}
    low, high = (None, None) if column.personal or not len(filled) else (filled.min(), filled.max())
    if numeric and low is not None:
        observed = {"mean": _short(filled.mean()), "std": _short(filled.std() or 0)}
    if column.values.null_count():
        observed["missingShare"] = _short(column.values.null_count() / len(column.values))
    content: dict[str, Any] = {
        "name": column.name,
        "logicalType": "string" if column.kind == "category" else column.kind,
        "required": is_key or (column.role != "excluded" and not column.values.null_count()),
        "unique": is_key and len(keys) == 1,
        "primaryKey": is_key,
    }
    content = {name: value for name, value in content.items() if value is not False}
    if is_key:
        content["primaryKeyPosition"] = keys.index(column.name) + 1
    if column.personal:
        content["classification"] = "personal"
    if column.role == "feature" and column.kind in ("number", "integer") and low >= 0:  # type: ignore[operator]
        content["logicalTypeOptions"] = _OneLine(minimum=0)
    content["description"] = f"{filled.n_unique()} different values"
    if low is not None and column.kind not in ("category", "boolean"):
        content["description"] += f" from {_short(low)} to {_short(high)}"
    if column.definition:
        content["transformLogic"] = column.definition
    if column.kind == "category" and not column.personal and 0 < filled.n_unique() <= MAX_LEVELS:
        content["quality"] = [
            {
                "metric": "invalidValues",
                "arguments": _OneLine(validValues=sorted(filled.unique())),
                "mustBe": 0,
                "severity": "error" if column.role == "target" else "warning",
            }
        ]
    custom: dict[str, Any] = {"role": column.role} | column.target
    if column.formats:
        custom["dateFormats"] = [*column.formats]
    if observed and column.role != "target":
        custom["observed"] = observed
    if column.notes:
        custom["reasons"] = [f"{what}: {reason}" for what, reason in column.notes]
    content["customProperties"] = [_OneLine(property=k, value=v) for k, v in custom.items()]
    return content


def _short(value: Any) -> Any:
    """Return a number with six significant digits, enough for a hint; anything else as it is."""
    if not isinstance(value, int | float):
        return value
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() else short
