"""Columns of other sources, joined to each row by declared keys: `joins` of the contract.

A join never adds or loses a row: a key is in the other table once at most, and of rows without a
partner only a declared share may be there. With `asOf` it is the last row before the row's own
time, so that nothing knows the future.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import polars as pl

from .. import progress, storage
from ..errors import ProjectError, told
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
        raise ProjectError(f"{path.name}: joins: {told(error, list[Join])}: write {FORM}") from None
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
    servers, told = _servers(project), []
    for join in of(project.contract_path):
        progress.tell(f"joining {join.server}")
        frame, item = _joined(project, servers[join.server], join, frame, agreed)
        told.append(item)
    return frame, told


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
    other = fetching.side(project, source, wanted)
    rows = other.height
    _refuse_absent(join, "our rows have", frame, [*key, *([as_of.left] if as_of else [])])
    theirs = [*key.values(), *([as_of.right] if as_of else [])]
    _refuse_absent(join, "it has", other, theirs)
    left = pl.DataFrame(
        {
            **{f"_{i}": _parsed(frame[n], n, agreed) for i, n in enumerate(key)},
            **({"_at": _parsed(frame[as_of.left], as_of.left, agreed, time=True)} if as_of else {}),
        }
    ).with_row_index("_ours")
    right = pl.DataFrame(
        {
            **{f"_{i}": _parsed(other[n], ours, agreed) for i, (ours, n) in enumerate(key.items())},
            **(
                {"_at": _parsed(other[as_of.right], as_of.left, agreed, time=True)} if as_of else {}
            ),
        }
    ).with_row_index("_theirs")
    by = [f"_{place}" for place in range(len(key))]
    if as_of:
        _refuse_unread(join, other[as_of.right], right["_at"])
    whole = right.drop_nulls([*by, *(["_at"] if as_of else [])])
    _refuse_repeated(join, whole, [*by, *(["_at"] if as_of else [])], "in it")
    if join.cardinality == "1:1":
        _refuse_repeated(join, left.drop_nulls(by), by, "in our rows")
    places = _places(left, whole, by, as_of)
    unmatched = int(places.is_null().sum())
    share = unmatched / max(1, frame.height)
    if share > join.max_unmatched:
        raise ProjectError(
            f"joins: {number(unmatched)} of {number(frame.height)} rows ({percent(share)}) have no "
            f"partner in {join.server} by {', '.join(key)}; at most {percent(join.max_unmatched)} "
            "may (maxUnmatched): mend the tables, or say so in the contract"
        )
    there = {*frame.columns}
    names = {n: f"{join.prefix}{n}" for n in other.columns if n not in theirs or join.prefix}
    if not join.prefix:
        names = {n: new for n, new in names.items() if new not in there}
    elif clash := next((new for new in names.values() if new in there), ""):
        raise ProjectError(f"joins: our rows have a column {clash!r} already: another prefix")
    added = other.select([*names]).rename(names).select(pl.all().gather(places))
    told = {
        "server": join.server,
        "on": [*key],
        "as_of": as_of.right if as_of else "",
        "cardinality": join.cardinality,
        "rows": rows,
        "sha256": _digest(project, source, other),
        "without_key": rows - whole.height,
        "columns": added.columns,
        "unmatched": unmatched,
        "max_unmatched": join.max_unmatched,
    }
    return frame.hstack(added), told


def _digest(project: Project, source: sources.Source, table: pl.DataFrame) -> str:
    """Return the SHA-256 of a file, or of what a server answered."""
    if source.type != "local":
        return storage.sha256_bytes(validation.parquet(table))
    return storage.sha256(project.path(str(source.address.get("path", ""))))


def _parsed(raw: pl.Series, ours: str, agreed: Contract | None, *, time: bool = False) -> pl.Series:
    """Return values of a key as one type whatever the formats of the two tables are."""
    columns = {column.name: column for column in agreed.columns} if agreed else {}
    known = columns.get(ours)
    kinds = ("date", "timestamp") if time else ("integer", "category", "date")
    if known is None or known.kind not in kinds:
        kind: Any = "timestamp" if time else "category"
        known = Column(name=ours, kind=kind, role="excluded")
    if known.kind in ("date", "timestamp") and (found := inference.infer(raw)):
        # Each table writes its days in its own way, and a day of one may be a moment in the other.
        kind = "timestamp" if time else known.kind
        known = msgspec.structs.replace(known, kind=kind, formats=known.formats + found.formats)
    parsed = validation.parse(raw, known)
    return parsed.cast(pl.Datetime("us")) if time else parsed


def _refuse_absent(join: Join, whose: str, frame: pl.DataFrame, names: Collection[str]) -> None:
    if absent := [name for name in names if name not in frame.columns]:
        raise ProjectError(f"joins: {join.server}: {whose} no column {absent[0]!r}")


def _refuse_unread(join: Join, raw: pl.Series, read: pl.Series) -> None:
    """ProjectError, without a value, when more times than may have no partner cannot be read."""
    unread = int((read.is_null() & validation.without_words(raw).is_not_null()).sum())
    if unread > join.max_unmatched * len(raw):
        raise ProjectError(
            f"joins: {join.server}: {number(unread)} of {number(len(raw))} values of {raw.name!r} "
            "are no date or time: mend the table, or write them as 2026-01-31"
        )


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
