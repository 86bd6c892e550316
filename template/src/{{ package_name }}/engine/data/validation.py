"""Check a table against the data contract: typed good rows, and bad rows with their reasons."""

import io
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import polars as pl

from .. import privacy, progress, storage, task
from ..dialect import (
    BOOLEANS,
    DECIMAL_COMMA,
    EPOCHS,
    ISO,
    LONG_LEVEL,
    MISSING,
    NO_CLASS,
    SPACES,
    THOUSANDS,
    THOUSANDS_COMMA,
    WHOLE,
    pattern,
    text,
)
from ..errors import CheckFailed, ProjectError
from ..formats import number, percent
from ..keys import pseudonym, secret
from ..kinds import READ
from ..model import coded
from ..parquet import scan
from ..settings import Keep, Project
from . import contract as contracts
from . import course, texts, whole
from . import target as targets
from .contract import WITHHELD, Column, Contract
from .sources import MANIFEST

if TYPE_CHECKING:  # it comes with the runtime of the model
    from ..model.values import ServedColumn

MIN_ROWS = 50
SEALS = "data/processed/sha256.json"
SNAPSHOTS = "data/raw/"
LARGEST = 3.4028234663852886e38  # of float32, in which models calculate
DTYPES: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "integer": pl.Int64(),
    "boolean": pl.Boolean(),
    "category": pl.String(),
    "date": pl.Date(),
    "timestamp": pl.Datetime("us"),
    **dict.fromkeys(READ, pl.String()),
}
ISO_FORMATS = {
    "date": ("%Y-%m-%d",),
    "timestamp": (
        *("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M", "%Y-%m-%d"),
        "%Y-%m-%dT%H:%M%#z",
    ),
}

NOT_UNIQUE = "not unique"


@dataclass(frozen=True)
class Validation:
    """The result of one pass; `rules` and `warnings` count rows by "column: rule"."""

    valid: pl.DataFrame  # the contract's columns, typed
    rejected: pl.DataFrame  # the raw rows and `_rules`, a list of "column: rule"
    rules: dict[str, int]
    warnings: dict[str, int]
    missing_share: dict[str, float]
    duplicates: int  # rows equal to an earlier row in every column of the contract
    unlabelled: int  # rows in `rejected` for nothing but a missing target


class Checked(NamedTuple):
    """A column in the contract's type, null where missing or unreadable.

    `present` says where there is a value; `broken` are the rules that at least one row breaks, each
    with its rows.
    """

    values: pl.Series
    present: pl.Series
    broken: list[tuple[str, pl.Series]]


class _Snapshot(msgspec.Struct):
    file: str
    sha256: str
    made_up: bool = False
    added: tuple[str, ...] = ()
    without_consent: int = 0


class _Report(msgspec.Struct):
    made_up: bool = False


def apply(
    contract: Contract, frame: pl.DataFrame, *, labelled: bool = True, keep: Keep = "first"
) -> Validation:
    """Validate `frame`; a column that is missing or unreadable as a whole is a ProjectError.

    Of rows with one key the `keep` one stays, or none where they differ. With `labelled=False` the
    frame is new data: it needs the features only. Where the task learns from rows without a target
    too, these stay, and its column may be missing.
    """
    needed = needed_roles(contract, labelled)
    typed: dict[str, pl.Series] = {}
    errors: dict[str, pl.Series] = {}
    warnings = {
        f"{name}: not in the contract": frame.height
        for name in frame.columns
        if name not in {column.name for column in contract.columns}
    }
    missing = {}
    nothing = unlabelled = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    # The target comes last, because its definition may use any other column.
    for column in sorted(contract.columns, key=lambda column: column.role == "target"):
        name = column.name
        progress.tell("checking columns", len(typed) + 1, len(contract.columns))
        if name in frame.columns:
            raw = frame[name]
        elif column.role == "target" and column.definition and labelled:
            raw = _defined(column, pl.DataFrame(typed))
        elif column.role in needed:
            raise ProjectError(
                f"column {name!r} is missing from the data ({column.role} in the contract): "
                "add it to the source (data.source in config.yaml), or change the contract"
            )
        else:
            if labelled:
                warnings[f"{name}: missing column"] = frame.height
            typed[name] = pl.repeat(None, frame.height, dtype=DTYPES[column.kind], eager=True)
            continue
        is_label = column.role == "target" and "target" in needed
        required = column.role != "target" and (column.required or name in contract.primary_key)
        typed[name], present, broken = check(raw, column, required=required)
        missing[name] = int((~present).sum()) / max(1, frame.height)
        if is_label:
            unlabelled = ~present
        _refuse_broken(column, raw, present, typed[name], required or is_label)
        for rule, mask in broken:
            if rule == "levels" and column.levels_severity == "warning":
                warnings[f"{name}: {rule}"] = int(mask.sum())
            else:
                errors[f"{name}: {rule}"] = mask
    table = pl.DataFrame({column.name: typed[column.name] for column in contract.columns})
    bad = reduce(or_, errors.values(), nothing)
    keys = [(contract.primary_key, "duplicate key")] if contract.primary_key else []
    alone = (column for column in contract.columns if column.unique)
    keys += [((c.name,), NOT_UNIQUE) for c in alone if (c.name,) != contract.primary_key]
    for names, rule in keys:
        errors |= _repeated(table, names, rule, ~(bad | unlabelled), keep)
    bad = reduce(or_, errors.values(), nothing)
    reasons = errors | {f"{contract.target.name}: missing": unlabelled}
    out = bad | unlabelled
    counts = {rule: int(mask.sum()) for rule, mask in errors.items()}
    duplicates = table.height - table.hash_rows().n_unique()
    rejected = frame.filter(out).with_columns(_reasons(reasons, out))
    good = ~out
    del frame, table  # so that memory does not hold the table twice
    columns = (column.name for column in contract.columns)
    valid = pl.DataFrame({name: typed.pop(name).filter(good) for name in columns})
    return Validation(
        valid=valid,
        rejected=rejected,
        rules=dict(sorted(counts.items(), key=lambda item: -item[1])),
        warnings=warnings,
        missing_share=missing,
        duplicates=duplicates,
        unlabelled=int((unlabelled & ~bad).sum()),
    )


def needed_roles(contract: Contract, labelled: bool) -> set[str]:
    """Return the roles whose columns the data must have."""
    needed = {"feature", "entity", "time"} if labelled else {"feature"}
    if labelled and task.LABELS_NEEDED:
        needed.add("target")
    return needed | ({"time"} if contract.time in contract.served else set())


def labels(contract: Contract, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the typed target of each row, null where it is missing or cannot be read.

    The frame needs no other columns; ProjectError when it says nothing of the target.
    """
    target = contract.target
    if target.name in frame.columns:
        raw = frame[target.name]
    else:
        needed = contracts.definition_columns(target.definition) if target.definition else []
        if lacking := [name for name in needed or [target.name] if name not in frame.columns]:
            raise ProjectError(f"column {lacking[0]!r} is missing: it says the {target.name}")
        typed = {name: parse(frame[name], contract.column(name)) for name in needed}
        raw = _defined(target, pl.DataFrame(typed))
    return check(raw, target, required=False).values.alias(target.name).to_frame()


def run(project: Project) -> dict[str, Any]:
    """Validate the raw snapshot; write valid and rejected rows and reports/data_quality.json.

    A line of reports/quality.jsonl tells of each load, also of one that failed.

    CheckFailed when too many rows are rejected or too little is left to learn from; the last
    valid rows then stay as they were.
    """
    contract = contracts.read(project.contract_path)
    progress.tell("reading the snapshot")
    manifest = project.path(MANIFEST)
    if not manifest.exists():
        raise ProjectError("no data yet: run `ml ingest` first")
    snapshot = storage.read_json(manifest, _Snapshot)
    path = project.path(snapshot.file)
    content, digest = storage.read_hashed(path) if path.is_file() else (b"", "")
    if digest != snapshot.sha256:
        raise ProjectError(f"{snapshot.file} is missing or was changed: run `ml ingest` again")
    keep = project.config.data.repeated_keys
    result = apply(contract, scan(content, known=True).collect(), keep=keep)
    result.warnings.update(targets.doubts(result.valid, contract.target))
    result.warnings.update(texts.doubts(result.valid, contract))
    judged_by = storage.sha256_text(contract.text) + (keep if keep != "first" else "")
    report = {
        "run": storage.sha256_text(snapshot.sha256 + judged_by)[:12],
        "data_sha256": snapshot.sha256,
        "made_up": snapshot.made_up,
        "added": snapshot.added,
        "without_consent": snapshot.without_consent,
        **summary(contract, result),
    }
    if result.unlabelled:
        told = f"{number(result.unlabelled)} of {number(report['rows'])} rows have no target"
        told += ": nothing is learnt from them"
        is_named = contract.target.kind == "category" and not contract.target.definition
        report["doubts"] = [f"{told}; {NO_CLASS}" if is_named else told]
    report["failures"] = _failures(contract.target, result, project.config.data.max_rejected_share)
    store(project, "data/quarantine/rejected.parquet", result.rejected)
    report["since"] = course.add(project, report, judged_by)
    storage.write_json(project.path("reports/data_quality.json"), report)
    if report["failures"]:
        raise CheckFailed("; ".join(report["failures"]))
    target = contract.target
    coded.add(project.contract_path.parent, target, result.valid[target.name])
    store(project, "data/processed/valid.parquet", result.valid)
    tables = {n: one for n, one in seals(project).items() if not n.startswith(SNAPSHOTS)}
    storage.write_json(project.path(SEALS), tables | {snapshot.file: snapshot.sha256})
    return report


def origin(project: Project, valid: str) -> dict[str, str]:
    """Return what a bundle notes of its rows: the SHA-256 of the valid ones and of their snapshot.

    The report does not know: it may be of a snapshot that failed, while these rows stayed.
    """
    came = (one for name, one in seals(project).items() if name.startswith(SNAPSHOTS))
    return {"data_sha256": valid, "snapshot_sha256": next(came, "")}


def made_up(project: Project) -> bool:
    """Whether the valid rows are those of the made-up sample, which prove nothing of the case."""
    path = project.path("reports/data_quality.json")
    return path.exists() and storage.read_json(path, _Report).made_up


def parquet(frame: pl.DataFrame) -> bytes:
    """Return a table as Parquet, in row groups that do not depend on the number of cores."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, row_group_size=100_000)
    return buffer.getvalue()


def store(project: Project, name: str, frame: pl.DataFrame) -> str:
    """Write a table for `stored`, with its SHA-256 in data/processed/sha256.json; return that."""
    return keep(project, name, parquet(frame))


def keep(project: Project, name: str, content: bytes) -> str:
    """Write the content of `parquet` for `stored`, as `store` does."""
    digest = storage.sha256_bytes(content)
    storage.write_bytes(project.path(name), content)
    storage.write_json(project.path(SEALS), seals(project) | {name: digest})
    return digest


def stored(
    project: Project, name: str, mend: str, contract: Contract | None = None
) -> pl.DataFrame:
    """Read a table that a command left, such as data/processed/valid.parquet.

    ProjectError when it is missing, damaged or not as it was written; CheckFailed when it has other
    columns or types than `contract`; both end with `mend`.
    """
    return stored_hashed(project, name, mend, contract)[0]


def stored_hashed(
    project: Project, name: str, mend: str, contract: Contract | None = None
) -> tuple[pl.DataFrame, str]:
    """Return what `stored` does, and the SHA-256 of the bytes that were read."""
    try:
        content, digest = storage.read_hashed(project.path(name))
    except FileNotFoundError:
        raise ProjectError(f"no {name} yet: {mend}") from None
    seal = seals(project).get(name)
    if seal not in (None, digest):
        raise ProjectError(f"{name} is damaged or was changed since it was written: {mend}")
    try:
        frame = scan(content, known=seal is not None).collect()
    except pl.exceptions.PolarsError:
        raise ProjectError(f"{name} is damaged: {mend}") from None
    if contract:
        check_columns(frame, name, mend, contract)
    return frame, digest


def counted(project: Project) -> int:
    """Return how many valid rows there are, as the head of their file says."""
    rows = scan(project.path("data/processed/valid.parquet"), known=True).select(pl.len())
    return int(rows.collect().item())


def check_columns(frame: pl.DataFrame, name: str, mend: str, contract: Contract) -> None:
    """CheckFailed when a stored table has other columns or types than `contract`."""
    there = {name: dtype for name, dtype in frame.schema.items() if name != WITHHELD}
    if there != {c.name: DTYPES[c.kind] for c in contract.columns}:
        raise CheckFailed(f"{name} has other columns or types than the contract: {mend}")


def seals(project: Project) -> dict[str, str]:
    """Return the SHA-256 of each table that `store` wrote, by its name."""
    path = project.path(SEALS)
    return storage.read_json(path, dict[str, str]) if path.exists() else {}


def summary(contract: Contract, result: Validation) -> dict[str, Any]:
    """Return the counts of data_quality.json; shares and the score lie in 0..1.

    The score is the share of rows without a data error times the mean completeness of features.
    """
    rejected = result.rejected.height - result.unlabelled
    rows = result.valid.height + result.rejected.height
    gaps = [result.missing_share[column.name] for column in contract.features]
    complete = 1 - sum(gaps) / max(1, len(gaps))
    return {
        "rows": rows,
        "valid": result.valid.height,
        "rejected": rejected,
        "rejected_share": rejected / max(1, rows),
        "unlabelled": result.unlabelled,
        "duplicates": result.duplicates,
        "rules": result.rules,
        "warnings": result.warnings,
        "missing_share": result.missing_share,
        "span_days": _span_days(contract, result.valid),
        "oldest": _oldest(contract, result.valid),
        "score": (1 - rejected / max(1, rows)) * complete,
        "contract_sha256": contract.fingerprint,
    }


def _span_days(contract: Contract, valid: pl.DataFrame) -> float | None:
    """Return the days between the first and the last row; None without a time column or rows."""
    if contract.time is None:
        return None
    time = pl.col(contract.time.name)
    seconds = valid.select((time.max() - time.min()).dt.total_seconds()).item()
    return None if seconds is None else seconds / 86400


def _oldest(contract: Contract, valid: pl.DataFrame) -> str | None:
    """Return the day of the first row; None without a time column that may be told, or rows."""
    if contract.time is None or privacy.hidden(contract.time):
        return None
    first = valid[contract.time.name].cast(pl.Date).min()
    return None if first is None else str(first)


def _failures(target: Column, result: Validation, limit: float) -> list[str]:
    valid, rejected = result.valid.height, result.rejected.height - result.unlabelled
    rows = valid + result.rejected.height
    found = []
    if rejected > limit * rows:
        rule, count = next(iter(result.rules.items()))
        found.append(
            f"{percent(rejected / rows)} of {number(rows)} rows were rejected, more than "
            f"{percent(limit)}; most often `{rule}` ({number(count)} rows): "
            "see data/quarantine/rejected.parquet, then mend the source or the contract, or raise "
            "data.max_rejected_share in config.yaml"
        )
    if valid < MIN_ROWS:
        found.append(
            f"{number(valid)} of {number(rows)} rows are usable ({number(rejected)} rejected, "
            f"{number(result.unlabelled)} without a target): bring more, at least "
            f"{MIN_ROWS} are needed"
        )
    elif fault := targets.fault(result.valid, target):
        found.append(fault)
    return found


def check(raw: pl.Series, column: "Column | ServedColumn", *, required: bool) -> Checked:
    """Read the values of a column and find the rows that break its rules."""
    raw = _levels(raw) if column.kind == "category" else without_words(raw)
    present, values = _present(raw, column.kind), parse(raw, column)
    masks = {"type": present & values.is_null()}
    if required:
        masks["required"] = ~present
    if column.kind == "number":
        masks["infinite"] = values.abs() > LARGEST
    if column.kind == "text":
        masks["NUL"] = values.str.contains("\x00", literal=True)
        if column.maximum is not None:
            masks["length"] = values.str.len_chars() > column.maximum
    elif column.kind in READ:
        masks |= whole.broken(values, column.kind)
    elif column.minimum is not None:
        masks["minimum"] = values < column.minimum
    if column.maximum is not None and column.kind not in READ:
        masks["maximum"] = values > column.maximum
    if column.levels:
        masks["levels"] = ~values.cast(pl.String).is_in(column.levels)
    filled = ((rule, mask.fill_null(False)) for rule, mask in masks.items())
    return Checked(values, present, [(rule, mask) for rule, mask in filled if mask.any()])


def _present(raw: pl.Series, kind: str) -> pl.Series:
    if raw.dtype == pl.String:
        raw = raw.str.strip_chars(SPACES)  # " " is no number
        return raw.is_not_null() & (raw != "").fill_null(False)
    if raw.dtype.is_float():
        return raw.is_not_null() & raw.is_not_nan().fill_null(False)
    return raw.is_not_null()


def without_words(raw: pl.Series) -> pl.Series:
    """Return texts with null for the words that mean a missing value, other columns as they are."""
    if raw.dtype in (pl.Categorical, pl.Enum):
        raw = raw.cast(pl.String)
    # Looking first takes less than a copy of a column without such words, in time and memory.
    has_words = raw.dtype == pl.String and raw.is_in(MISSING).any()
    return raw.replace(MISSING, None) if has_words else raw


def _levels(raw: pl.Series) -> pl.Series:
    """Return texts without the blanks around them, null where nothing or a word for it is left."""
    raw = without_words(raw)
    return without_words(raw.str.strip_chars(SPACES)) if raw.dtype == pl.String else raw


def parse(raw: pl.Series, column: "Column | ServedColumn") -> pl.Series:
    """Return the values in the contract's type, null where they cannot be read.

    Of a column of pseudonyms they are these, whatever stands in the table.
    """
    values = _parsed(raw, column)
    return _pseudonyms(values, column.name) if column.pseudonym else values


def _pseudonyms(values: pl.Series, column: str) -> pl.Series:
    key, different = secret(), values.drop_nulls().unique()
    made = [pseudonym(text, key, column) for text in different.to_list()]
    return values.replace_strict(different, made, default=None, return_dtype=pl.String)


def _parsed(raw: pl.Series, column: "Column | ServedColumn") -> pl.Series:
    kind, dtype = column.kind, DTYPES[column.kind]
    raw = _levels(raw) if kind == "category" else without_words(raw)
    is_text = raw.dtype == pl.String
    if kind in ("category", *READ):
        raw = _written(raw)
    if kind in READ and not (raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Duration)):
        texts = raw.cast(dtype)
        return texts.set(texts.str.strip_chars() == "", None)
    if kind == "category" and not (raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Duration)):
        texts = raw.cast(dtype)
        # The first look costs nothing beside the pattern.
        has_whole = texts.str.ends_with("0").any() and texts.str.contains(LONG_LEVEL).any()
        return texts.str.replace(LONG_LEVEL, "${1}${2}${3}") if has_whole else texts
    if kind in ("date", "timestamp"):
        if is_text:
            return _moments(raw.str.strip_chars(SPACES), column)
        if raw.dtype in (pl.Date, pl.Datetime):
            zoned = getattr(raw.dtype, "time_zone", None)
            utc = raw.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else raw
            days = utc.cast(dtype)
            # As of texts, only a midnight is a day: 2024-01-31T23:00 is not silently the 31st.
            return days if kind == "timestamp" else days.set(utc != days.cast(utc.dtype), None)
        if raw.dtype.is_numeric() and {*column.formats} & EPOCHS.keys():
            return _moments(raw.cast(pl.Int64, strict=False).cast(pl.String), column)
    elif kind == "boolean" and raw.dtype == pl.Boolean:
        return raw
    elif is_text or raw.dtype.is_numeric():
        raw = _with_point(raw) if column.decimal_comma and is_text else raw
        raw = _without_commas(raw) if column.thousands_comma and is_text else raw
        return _numbers(raw, kind)
    return pl.repeat(None, len(raw), dtype=dtype, eager=True)


def _written(raw: pl.Series) -> pl.Series:
    """Return what Polars writes otherwise than others as text, anything else as it is."""
    if raw.dtype.is_float() or raw.dtype.is_decimal():
        return written(raw)
    if isinstance(raw.dtype, pl.Datetime):
        utc = raw.dt.convert_time_zone("UTC") if raw.dtype.time_zone else raw
        return utc.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if raw.dtype == pl.Time:
        return pl.Series([value if value is None else str(value) for value in raw], dtype=pl.String)
    return raw


def written(raw: pl.Series) -> pl.Series:
    """Return floats as the texts that JSON and CSV have for them."""
    numbers = raw.cast(pl.Float64).fill_nan(None) + 0.0
    different = numbers.drop_nulls().unique()
    texts = pl.Series([text(value) for value in different.to_list()], dtype=pl.String)
    return numbers.replace_strict(different, texts, default=None, return_dtype=pl.String)


def _with_point(raw: pl.Series) -> pl.Series:
    """Return numbers as "1.889,50" as "1889.50", any other text as it is."""
    text = raw.str.strip_chars(SPACES)
    plain = text.str.replace_all(THOUSANDS, "").str.replace(",", ".", literal=True)
    return plain.zip_with(text.str.contains(DECIMAL_COMMA), text)


def _without_commas(raw: pl.Series) -> pl.Series:
    """Return numbers as "1,889.50" as "1889.50", any other text as it is."""
    text = raw.str.strip_chars(SPACES)
    return text.str.replace_all(",", "").zip_with(text.str.contains(THOUSANDS_COMMA), text)


def _numbers(raw: pl.Series, kind: str) -> pl.Series:
    exact = None
    if kind == "integer" and (raw.dtype.is_integer() or raw.dtype == pl.String):
        exact = raw.cast(pl.Int64, strict=False)
        if exact.null_count() == raw.null_count():
            return exact
    if raw.dtype == pl.String:
        raw = raw.str.strip_chars(SPACES)
        if kind == "boolean":
            raw = raw.str.to_lowercase().replace({w: str(int(v)) for w, v in BOOLEANS.items()})
    numbers = raw.cast(pl.Float64, strict=False).fill_nan(None)
    if kind == "number":
        return numbers
    if kind == "boolean":
        known = {0.0: False, 1.0: True}
        return numbers.replace_strict(known, default=None, return_dtype=pl.Boolean)
    # "3.0" is a whole number too: tools write it once a column has gaps.
    whole = numbers.set((numbers.abs() >= WHOLE) | (numbers != numbers.floor()), None)
    rounded = whole.cast(pl.Int64, strict=False)
    return rounded if exact is None else exact.zip_with(exact.is_not_null(), rounded)


def _moments(text: pl.Series, column: "Column | ServedColumn") -> pl.Series:
    """Read each value by the first format that fits; years before 1000 are misread short ones."""
    found = pl.repeat(None, len(text), dtype=DTYPES[column.kind], eager=True)
    iso = text.set(~text.str.contains(ISO[column.kind]), None).str.to_uppercase()
    iso = iso.str.replace(" ", "T", literal=True)
    iso = iso.str.head(10) if column.kind == "date" else iso
    tried = [(iso, form) for form in ISO_FORMATS[column.kind]]
    tried += [(text.set(~text.str.contains(pattern(form)), None), form) for form in column.formats]
    for fitting, form in tried:
        if found.null_count() == text.null_count():
            break
        has_time = any(part in form for part in ("%H", "%I", "%T", "%R"))
        zone = "UTC" if "%z" in form or "%#z" in form else None
        unit = pl.Datetime("us", zone) if has_time else pl.Date()
        if form in EPOCHS:
            read = (fitting.cast(pl.Int64) * EPOCHS[form]).cast(pl.Datetime("us"))
        else:
            read = fitting.str.strptime(unit, form, strict=False)
        read = read.dt.replace_time_zone(None) if zone else read
        if "%y" in form:  # 69 is 1969 in POSIX, but not in Polars
            is_ours = (read.dt.year() != 2069).fill_null(True)
            read = read.zip_with(is_ours, read.dt.offset_by("-100y"))
        read = read.set(~read.dt.year().is_between(1000, 9999), None).cast(found.dtype)
        found = found.zip_with(found.is_not_null(), read)
    return found


def _repeated(
    table: pl.DataFrame, names: tuple[str, ...], rule: str, among: pl.Series, keep: Keep
) -> dict[str, pl.Series]:
    """Mark rows that repeat the key of another row, among rows that are good otherwise.

    Those that say the same as the row that stays are duplicates, the others are in conflict.
    """
    rows = table.select(names).with_row_index("_row").filter(among).drop_nulls()
    # Equal keys have equal hashes, which take less memory; only rows that share one are compared.
    rows = rows.filter(rows.select(names).hash_rows().is_duplicated())
    rows = rows.filter(pl.struct(names).is_duplicated())
    if not len(rows):
        return {}
    stays = pl.col("_row") == (pl.col("_row").max() if keep == "last" else pl.col("_row").min())
    rows = rows.with_columns(table[rows["_row"]].hash_rows().alias("_said"))
    rows = rows.with_columns(stays.over(names).alias("_stays"))
    told = pl.col("_said").filter(pl.col("_stays")).first().over(names)
    rows = rows.with_columns((pl.col("_said") != told).alias("_other"))
    if keep == "none":
        rows = rows.with_columns(pl.col("_other").any().over(names))
        rows = rows.with_columns(pl.col("_stays") & ~pl.col("_other"))
    out, other = ~pl.col("_stays"), pl.col("_other")
    broken = {rule: out & ~other, rule.replace("duplicate", "conflicting"): out & other}
    found = {}
    for what, which in ({rule: out} if rule == NOT_UNIQUE else broken).items():
        if len(places := rows.filter(which)["_row"]):
            mask = pl.int_range(table.height, dtype=pl.UInt32, eager=True).is_in(places.implode())
            found[f"{', '.join(names)}: {what}"] = mask
    return found


def _reasons(masks: dict[str, pl.Series], out: pl.Series) -> pl.Series:
    """Return the list of broken rules of each row that is out."""
    columns = {str(index): mask.filter(out) for index, mask in enumerate(masks.values())}
    marks = [pl.when(pl.col(str(index))).then(pl.lit(rule)) for index, rule in enumerate(masks)]
    lists = pl.DataFrame(columns).select(pl.concat_list(marks).list.drop_nulls().alias("_rules"))
    return lists.to_series()


def _refuse_broken(
    column: Column, raw: pl.Series, present: pl.Series, values: pl.Series, needed: bool
) -> None:
    if not len(raw):
        return
    if not present.any():
        if needed:
            raise ProjectError(
                f"column {column.name!r} has no value in any row, but the contract needs it "
                f"({column.role}): mend the source, or the contract"
            )
    elif values.null_count() == len(values):
        shown = "" if privacy.hidden(column) else f", such as {str(raw.filter(present)[0])[:40]!r},"
        raise ProjectError(
            f"column {column.name!r}: none of its values{shown} can be read as {column.kind}: mend "
            "the source, or the type or dateFormats in the contract"
        )


def _defined(column: Column, others: pl.DataFrame) -> pl.Series:
    try:
        return others.select(pl.sql_expr(str(column.definition)).alias(column.name)).to_series()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise ProjectError(
            f"target {column.name!r}: its definition {column.definition!r} fails: {reason}"
        ) from None
