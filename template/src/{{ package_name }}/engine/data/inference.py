"""What type a column of a file has, judged by its values."""

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from ..dialect import (
    BOOLEANS,
    COMMA_PROOF,
    DECIMAL_COMMA,
    EPOCHS,
    SPACED,
    SPACES,
    THOUSANDS_COMMA,
    THOUSANDS_PROOF,
)
from ..formats import number
from .candidate import Candidate
from .contract import Column, Kind, Role
from .validation import parse, without_words

READABLE = 0.95  # share of the values that decides a type; rows with others go to quarantine
EXAMINED = 1000  # different values that date formats are tried on

DAYS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%Y%m%d"),
)
TIMES = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S%.f", " %I:%M:%S %p", " %I:%M %p", "T%H:%M:%S")
DAY_LIKE = r"^(\d{1,4}|[A-Za-z]{3,9})[-/. ]\w{1,9}[-/., ]+\d{1,4}"
WRITTEN_NUMBER = r"^[€$£]? ?-?\d{1,3}([.,' ]?\d{3})*([.,]\d+)? ?[%€$£]?$"
SMALL = r"^[+-]?([0-9]{1,3}|0)([.,][0-9]+)?$"  # a number that needs no mark of thousands
POINT = r"^[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)(\.[0-9]+)?$"
EVEN = 20  # different values with a comma, from which on their form tells
POINTS = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$"  # of whole numbers, where a comma parts decimals
# A decimal point, or thousands without a mark.
AGAINST_POINTS = r"^[+-]?(0\.\d+|\d+\.(\d{1,2}|\d{4,})|\d{4,})$"
POINTS_PROOF = r"^[+-]?[1-9]\d{0,2}(\.\d{3}){2,}$"
# A month or a week of a year, of which no day is said.
DAYLESS = (
    r"^((19|20)\d\d[-/. ]?(0[1-9]|1[0-2]|[KkWw]+ ?\d{1,2})|(0?[1-9]|1[0-2])[-/. ](19|20)\d\d)$"
)
COMPACT_DAY = r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$"


@dataclass(frozen=True)
class Reading:
    """How a column is read: its kind, how its values are written, doubts as (what, why).

    `either` are two formats of days that fit as well, if there are such.
    """

    kind: Kind
    formats: tuple[str, ...] = ()
    doubts: list[tuple[str, str]] = field(default_factory=list)
    decimal_comma: bool = False
    thousands_comma: bool = False
    either: tuple[str, ...] = ()


def timed(column: Candidate, role: Role) -> Candidate:
    """Read a column that shall be the time as one, where its numbers count since 1970."""
    if role == "time" and column.kind == "integer":
        for form in EPOCHS:
            read = Column(name=column.name, kind="timestamp", role="time", formats=(form,))
            values = parse(column.values, read)
            if column.different and values.null_count() == column.values.null_count():
                column.kind, column.formats = "timestamp", (form,)
                column.values = values.alias(column.name)
                column.notes.append(("time", f"numbers are read as {form}: counted since 1970"))
                break
    return column


def dayless(values: pl.Series) -> str:
    """Say what to do with values that name months or weeks and no day, "" of others."""
    texts = values.cast(pl.String).str.strip_chars()
    if not len(texts) or not texts.str.contains(DAYLESS).all():
        return ""
    return f"; {texts[0]!r} names no day: write the first one of each month or week, as 2026-01-01"


def has_points(frame: pl.DataFrame) -> bool:
    """Whether numbers of a table without decimal commas have decimal points.

    Then a comma parts thousands in every column: one program wrote them all.
    """
    texts = [without_words(one).drop_nulls() for one in frame.select(pl.col(pl.String))]
    return any(
        ((proof := one.str.contains(THOUSANDS_PROOF)) & one.str.contains(POINT)).any()
        and one.filter(~proof).str.contains(POINT).mean() in (None, 1.0)
        for one in texts
    )


def is_marked(raw: pl.Series) -> bool:
    """Whether a text has a mark before three digits, which other columns may explain."""
    return raw.dtype == pl.String and bool(raw.str.contains(r"\d[.,]\d{3}").any())


def infer(raw: pl.Series, *, beside_commas: bool = False, points: bool = False) -> Reading | None:
    """Return how to read `raw`; None when a contract cannot describe it (lists, bytes, objects).

    `beside_commas` says that another column of the file has decimal commas: a point then parts
    thousands wherever it could. `points` says that numbers have decimal points: a comma then does.
    The kind is the narrowest one that `validation.parse` reads at least READABLE of the values as;
    whole numbers with leading zeros or 19 digits and more are codes and stay text.
    """
    dtype = raw.dtype
    if dtype == pl.String:
        return _infer_text(raw, beside_commas, points)
    if dtype in (pl.Categorical, pl.Enum, pl.Null):
        return Reading("category")
    if dtype.is_integer():
        exact = raw.cast(pl.Int64, strict=False).null_count() == raw.null_count()
        return Reading("integer" if exact else "number")
    kinds: dict[bool, Kind] = {
        dtype.is_numeric(): "number",
        dtype == pl.Boolean: "boolean",
        dtype == pl.Date: "date",
        dtype == pl.Datetime: "timestamp",
    }
    return Reading(kinds[True]) if True in kinds else None


def _infer_text(raw: pl.Series, beside_commas: bool, points: bool) -> Reading:
    counts = without_words(raw).alias("text").drop_nulls().value_counts(name="rows")
    blanks = _blanks(counts)
    counts = counts.with_columns(pl.col("text").str.strip_chars(SPACES))
    counts = counts.filter(pl.col("text") != "").sort("text")
    values, rows = counts["text"], counts["rows"]
    if not len(values):
        return Reading("category", doubts=blanks)

    def unread(kind: Kind, formats: tuple[str, ...] = ()) -> pl.Series:
        column = Column(name="text", kind=kind, role="feature", formats=formats)
        return parse(values, column).is_null()

    def reading(
        kind: Kind,
        *doubts: tuple[str, str],
        formats: tuple[str, ...] = (),
        either: tuple[str, ...] = (),
    ) -> Reading:
        lost = unread(kind, formats)
        shown = f"{int(rows.filter(lost).sum())} values cannot be read as {kind}, such as "
        example = [("unreadable", shown + repr(values.filter(lost)[0][:40]))] if lost.any() else []
        return Reading(kind, formats, [*example, *doubts], either=either)

    def share(lost: pl.Series) -> float:
        return 1 - int(rows.filter(lost).sum()) / int(rows.sum())

    spelled = values.str.to_lowercase()
    if spelled.is_in(list(BOOLEANS)).all() and not spelled.is_in(["0", "1"]).all():
        return Reading("boolean")
    if values.str.contains(COMPACT_DAY).all() and share(unread("date", ("%Y%m%d",))) == 1:
        return Reading("date", ("%Y%m%d",))
    if (
        _has_decimal_commas(values, beside_commas)
        and share(~values.str.contains(DECIMAL_COMMA)) >= READABLE
    ):
        other = ~values.str.contains(DECIMAL_COMMA)
        parted = values.filter(values.str.contains(POINTS))
        said = f"{parted[0]} is {parted[0].replace('.', '')}" if len(parted) else ""
        odd = values.filter(_either(values))
        if len(odd) and not values.str.contains(COMMA_PROOF).any():
            said = f"{odd[0]} is {odd[0].replace(',', '.')}, as other columns have one"
        said = said or "1.889,50 is 1889.5"
        doubts = [("number", f"read with a decimal comma: {said}")]
        if other.any():
            first = f"such as {values.filter(other)[0][:40]!r}"
            lost = f"{int(rows.filter(other).sum())} values cannot be read so, {first}"
            doubts.append(("unreadable", lost))
        return Reading("number", decimal_comma=True, doubts=doubts)
    if (found := _with_thousands(values, share, points)) is not None:
        return found
    numbers = unread("number")
    codes = values.str.contains(r"^[+-]?(0\d|\d{19})").any()
    if share(numbers) >= READABLE and not codes:
        whole = values.filter(~numbers).str.contains(r"^[+-]?\d+$").all()
        whole = whole and share(unread("integer")) >= READABLE
        commas = _maybe_thousands(values.filter(~numbers))
        return reading("integer" if whole else "number", *commas)
    if share(~values.str.contains(DAY_LIKE)) >= READABLE:
        formats, has_time, doubts, either = _formats(values)
        kind: Kind = "timestamp" if has_time else "date"
        if share(unread(kind, formats)) >= READABLE:
            return reading(kind, *doubts, formats=formats, either=either)
        if values.str.contains(r"\b(19|20)\d\d\b").all():
            doubt = f"dates such as {values[0]!r} stay text: write them as 2026-01-31 in the source"
            return Reading("category", doubts=[("unreadable", doubt)])
    plain = Reading("category", doubts=blanks)
    if share(~values.str.contains(WRITTEN_NUMBER)) >= READABLE and not codes:
        doubt = f"numbers such as {values[0]!r} stay text: write them plainly in the source"
        plain.doubts.append(("unreadable", doubt))
    return plain


def _blanks(counts: pl.DataFrame) -> list[tuple[str, str]]:
    """Say of how many texts, counted as `text` and `rows`, blanks are left out or nothing stays."""
    bare = pl.col("text").str.strip_chars(SPACES)
    around = counts.filter(bare != pl.col("text"), bare != "").sort("text")
    nothing = int(counts.filter(bare == "")["rows"].sum())
    said = []
    if around.height:
        first = repr(around["text"][0][:40])
        said.append(f"{int(around['rows'].sum())} values are read without blanks around: {first}")
    if nothing:
        said.append(f"{nothing} are nothing but blanks: missing")
    return [("blanks", "; ".join(said))] if said else []


def _either(values: pl.Series) -> pl.Series:
    """Return which values have a comma that parts thousands or decimals."""
    return values.str.contains(r"^[+-]?[1-9]\d{0,2},\d{3}$")


def _has_decimal_commas(values: pl.Series, beside_commas: bool) -> bool:
    """Return whether a value proves a decimal comma; "1,000" alone could be a thousand.

    So do two points between thousands, one beside another column with decimal commas where no
    value tells against it, and thousands parted by blanks beside numbers that need none. Beside
    such a column a comma before three digits is a decimal one, too: one program wrote them all.
    """
    if beside_commas and _either(values).any() and not values.str.contains(THOUSANDS_PROOF).any():
        return True
    proof = values.str.contains(COMMA_PROOF) & values.str.contains(DECIMAL_COMMA)
    spaced = values.str.contains(SPACED)
    points = values.str.contains(POINTS_PROOF).any()
    points = points or (beside_commas and values.str.contains(POINTS).any())
    if points and not values.str.contains(AGAINST_POINTS).any():
        return True
    return bool(proof.any() or (spaced.any() and values.str.contains(SMALL).any()))


def _maybe_thousands(values: pl.Series) -> list[tuple[str, str]]:
    """Say that each point of the numbers parts three digits, as thousands are parted."""
    parted = values.filter(values.str.contains(POINTS))
    if len(parted) < EVEN or values.str.contains(AGAINST_POINTS).any():
        return []
    first = parted[0]
    said = (
        f"each point has three digits behind it: {first} is read as {number(float(first))}; if it "
        f"is {first.replace('.', '')}, write decimalComma: true in the contract"
    )
    return [("number", said)]


def _with_thousands(
    values: pl.Series, share: Callable[[pl.Series], float], points: bool
) -> Reading | None:
    """Return the reading of numbers with commas between thousands; None of any other column.

    Beyond proof, EVEN different values whose commas all part three digits tell it, beside a whole
    number below 1000: a program that leaves zeros of decimals out would have left out others.
    So do decimal `points` elsewhere in the table. A number of four digits and more without a comma
    tells against it.
    """
    commas = values.str.contains(THOUSANDS_COMMA)
    number = commas | values.str.contains(r"^[+-]?\d+(\.\d+)?$")
    if not commas.any() or share(~number) < READABLE:
        return None
    proof = (values.str.contains(THOUSANDS_PROOF) | points) & number
    long = values.str.contains(r"^[+-]?\d{4,}")
    small = values.str.contains(r"^[+-]?\d{1,3}$")
    first = values.filter(commas)[0]
    if not proof.any() and (int(commas.sum()) < EVEN or long.any() or not small.any()):
        either = f"{first} may be {first.replace(',', '')} or {first.replace(',', '.')}"
        doubt = (
            f"{either}: it stays text; write it without a comma, or make it a number of the "
            "contract with thousandsComma: true or decimalComma: true"
        )
        return Reading("category", doubts=[("unreadable", doubt)])
    plain = first.replace(",", "")
    doubts = [("number", f"read with commas between thousands: {first} is {plain}")]
    if not number.all():
        other = values.filter(~number)
        lost = f"{len(other)} values cannot be read so, such as {other[0][:40]!r}"
        doubts.append(("unreadable", lost))
    kind: Kind = "number" if values.filter(number).str.contains(r"\.").any() else "integer"
    return Reading(kind, doubts=doubts, thousands_comma=True)


def _formats(
    values: pl.Series,
) -> tuple[tuple[str, ...], bool, list[tuple[str, str]], tuple[str, ...]]:
    """Return the formats besides ISO that read most values, whether one has a time, and doubts.

    And two of them that read days of one table in two ways, if there are such.
    """
    values = values.gather_every(max(1, len(values) // EXAMINED))
    iso_day = _read(values, "%Y-%m-%d")
    iso = parse(values, Column(name="text", kind="timestamp", role="feature")).is_not_null()
    has_time = bool((iso & ~iso_day).any())
    rest = values.filter(~iso)
    found: list[str] = []
    doubts = []
    either: tuple[str, ...] = ()
    while len(rest) and len(found) < 5:
        reads = {day + time: _read(rest, day + time) for day in DAYS for time in TIMES}
        form = max(reads, key=lambda form: int(reads[form].sum()))
        if reads[form].sum() < max(1, 0.01 * len(values)):
            break
        other = form.translate({ord("d"): "m", ord("m"): "d"})
        if other in reads and (reads[other] | ~reads[form]).all():
            order = (
                "day before month" if form.index("%d") < form.index("%m") else "month before day"
            )
            doubts.append(("date", f"{form} and {other} both fit: read as {order}, please check"))
            either = (form, other)
        if other in found and other != form:
            either = (other, form)
        rest = rest.filter(~reads[form])
        found.append(form)
    has_time |= any("%H" in form or "%I" in form for form in found)
    listed = [*(["ISO 8601"] if iso.any() else []), *found]
    if len(listed) > 1:
        doubts.append(
            ("date", f"written in {len(listed)} ways, tried in order: {', '.join(listed)}")
        )
    return tuple(found), has_time, doubts, either


def _read(text: pl.Series, form: str) -> pl.Series:
    """Return which values have this format; years before 1000 are misread short ones."""
    unit = pl.Datetime("us") if "%H" in form or "%I" in form else pl.Date()
    return (text.str.strptime(unit, form, strict=False).dt.year() >= 1000).fill_null(False)
