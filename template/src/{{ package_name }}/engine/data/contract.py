"""The data contract: an ODCS 3.1 YAML file read into one typed object, and its lint.

Format: Open Data Contract Standard 3.1.0. What the standard lacks is kept in `customProperties`
of a column: role, unit, dateFormats, decimalComma, thousandsComma, freeText, controlled, purpose,
legalBasis, pseudonym, observed, reasons, and those of target_fields.py.
"""

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from keyword import iskeyword
from pathlib import Path
from typing import Any, Literal

import msgspec

from .. import kinds, task
from ..dialect import DIRECTIVES, EPOCHS, level
from ..errors import ProjectError, explained, told
from ..kinds import READ, Kind
from ..model import coded
from ..settings import load_yaml
from ..storage import sha256_text
from . import consent, sources, target_fields

__all__ = ["READ", "Kind"]  # of kinds.py, beside what stands here
Role = Literal["feature", "target", "entity", "time", "excluded"]
Severity = Literal["error", "warning"]
Basis = Literal[  # the grounds that the answer `legal_basis` knows
    "consent", "contract", "legal_obligation", "public_task", "legitimate_interest"
]
Effect = Literal["", "up", "down"]  # on the target of sample data, where a column's values rise
WITHHELD = "_withheld"  # microseconds before a row of which it knows nothing
INTERNAL = ("_row", "_rules", WITHHELD)  # columns of our own in tables and in the quarantine
# What scoring adds to the keys.
SCORED = (*task.NAMES, "model_version", "problem", "warning")
# Letters that lose more than a mark when they are written in ASCII.
PLAIN = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "œ": "oe"}
    | {"ø": "o", "ł": "l", "đ": "d", "ı": "i"}
)
PERSONAL = ("personal", "pii", "sensitive")  # classifications, whose words the standard leaves open
HASHED = ("entity", "excluded")  # roles of columns that may be keyed hashes
UNSERVED = r'["\\\x00-\x1f]'  # in JSON such a name would need escapes


class Column(target_fields.Fields, frozen=True, kw_only=True):
    """One column of the dataset; `maximum` of a text is its length in characters."""

    name: str
    kind: Kind
    role: Role
    required: bool = False
    unique: bool = False
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[str, ...] = ()
    levels_severity: Severity = "error"
    formats: tuple[str, ...] = ()
    decimal_comma: bool = False
    thousands_comma: bool = False
    personal: bool = False
    pseudonym: bool = False  # a keyed hash takes its place before rows reach data/
    controlled: bool = False  # by who is judged, who may say here what they like
    purpose: str = ""  # for what a personal column is used
    legal_basis: Basis | None = None  # None is whatever the plan says
    definition: str | None = None
    mean: float | None = None
    std: float | None = None
    missing_share: float = 0.0
    effect: Effect = ""
    description: str = ""
    unit: str = ""
    reasons: tuple[str, ...] = ()  # of the draft, for what it decided


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset: its columns in order and the columns that identify a row."""

    name: str
    version: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    text: str = ""  # what was read, so that no caller reads a file that somebody edits twice

    def column(self, name: str) -> Column:
        """Return the column called `name`."""
        for column in self.columns:
            if column.name == name:
                return column
        raise ProjectError(f"the contract has no column {name!r}")

    @property
    def target(self) -> Column:
        """The column to predict."""
        return next(column for column in self.columns if column.role == "target")

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns a model may use, in the order of the contract."""
        return tuple(column for column in self.columns if column.role == "feature")

    @property
    def time(self) -> Column | None:
        """The column that says when a row was observed."""
        return next((column for column in self.columns if column.role == "time"), None)

    @property
    def entity(self) -> Column | None:
        """The column that says whom or what a row is about."""
        return next((column for column in self.columns if column.role == "entity"), None)

    @property
    def keys(self) -> tuple[Column, ...]:
        """The columns that say which row it is: primary key, entity and time."""
        others = (column.name for column in (self.entity, self.time) if column)
        return tuple(map(self.column, dict.fromkeys((*self.primary_key, *others))))

    @property
    def served(self) -> tuple[Column, ...]:
        """What callers send: the features, and the row's time where a date's age depends on it."""
        dated = any(column.kind in ("date", "timestamp") for column in self.features)
        return self.features + ((self.time,) if self.time and dated else ())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that a model depends on: features in order, and the target."""
        features = [
            [c.name, c.kind, c.levels, c.formats]
            + ["decimal comma"] * c.decimal_comma
            + ["thousands comma"] * c.thousands_comma
            for c in self.served
        ]
        target = self.target
        told = [target.name, target.kind, *target.learnt(), target.definition]
        hashed = [[column.name for column in self.columns if column.pseudonym]]
        whole = [features, told] + (hashed if hashed[0] else [])
        return sha256_text(msgspec.json.encode(whole).decode())


def read(path: Path) -> Contract:
    """Read a contract; the first thing wrong with it is a ProjectError that names the column."""
    content = path.read_bytes() if path.is_file() else b""
    contract, problems = _interpret(_load(path, content))
    if problems or contract is None:
        more = f" ({len(problems) - 1} more: ml contract check)" if len(problems) > 1 else ""
        raise ProjectError(f"{path.name}: {problems[0]}{more}")
    columns = coded.known(path.parent, contract.columns)
    text = content.decode("utf-8")
    return msgspec.structs.replace(contract, columns=columns, text=text)


def lint(path: Path) -> list[str]:
    """Return every problem of a contract file, one line each; an empty list means it is good.

    Checks the published JSON schema of the standard first, then the rules of this project.
    """
    try:
        content = _load(path)
        consent.of(path)
        sources.of(path)
        sources.access(path)
    except ProjectError as error:
        return [str(error)]
    schema = list(_schema_problems(content))
    return schema or _interpret(content)[1]


def written_down(path: Path) -> list[str]:
    """Return what stands of the values of personal columns in a contract file, one line each.

    A contract is committed: git keeps such values for good. The labels of a target are needed.
    """
    found = []
    for item in msgspec.convert(_load(path), _Document).schema[0].properties:
        column = _column(item)
        if not column.personal or column.role == "target":
            continue
        values = {
            "validValues": column.levels,
            "examples": item.examples,
            "minimum": column.minimum,  # 0 is nobody's
            "maximum": column.maximum,
            "mean and std in observed": (column.mean or 0) or column.std,
            "values in its reasons": any(
                " such as " in str(c.value)
                for c in item.custom_properties
                if c.property == "reasons"
            ),
            "values in its description": re.search(r" values from .+ to ", item.description),
        }
        if there := [name for name, value in values.items() if value]:
            found.append(
                f"column {column.name} is personal, but its {', '.join(there)} stand in a file "
                "that is committed: remove them, or decide that they name nobody"
            )
    return found


def lacking(path: Path, added: Sequence[str]) -> str:
    """Say which columns that columns.py adds the contract has no place for, or ""."""
    if not added:
        return ""
    names = {column.name for column in read(path).columns}
    absent = [name for name in added if name not in names]
    return (
        f"columns.py adds {', '.join(map(repr, absent))}, which the contract does not have: give "
        f"it a column in {path.name}, or draft it anew with `ml contract infer`"
        if absent
        else ""
    )


def contradiction(contract: Contract, answers: dict[str, Any]) -> str:
    """Say which answers of the plan name other columns, and the command that mends it, or ""."""
    roles = {"target": contract.target, "entity": contract.entity, "time_column": contract.time}
    columns = {role: column.name if column else "" for role, column in roles.items()}
    other = {role: name for role, name in columns.items() if name != answers[role]}
    if not other:
        return ""
    told = "; ".join(
        f"{role} is {name or 'none'}, not {answers[role] or 'none'}" for role, name in other.items()
    )
    better = {role: usable(name, role) if name else "" for role, name in other.items()}
    odd = [f"{name!r} to {better[role]}" for role, name in other.items() if name != better[role]]
    if other.get("entity") == "" and answers.get("entity_repeats"):
        better["entity_repeats"] = "no"
    changed = {role: name for role, name in better.items() if name != answers[role]}
    data = " ".join(f"--data {role}={name}" for role, name in changed.items())
    mend = f"change the plan with `ml update {data}`, or correct the contract"
    if odd:
        mend = (
            f"rename {' and '.join(odd)} in the data (a CSV: in its first line), as a name has "
            "letters a to z, digits and _, at most 60, and is no Python keyword; draft again"
            + (f", then `ml update {data}`" if data else "")
        )
    return f"contract and plan differ ({told}): {mend}"


def of_nobody(contract: Contract, answers: dict[str, Any]) -> str:
    """Say that columns are personal though the plan says that no row is about a person, or ""."""
    people = [column.name for column in contract.columns if column.personal]
    if not people or answers.get("personal_data", True):
        return ""
    more = f" and {len(people) - 3} more" if len(people) > 3 else ""
    return (
        f"{', '.join(people[:3])}{more}: classified as personal, but personal_data of the plan is "
        "no, so that no duty of data about people is in it: `ml update --data personal_data=yes`, "
        "or take the classification away"
    )


def usable(name: str, role: str) -> str:
    """Return a column's name when an answer of the plan may name it, else one that is like it.

    `role` is target, entity or time_column: Kündigung becomes kuendigung, class target_class.
    """
    taken = {*INTERNAL, *(SCORED if role != "target" else ())}
    if re.fullmatch(r"[A-Za-z_]\w{,59}", name, re.A) and not iskeyword(name) and name not in taken:
        return name
    plain = re.sub(r"\W+", "_", in_ascii(name))[:60].strip("_")
    known = re.match(r"[a-z]", plain) and not iskeyword(plain) and plain not in taken
    return plain if known else f"{role}_{plain}"[:60].strip("_")


def in_ascii(name: str) -> str:
    """Return a name in small letters of ASCII: Kündigung becomes kuendigung."""
    letters = unicodedata.normalize("NFC", name).lower().translate(PLAIN)
    return unicodedata.normalize("NFKD", letters).encode("ascii", "ignore").decode()


def definition_columns(definition: str) -> list[str]:
    """Return the names of the columns that a target definition uses, sorted.

    `definition` is a SQL expression such as `arr_delay > 15`; ProjectError when it is not one.
    """
    import polars as pl

    try:
        return sorted(set(pl.sql_expr(definition).meta.root_names()))
    except (pl.exceptions.PolarsError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ProjectError(f"definition {definition!r} is not a SQL expression: {reason}") from None


def leaking_columns(definition: str | None) -> list[str]:
    """Return the columns that are no features because the target's definition uses them."""
    return definition_columns(definition) if definition and target_fields.LEAKS else []


# The part of the standard that is read.
class _Custom(msgspec.Struct):
    property: str
    value: Any


class _Quality(msgspec.Struct):
    metric: str = ""
    arguments: dict[str, Any] = {}
    severity: Severity = "error"


class _Property(msgspec.Struct, rename="camel"):
    name: str
    logical_type: Literal["number", "integer", "boolean", "string", "date", "timestamp"]
    required: bool = False
    unique: bool = False
    primary_key: bool = False
    primary_key_position: int = -1
    logical_type_options: dict[str, Any] = {}
    classification: str = ""
    examples: Any = None
    description: str = ""
    transform_logic: str | None = None
    quality: list[_Quality] = []
    custom_properties: list[_Custom] = []


class _Schema(msgspec.Struct):
    name: str
    properties: list[_Property]


class _Document(msgspec.Struct, rename="camel"):
    version: str
    schema: list[_Schema]


class _Observed(msgspec.Struct, rename="camel"):
    mean: float | None = None
    std: float | None = None
    missing_share: float = 0.0
    effect: Effect = ""


class _Extras(target_fields.Custom, kw_only=True, rename="camel"):
    role: Role
    unit: str = ""
    date_formats: tuple[str, ...] = ()
    decimal_comma: bool = False
    thousands_comma: bool = False
    free_text: bool = False
    controlled: bool = False
    purpose: str = ""
    legal_basis: Basis | None = None
    pseudonym: bool = False
    observed: _Observed = msgspec.field(default_factory=_Observed)
    reasons: tuple[str, ...] = ()


def _load(path: Path, content: bytes | None = None) -> dict[str, Any]:
    if not path.is_file():
        raise ProjectError(
            f"no contract at {path}: make one with `ml contract infer`, or name it "
            "in config.yaml: `data: {contract: contracts/dataset.odcs.yaml}`"
        )
    return load_yaml(path, content)


def _schema_problems(content: Any) -> Iterator[str]:
    from jsonschema import Draft201909Validator  # type: ignore[import-untyped]
    from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

    schema = json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text())
    deepest: dict[Any, tuple[int, str]] = {}  # one problem for one field of one column
    for error in Draft201909Validator(schema).iter_errors(content):
        cause = best_match([error]) or error
        path = list(cause.absolute_path)
        message = f"{_place(content, path)}: {cause.message[:200]}"
        field = tuple(path[:5]) if len(path) > 3 else message
        deepest[field] = max(deepest.get(field, (0, "")), (len(path), message))
    yield from (message for _, message in deepest.values())


def _place(content: Any, path: list[str | int]) -> str:
    """Name the column, where a path into the document leads to one."""
    if path[:1] == ["schema"] and path[2:3] == ["properties"] and len(path) > 3:
        column = content["schema"][path[1]]["properties"][path[3]]
        name = column.get("name") if isinstance(column, dict) else None
        path = [f"column {path[3] if name is None else name}", *path[4:]]
    return ": ".join(map(str, path)) or "contract"


def _interpret(content: Any) -> tuple[Contract | None, list[str]]:
    """Return the contract, unless its structure is unreadable, and what is wrong with it."""
    try:
        document = msgspec.convert(content, _Document)
    except msgspec.ValidationError as error:
        message, where = explained(error, _Document)
        steps = [int(step) if step.isdigit() else step for step in re.findall(r"\w+", where)]
        return None, [f"{_place(content, steps)}: {message}"]
    if len(document.schema) != 1:
        return None, [f"schema: expected one table, found {len(document.schema)}"]
    table = document.schema[0]
    columns, problems = [], []
    for item in table.properties:
        problems += [f"column {item.name}: {problem}" for problem in _unsupported(item)]
        try:
            columns.append(_column(item))
        except msgspec.ValidationError as error:
            problems.append(f"column {item.name}: customProperties: {told(error, _Extras)}")
    keys = [item for item in table.properties if item.primary_key]
    contract = Contract(
        name=table.name,
        version=document.version,
        columns=tuple(target_fields.joined(columns)),
        primary_key=tuple(k.name for k in sorted(keys, key=lambda k: k.primary_key_position)),
    )
    return contract, problems or list(_problems(contract))


def _column(item: _Property) -> Column:
    extras = msgspec.convert({c.property: c.value for c in item.custom_properties}, _Extras)
    levels = item.quality[0] if item.quality else _Quality()
    values = levels.arguments.get("validValues")
    values = values if isinstance(values, list) else []  # else `_unsupported` says so
    return Column(
        name=item.name,
        kind=kinds.of(item.logical_type, item.logical_type_options, extras.free_text),
        role=extras.role,
        required=item.required,
        unique=item.unique,
        minimum=item.logical_type_options.get("minimum"),
        maximum=item.logical_type_options.get("maxLength" if extras.free_text else "maximum"),
        levels=tuple(level(value) for value in values if isinstance(value, str)),
        levels_severity=levels.severity,
        formats=extras.date_formats,
        decimal_comma=extras.decimal_comma,
        thousands_comma=extras.thousands_comma,
        personal=item.classification.strip().lower() in PERSONAL,
        pseudonym=extras.pseudonym,
        controlled=extras.controlled,
        purpose=extras.purpose.strip(),
        legal_basis=extras.legal_basis,
        definition=item.transform_logic,
        mean=extras.observed.mean,
        std=extras.observed.std,
        missing_share=extras.observed.missing_share,
        effect=extras.observed.effect,
        description=item.description,
        unit=extras.unit.strip(),
        reasons=extras.reasons,
        **extras.fields(),
    )


def _unsupported(item: _Property) -> Iterator[str]:
    """Refuse what the standard allows and this project does not check, rather than ignore it."""
    for option, value in item.logical_type_options.items():
        if option in ("minimum", "maximum") and item.logical_type in ("number", "integer"):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value):
                yield f"{option} {value!r} is not a number"
        elif option == "maxLength" and _is_text(item):
            if type(value) is not int or value < 1:
                yield f"maxLength {value!r} is no number of characters"
        elif option != "format":
            yield f"logicalTypeOptions {option} is not checked here: remove it"
    for quality in item.quality:
        levels = quality.arguments.get("validValues")
        if quality.metric != "invalidValues" or not isinstance(levels, list):
            yield "quality: only one invalidValues with a list of validValues is checked here"
        elif not all(isinstance(level, str) and level for level in levels):
            yield "validValues: put each level in quotes (YAML reads yes as true, 1 as a number)"


def _is_text(item: _Property) -> bool:
    said = {c.property: c.value for c in item.custom_properties}
    return item.logical_type == "string" and said.get("freeText") is True


def _problems(contract: Contract) -> Iterator[str]:
    """Apply the rules of this project to a contract whose structure is good."""
    if not re.fullmatch(r"\w[\w.-]*", contract.name):
        yield f"schema: {contract.name!r} names files: letters, digits and . _ - only"
    for name, times in Counter(column.name for column in contract.columns).items():
        if times > 1:
            yield f"column {name}: given {times} times"
    roles = Counter[str](column.role for column in contract.columns)
    for role in ("target",) if task.HAS_PAST else ("target", "feature"):
        if not roles[role]:
            yield f"no column has role {role}"
    for role in ("target", "entity", "time"):
        if roles[role] > 1:
            yield f"{roles[role]} columns have role {role}: only one may"
    for column in contract.columns:
        for problem in (*_column_problems(column, contract), *_target_problems(column, contract)):
            yield f"column {column.name}: {problem}"


def _column_problems(column: Column, contract: Contract) -> Iterator[str]:
    low, high, kind = column.minimum, column.maximum, column.kind
    doubled = [level for level, times in Counter(column.levels).items() if times > 1]
    dated, key = kind in ("date", "timestamp"), column.name in contract.primary_key
    for form in column.formats:
        if form in EPOCHS:
            if kind != "timestamp":
                yield f"dateFormats: {form} needs timestamp, not {kind}"
        elif not _dates(form):
            yield (
                f"dateFormats: {form!r} reads no day: a format of strptime has year, month and "
                "day, such as '%d.%m.%Y'"
            )
    for broken, problem in (
        (not column.name.strip(), "it has no name"),
        (column.name in INTERNAL, "the project needs this name itself: rename it in the data"),
        (
            column.name in SCORED and (key or column.role in ("entity", "time")),
            "scored files have a column of this name beside the keys: rename it in the data",
        ),
        (
            column.role == "feature" and re.search(UNSERVED, column.name),
            "a feature is served by its name: rename it without quotes, backslashes and the like",
        ),
        (low is not None and high is not None and low > high, "minimum is above maximum"),
        (column.levels and kind != "category", f"validValues need string, not {kind}"),
        (doubled, f"validValues repeat {', '.join(doubled)}"),
        (column.formats and not dated, f"dateFormats need date or timestamp, not {kind}"),
        (
            column.decimal_comma and kind not in ("number", "integer"),
            f"decimalComma needs number or integer, not {kind}",
        ),
        (
            column.thousands_comma and (column.decimal_comma or kind not in ("number", "integer")),
            f"thousandsComma needs number or integer and no decimalComma, not {kind}",
        ),
        (
            column.legal_basis and not column.personal,
            "legalBasis is for data of people: add classification: personal, or take it out",
        ),
        (
            column.pseudonym and not column.personal,
            "pseudonym is for data of people: add classification: personal, or take it out",
        ),
        (
            column.pseudonym and (kind != "category" or column.levels or column.role not in HASHED),
            "a pseudonym is a text that no model reads: it needs string, the role entity or "
            "excluded, and no validValues",
        ),
        (column.role == "time" and not dated, f"role time needs date or timestamp, not {kind}"),
        (
            column.role == "entity" and kind not in ("integer", "category"),
            f"role entity needs string or integer, not {kind}",
        ),
        (
            kind in READ and column.role not in ("feature", "excluded"),
            f"{READ.get(kind)} is for features, not for role {column.role}",
        ),
        (kind in READ and key, f"{READ.get(kind)} cannot be part of the primary key"),
        (not 0 <= column.missing_share <= 1, "missingShare is not between 0 and 1"),
        (
            key and not column.required,
            "it is part of the primary key, so it needs required: true",
        ),
    ):
        if broken:
            yield problem


def _dates(form: str) -> bool:
    """Whether a format of strptime reads the day that it writes."""
    known = {*re.findall(r"%\.f|%#?.|%$", form)}
    if known <= DIRECTIVES.keys() and {"%d", "%Y"} <= known and known & {"%m", "%b", "%B"}:
        return True  # as nearly all are: no library is loaded to see it
    import polars as pl

    day = pl.Series(["2031-12-28T13:45:06"]).str.to_datetime(time_zone="UTC")
    try:
        written = day.dt.strftime(form)
        read = pl.Series([*written]).str.to_datetime(form, strict=False)
    except (pl.exceptions.PolarsError, TypeError):
        return False
    return [*read.dt.date()] == [*day.dt.date()]


def _target_problems(column: Column, contract: Contract) -> Iterator[str]:
    if column.role != "target":
        if column.definition is not None:
            yield "transformLogic is for the target only"
        return
    yield from target_fields.problems(column, column.kind, column.levels)
    try:
        used = definition_columns(column.definition) if column.definition is not None else []
    except ProjectError as error:
        used = []
        yield str(error)
    roles = {other.name: other.role for other in contract.columns}
    for name in used:
        if roles.get(name, "target") == "target":
            yield f"its definition uses {name!r}, which is no other column of the contract"
        elif roles[name] == "feature" and target_fields.LEAKS:
            yield f"its definition uses {name!r}: as a feature it gives the target away"
