"""Columns of other sources, joined to each row by declared keys: `joins` of the contract.

A join never adds or loses a row: a key is in the other table once at most, and of rows without a
partner only a declared share may be there. With `asOf` it is the last row before the row's own
time, so that nothing knows the future.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import polars as pl

from .. import progress
from ..errors import ProjectError
from ..errors import told as explained
from ..formats import number, percent
from ..settings import Project
from . import consent, fetching, inference, sources, validation
from .contract import Column, Contract
from .sources import Part, Share

FORM = (
    "`{property: joins, value: [{server: customers, on: [customer_id]}]}` in customProperties of "
    "schema"
)


class AsOf(Part, frozen=True, kw_only=True):
    """Two columns of times: of the row and of the other table, whose last row before it counts.

    With `strict` a row of the same moment does not; one older than `tolerance_days` is no partner.
    """

    left: str
    right: str
    strict: bool = True
    tolerance_days: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Join(Part, frozen=True, kw_only=True):
    """A table to join: its server, its key, and how many rows may have no partner.

    `on` names the columns of the key, the same in both tables, or each of ours with theirs.
    `columns` are asked for beside those of the contract; `prefix` is put before their names.
    """

    server: str
    on: list[str] | dict[str, str]
    cardinality: Literal["m:1", "1:1"] = "m:1"
    columns: tuple[str, ...] = ()
    max_unmatched: Share = 0
    as_of: AsOf | None = None
    prefix: str = ""

    @property
    def key(self) -> dict[str, str]:
        """Our columns of the key, each with theirs."""
        return self.on if isinstance(self.on, dict) else {name: name for name in self.on}


def of(path: Path) -> list[Join]:
    """Return the joins of the contract at `path`; ProjectError where one is said in another way."""
    said = consent.said(path, "joins")
    if said is None:
        return []
    try:
        found = msgspec.convert(said, list[Join])
    except msgspec.ValidationError as error:
        raise ProjectError(
            f"{path.name}: joins: {explained(error, list[Join])}: write {FORM}"
        ) from None
    names = {source.server for source in sources.of(path)}
    for join in found:
        if join.server not in names:
            raise ProjectError(f"{path.name}: joins: no server {join.server!r} in `servers`")
        if not join.key:
            raise ProjectError(f"{path.name}: joins: {join.server} needs columns in `on`")
    return found


def needed(found: list[Join]) -> list[str]:
    """Return our columns that joins need, whether the contract has them or not."""
    times = [join.as_of.left for join in found if join.as_of]
    return [*(name for join in found for name in join.key), *times]


def files(project: Project) -> list[str]:
    """Return the files of the project that are joined, which a run depends on."""
    try:
        servers = _servers(project)
        joined = [servers[join.server] for join in of(project.contract_path)]
    except ProjectError:  # which the step itself tells
        return []
    return [str(s.address.get("path", "")) for s in joined if s.type == "local"]


def apply(
    project: Project, frame: pl.DataFrame, agreed: Contract | None
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Return rows with the columns of all joins, and what is told of each join.

    Without a contract all columns of the other tables come. ProjectError for a key that is missing
    or not unique, and for too many rows without a partner.
    """
    servers, found = _servers(project), []
    for join in of(project.contract_path):
        progress.tell(f"joining {join.server}")
        frame, item = _joined(project, servers[join.server], join, frame, agreed)
        found.append(item)
    return frame, found


def told(item: dict[str, Any]) -> str:
    """Say in a line how a join went, of what `apply` tells of it."""
    said = [
        f"{item['server']}: {number(item['unmatched'])} rows have no partner of "
        f"{number(item['rows'])}"
    ]
    if unread := item["unread"]:
        said.append(f"{number(unread)} of its rows have a key or time that cannot be read")
    said += [f"its {n} is read as {form}, as the contract reads ours" for n, form in item["read"]]
    said += [item["ended"]] if item["ended"] else []
    return "; ".join(said)


def _servers(project: Project) -> dict[str, sources.Source]:
    return {source.server: source for source in sources.of(project.contract_path)}


def _wanted(join: Join, agreed: Contract | None) -> list[str] | None:
    if agreed is None:
        return None
    ours = (column.name for column in agreed.columns)
    theirs = [n.removeprefix(join.prefix) for n in ours if n.startswith(join.prefix)]
    times = [join.as_of.right] if join.as_of else []
    return [*dict.fromkeys([*theirs, *join.columns, *join.key.values(), *times])]


def _joined(
    project: Project,
    source: sources.Source,
    join: Join,
    frame: pl.DataFrame,
    agreed: Contract | None,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    wanted, key, as_of = _wanted(join, agreed), join.key, join.as_of
    other, digest, ended = fetching.side(project, source, wanted)
    rows = other.height
    _refuse_absent(join, "our rows have", frame, [*key, *([as_of.left] if as_of else [])])
    theirs = [*key.values(), *([as_of.right] if as_of else [])]
    _refuse_absent(join, "it has", other, theirs)
    by = [f"_{place}" for place in range(len(key))]
    pairs = dict(zip(by, key.items(), strict=True))
    pairs |= {"_at": (as_of.left, as_of.right)} if as_of else {}
    columns = {column.name: column for column in agreed.columns} if agreed else {}
    meets = {at: _meets(columns.get(name), time=at == "_at") for at, (name, _) in pairs.items()}
    mine = {at: _ours(join, frame[name], meets[at]) for at, (name, _) in pairs.items()}
    their = {at: _theirs(join, other[name], meets[at]) for at, (_, name) in pairs.items()}
    left = pl.DataFrame({at: one.values for at, one in mine.items()}).with_row_index("_ours")
    right = pl.DataFrame({at: one.values for at, one in their.items()}).with_row_index("_theirs")
    whole = right.drop_nulls([*pairs])
    _refuse_repeated(join, whole, [*pairs], "in it")
    if join.cardinality == "1:1":
        _refuse_repeated(join, left.drop_nulls(by), by, "in our rows")
    places = _places(left, whole, by, as_of)
    unmatched = int(places.is_null().sum())
    share = unmatched / max(1, frame.height)
    unread = _rows_with([one.unread for one in their.values()])
    if share > join.max_unmatched:
        lost = _rows_with([one.unread for one in mine.values()])
        why = f"{number(lost)} of ours and {number(unread)} of its rows"
        why = f"; {why} have a key or time that cannot be read" if lost or unread else ""
        raise ProjectError(
            f"joins: {number(unmatched)} of {number(frame.height)} rows ({percent(share)}) have no "
            f"partner in {join.server} by {', '.join(key)}; at most {percent(join.max_unmatched)} "
            f"may (maxUnmatched){why}: mend the tables, or say so in the contract"
        )
    there = {*frame.columns}
    names = {n: f"{join.prefix}{n}" for n in other.columns if n not in theirs or join.prefix}
    if not join.prefix:
        names = {n: new for n, new in names.items() if new not in there}
    elif clash := next((new for new in names.values() if new in there), ""):
        raise ProjectError(f"joins: our rows have a column {clash!r} already: another prefix")
    added = other.select([*names]).rename(names).select(pl.all().gather(places))
    item = {
        "server": join.server,
        "on": [*key],
        "as_of": as_of.right if as_of else "",
        "cardinality": join.cardinality,
        "rows": rows,
        "sha256": digest,
        "ended": ended,
        "without_key": rows - whole.height,
        "unread": unread,
        "read": [[one.values.name, one.declared] for one in their.values() if one.declared],
        "columns": added.columns,
        "unmatched": unmatched,
        "max_unmatched": join.max_unmatched,
    }
    return frame.hstack(added), item


class _Read(NamedTuple):
    """Values of one side of a key, and which are there but cannot be read.

    `declared` is the format of the contract that chose between two that fit.
    """

    values: pl.Series
    unread: pl.Series
    declared: str = ""


def _meets(ours: Column | None, *, time: bool) -> Column:
    """Return how both tables are read, whatever each writes, for a column of our rows."""
    kinds = ("date", "timestamp") if time else ("integer", "category", "date")
    kind: Any = "timestamp" if time else "category"
    if ours is None or ours.kind not in kinds:
        return Column(name="", kind=kind, role="excluded")
    # A day of one table may be a moment in the other.
    return msgspec.structs.replace(ours, kind=kind) if time else ours


def _ours(join: Join, raw: pl.Series, column: Column) -> _Read:
    """Read our side: by the contract, and where that says no format, as the values look."""
    found = _looks(raw, column)
    if not column.formats and (either := _either(raw, column, found)):
        _refuse_either(join, f"our {raw.name!r}", either, "")
    return _read(join, "our rows", raw, column, [*column.formats, *found.formats])


def _theirs(join: Join, raw: pl.Series, column: Column) -> _Read:
    """Read the other side as its own values look, for it writes its days in its own way.

    Where two formats fit, that of the contract counts; without one nobody guesses.
    """
    found = _looks(raw, column)
    declared = ""
    if either := _either(raw, column, found):
        is_mixed = {*either} <= {*found.formats}
        declared = next((form for form in column.formats if form in either), "")
        if is_mixed or not declared:
            mend = f", or say `dateFormats` of {column.name!r} in the contract"
            _refuse_either(
                join, repr(raw.name), either, "" if is_mixed else mend * bool(column.name)
            )
    formats = [*([declared] if declared else []), *found.formats, *column.formats]
    return _read(join, "it", raw, column, formats, declared)


def _looks(raw: pl.Series, column: Column) -> inference.Reading:
    of_days = column.kind in ("date", "timestamp")
    found = inference.infer(raw) if of_days else None
    return found or inference.Reading(column.kind)


def _either(raw: pl.Series, column: Column, found: inference.Reading) -> tuple[str, ...]:
    """Return two formats that fit the days of a table and read some of them as other days."""
    each = [msgspec.structs.replace(column, formats=(form,)) for form in found.either]
    read = [validation.parse(raw, one) for one in each]
    return found.either if read and (read[0] != read[1]).any() else ()


def _refuse_either(join: Join, named: str, either: tuple[str, ...], mend: str) -> None:
    raise ProjectError(
        f"joins: {join.server}: days of {named} may be {' or '.join(either)}: write them as "
        f"2026-01-31{mend}"
    )


WORDS = {"integer": "a whole number", "category": "a text"}


def _read(
    join: Join, whose: str, raw: pl.Series, column: Column, formats: list[str], declared: str = ""
) -> _Read:
    """Read values by formats, tried in order; ProjectError, without a value, when none can be."""
    formats = [*dict.fromkeys(formats)]
    values = validation.parse(raw, msgspec.structs.replace(column, formats=tuple(formats)))
    values = values.cast(pl.Datetime("us")) if column.kind == "timestamp" else values
    unread = values.is_null() & validation.without_words(raw).is_not_null()
    if unread.any() and values.null_count() == len(values):
        raise ProjectError(
            f"joins: {join.server}: {whose}: none of {number(int(unread.sum()))} values of "
            f"{raw.name!r} can be read as {WORDS.get(column.kind, 'a date or time')}: mend the "
            "table, or the key in the contract"
        )
    return _Read(values.alias(raw.name), unread, declared)


def _rows_with(unread: list[pl.Series]) -> int:
    return int(pl.select(pl.any_horizontal(unread)).to_series().sum())


def _refuse_absent(join: Join, whose: str, frame: pl.DataFrame, names: Collection[str]) -> None:
    if absent := [name for name in names if name not in frame.columns]:
        raise ProjectError(f"joins: {join.server}: {whose} no column {absent[0]!r}")


def _refuse_repeated(join: Join, frame: pl.DataFrame, names: list[str], where: str) -> None:
    """ProjectError, without a value, when a key is there more than once."""
    repeated = frame.height - frame.select(names).n_unique()
    if repeated:
        raise ProjectError(
            f"joins: {join.server}: {number(repeated)} rows repeat a key {where}, though "
            f"{join.cardinality} is declared: mend the table, or join by more columns"
        )


def _places(
    left: pl.DataFrame, right: pl.DataFrame, by: list[str], as_of: AsOf | None
) -> pl.Series:
    """Return for each of our rows, in their order, the place of its partner, or null."""
    if as_of is None:
        found = left.join(right, on=by, how="left", validate="m:1", maintain_order="left")
        return found["_theirs"]
    # Polars gives wrong partners, with a warning only, where a side is not sorted.
    ours = left.drop_nulls([*by, "_at"]).sort("_at")
    tolerance = None
    if as_of.tolerance_days is not None:
        tolerance = f"{round(as_of.tolerance_days * 86_400_000_000)}us"
    found = ours.join_asof(
        right.sort("_at"),
        on="_at",
        by=by,
        strategy="backward",
        tolerance=tolerance,
        allow_exact_matches=not as_of.strict,
        check_sortedness=False,  # it cannot look within groups, and both sides were just sorted
    )
    return left.join(
        found.select("_ours", "_theirs"), on="_ours", how="left", maintain_order="left"
    )["_theirs"]
