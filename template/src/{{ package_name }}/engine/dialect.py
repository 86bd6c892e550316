"""How files and values are written: the one place for `ml ingest`, `ml score` and the service.

Needs the standard library and msgspec only, so that every image of production can use it.
"""

import codecs
import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .errors import ProjectError
from .kinds import READ

IN_CONFIG = "in config.yaml, such as `data.encoding: cp1252`"
MISSING = ("", "NA", "N/A", "null", "NULL", "NaN", "nan")  # texts that mean "no value" everywhere
NO_CLASS = "NA, N/A, null and NaN mean missing too: what is named so needs another word"
csv.field_size_limit(2**31 - 1)  # as the other readers, which have none
DELIMITERS = ",;\t|"
EXAMINED = 20  # records that tell the delimiter
HEAD = 65_536  # characters that tell the line ends
JSON = (".jsonl", ".ndjson", ".json")
ARROW = (".arrow", ".feather")
SUFFIXES = (".csv", ".tsv", ".parquet", *ARROW, ".avro", *JSON)
SHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
KINDS = {  # by their first bytes, whatever the name says
    b"PK\3\4": "a spreadsheet or another archive: save its table as CSV UTF-8 or Parquet",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet: save its table as CSV UTF-8 or Parquet",
    b"PAR1": "Parquet: rename it to end in .parquet",
    b"ARROW1": "Arrow: rename it to end in .arrow",
    b"Obj\1": "Avro: rename it to end in .avro",
    b"\x1f\x8b": "compressed: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed: unpack it",
}
BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(
    ("false", "f", "no", "n", "0"), False
)
KEY_END = re.compile(rb'"\s*:')  # also within texts
NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity)$"
# "2.0" as a category: tools write whole numbers so once a column has gaps. Its level is "2".
# And "1.8890" of `beside_commas` is 1.889.
LONG_LEVEL, LEVEL = r"^(?:-?(0)\.0+|([+-]?[0-9]+)\.0+|(-?[0-9]{1,3}\.[0-9]{3})0)$", r"\1\2\3"
SPACES = "".join(filter(str.isspace, map(chr, range(0x3001))))  # which stand around no value
WHOLE = 2**63  # integers have 64 bits

# ISO 8601 as databases and spreadsheets write it. Python, Polars and msgspec each read more than
# this, and each something else: what does not match is no date or time. A midnight is its day,
# because Parquet and databases hold days so; another time of day is none.
ISO = {
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt ]00:00(:00(\.0{1,9})?)?([Zz]|[+-]00:?00)?)?$",
    "timestamp": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])?)?$",
}
# Counts since 1970 that a contract may name as a format, with the microseconds of one, and their
# texts: from 1973 to 2286, so that no year, compact day or number of pieces is one.
EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1000}
COUNTED = {"epoch_s": "^[0-9]{9,10}$", "epoch_ms": "^[0-9]{12,13}$"}
MONTHS = "january february march april may june july august september october november december"
DIRECTIVES = {
    "%Y": "[0-9]{4}",
    "%y": "[0-9]{2}",
    **dict.fromkeys(("%m", "%d", "%H", "%I", "%M"), "[0-9]{1,2}"),
    "%S": "[0-5]?[0-9]",
    "%.f": r"(\.[0-9]{1,9})?",
    "%p": "[AaPp][Mm]",
    "%b": f"(?i:{'|'.join(month[:3] for month in MONTHS.split())})",
    "%B": f"(?i:{'|'.join(MONTHS.split())})",
}

# "1.889,50", with any of the usual marks between thousands, and what proves such a comma. Beside
# it stands what other programs write, where it means nothing else: 1.5 and 2e3, but 1.889 is 1889.
THOUSANDS = "[. '\u00a0\u202f]"
DECIMAL_COMMA = rf"^[+-]?([0-9]{{1,3}}({THOUSANDS}[0-9]{{3}})+|[0-9]+)(,[0-9]+)?$"
COMMA_PROOF = rf"{THOUSANDS}[0-9]{{3}},|,([0-9]{{1,2}}|[0-9]{{4,}})$|^[+-]?0,"
# "1,407.50": commas that stand between thousands, and what proves that they do.
THOUSANDS_COMMA = r"^[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?$"
THOUSANDS_PROOF = r",[0-9]{3},[0-9]{3}|,[0-9]{3}\.|^[+-]?[0-9]{1,3}\.([0-9]{1,2}|[0-9]{4,})$"
# "1 407" and "1'407": no number is written with such a mark unless it parts thousands.
SPACED = r"^[+-]?[1-9][0-9]{0,2}([ '\u00a0\u202f][0-9]{3})+$"


class Dialect(NamedTuple):
    """How a file of delimited text is written; `skip` lines stand above the column names.

    A row has `width` fields: one per name, or fewer where every row lacks the last columns.
    """

    encoding: str
    delimiter: str
    names: list[str]
    skip: int
    line_end: str
    width: int


def check_suffix(path: Path) -> None:
    """ProjectError for a type of file that nothing here reads, with what to do instead."""
    suffix = path.suffix.lower()
    if suffix in SHEETS:
        raise ProjectError(f"{path.name} is a spreadsheet: save its table as CSV UTF-8 or Parquet")
    if suffix not in SUFFIXES:
        raise ProjectError(f"{path}: unknown file type; use one of {' '.join(SUFFIXES)}")


def encoding_of(path: Path, configured: str) -> str:
    """Return the encoding that the start of a file says, else the configured one.

    A mark says it, or the zero bytes between Latin letters in UTF-16. LookupError when Python does
    not know it; ProjectError when the file holds no text.
    """
    with path.open("rb") as file:
        start = file.read(256)
    if other := next((kind for mark, kind in KINDS.items() if start.startswith(mark)), ""):
        raise ProjectError(f"{path.name} is {other}")
    marked = next((name for mark, name in BOMS if start.startswith(mark)), configured)
    little, big = (start[first::2].count(0) * 8 > len(start) for first in (1, 0))
    if marked == configured and little != big:
        marked = "utf-16-le" if little else "utf-16-be"
    name = codecs.lookup(marked).name
    return "utf-8-sig" if name == "utf-8" else name


def read(path: Path, configured: str) -> Dialect:
    """Find out how a CSV file is written; ProjectError when two columns have one name.

    The delimiter is the one that cuts column names and rows most evenly into more than one field.
    Blank lines and Excel's `sep=;` may stand above the names.
    """
    encoding = encoding_of(path, configured)
    skip, told = 0, ""
    with path.open(encoding=encoding) as file:
        for line in file:
            found = re.fullmatch(r'"?sep=(.)"?', line.strip("\r\n"), re.I)
            if not found and line.strip():
                break
            told = found[1] if found else told
            skip += 1

    def score(delimiter: str) -> float:
        widths = list(map(len, islice(records(path, encoding, delimiter, skip), EXAMINED + 1)))
        if len(widths) < 2:
            return widths[0] - 1 if widths else 0
        width, count = Counter(widths[1:]).most_common(1)[0]
        return (min(widths[0], width) - 1) * count / (len(widths) - 1)

    delimiter = told or max(DELIMITERS, key=score)
    names = next(records(path, encoding, delimiter, skip), [])
    refuse_twice(path, names)
    with path.open(encoding=encoding, newline="") as file:
        head = re.sub(r'"[^"]*"', "", file.read(HEAD))  # a quoted field may hold the other one
        line_end = "\r" if "\n" not in head and "\r" in head else "\n"
    rows = list(islice(records(path, encoding, delimiter, skip), 1, EXAMINED + 1))
    longest = max(map(len, rows), default=0)
    width = longest if len(rows) > 1 and longest < len(names) else len(names)
    return Dialect(encoding, delimiter, names, skip, line_end, width)


def records(path: Path, encoding: str, delimiter: str, skip: int = 0) -> Iterator[list[str]]:
    """Give the fields of each record below the first `skip` lines, without blank lines."""
    with path.open(encoding=encoding, newline="") as file:
        lines = islice(file, skip, None)
        yield from (record for record in csv.reader(lines, delimiter=delimiter) if record)


def damage(path: Path, written: Dialect) -> str:
    """Say which line has too many or too few fields, or a quote in a wrong place; "" when none has.

    A line shorter than others is refused, not filled: a file that was cut off ends in one.
    """
    _, delimiter, names, skip, _, width = written
    start, quotes = skip, 0

    def counted(lines: Iterator[str]) -> Iterator[str]:
        nonlocal quotes
        for line in lines:
            quotes += line.count('"')
            yield line

    try:
        with path.open(encoding=written.encoding, newline="") as file:
            lines = counted(islice(file, skip, None))
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            for record in reader:
                start = skip + reader.line_num
                if quotes % 2:
                    advice = 'write it twice, and the value within quotes, such as "a 5"" pipe"'
                    return f"line {start} has a quote within a value: {advice}"
                if record == names or not record or len(record) == width:
                    continue
                there = f"there are {width} column names"
                if width < len(names):
                    there = f"the rows above have {width}"
                advice = f"quote values that hold {delimiter!r}"
                if len(record) < width:
                    advice = f"write {delimiter!r} for missing values, if the file is not cut off"
                return f"line {start} has {len(record)} fields, but {there}: {advice}"
    except csv.Error as error:
        return f"line {start + 1}: a quote that opens there is not closed well ({error})"
    return ""


def undecodable(path: Path, configured: str) -> str:
    """Say which line is not in the file's encoding; "" when none is."""
    encoding = encoding_of(path, configured)
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                decoder.decode(line)
            except UnicodeDecodeError as error:
                return (
                    f"line {number}, byte {error.start + 1} (0x{error.object[error.start]:02x}) is "
                    f"not {encoding.removesuffix('-sig')}: set the file's encoding {IN_CONFIG}"
                )
    return ""


def refuse_twice(path: Path, names: list[str]) -> None:
    """ProjectError when two columns have one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ProjectError(f"{path.name}: two columns have the name {twice[0]!r}: rename one")


@cache
def pattern(form: str) -> str:
    """Return what texts of a strptime format look like, for every engine of regular expressions.

    A directive that is not in DIRECTIVES matches any text.
    """
    if form in COUNTED:
        return COUNTED[form]
    parts = re.findall(r"%\.f|%#?.|[^%]", form)
    literal = {mark: f"\\{mark}" for mark in r"\.+*?()|[]{}^$"}
    kept = [DIRECTIVES.get(p, ".*" if p[0] == "%" else literal.get(p, p)) for p in parts]
    return f"^{''.join(kept)}$"


def objects(path: Path, encoding: str) -> Iterator[dict[str, Any]]:
    """Give the rows of a JSON file: a list of objects, or an object on each line not blank.

    ProjectError for the first line that is none, with its number.
    """
    with path.open(encoding=encoding) as file:
        is_array = file.read(64).lstrip().startswith("[")
    if is_array:  # one document, read at once
        content = path.read_text(encoding).encode()
        try:
            rows = msgspec.json.decode(content, type=list[dict[str, Any]])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            fault = json_fault(content, "not a list of JSON objects")
            raise ProjectError(f"{path.name}: {fault}") from None
        if (key := key_twice(content, sum(map(len, rows)))) is not None:
            raise ProjectError(f"{path.name}: an object has the key {key!r} twice: keep one")
        yield from rows
        return
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with path.open(encoding=encoding) as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            content = line.encode(errors="replace")
            try:
                row = decode(content)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                fault = json_fault(content, "not a JSON object")
                raise ProjectError(f"{path.name}: line {number} is {fault}") from None
            if (key := key_twice(content, len(row))) is not None:
                raise ProjectError(
                    f"{path.name}: line {number} has the key {key!r} twice: keep one"
                )
            yield row


def key_twice(content: bytes, keys: int) -> str | None:
    """Return a key that an object of valid JSON has twice: readers take the first or the last.

    `keys` of it were decoded. Where no more stand in the text, and they do at least once each, no
    one needs to look closer.
    """
    if len(KEY_END.findall(content)) == keys:
        return None

    def once(pairs: list[tuple[str, Any]]) -> None:
        key, count = Counter(key for key, _ in pairs).most_common(1)[0] if pairs else ("", 0)
        if count > 1:
            raise KeyError(key)

    try:
        json.loads(content, object_pairs_hook=once)
    except KeyError as error:
        return str(error.args[0])
    except (ValueError, RecursionError):  # what only some readers take
        return None
    return None


def json_fault(content: bytes, fault: str) -> str:
    """Return `fault: reason` for what other programs write though it is no JSON, else `fault`."""
    bare = re.sub(rb'"(\\.|[^"\\])*"', b'""', content)
    if word := re.search(rb"-?\b(NaN|Infinity|None|True|False)\b", bare):
        return f"{fault}: it has {word[0].decode()}; write null, true or false, or a number"
    try:
        content.decode()
    except UnicodeDecodeError:
        return f"{fault}: it is not UTF-8"
    try:
        msgspec.json.decode(content)
    except msgspec.ValidationError:
        return f"{fault}: it has a number that is too large; write null"
    except (msgspec.DecodeError, RecursionError):
        if re.search(rb"\\u[dD][89a-fA-F]", content):
            return f"{fault}: it has half a surrogate pair; send whole characters, such as \\u00e9"
    return fault


def plain(value: Any, kind: str, decimal_comma: bool = False, thousands_comma: bool = False) -> Any:
    """Return a value of JSON as its kind wants it, or as it is where it cannot be read so.

    As `ml validate` reads columns: texts that hold numbers, whole floats, days as timestamps.
    """
    if isinstance(value, str) and value in MISSING:
        return None
    if kind in ("category", *READ):
        if value is None or not is_plain(value):
            return value
        if kind == "category":
            return None if (known := level(text(value))) in MISSING else known
        return text(value).strip() and text(value)
    if isinstance(value, str):
        value = value.strip()
        if thousands_comma and re.fullmatch(THOUSANDS_COMMA, value):
            value = value.replace(",", "")
        value = _from_text(value, kind, decimal_comma)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if kind == "number":
        return _float(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value) if abs(value) < WHOLE else value
    if kind == "boolean" and value in (0, 1):
        return bool(value)
    return value


def _from_text(text: str, kind: str, decimal_comma: bool) -> Any:
    if not text:
        return None
    if kind in ("date", "timestamp"):
        return text
    if kind == "boolean" and text.lower() in BOOLEANS:
        return BOOLEANS[text.lower()]
    if decimal_comma and re.fullmatch(DECIMAL_COMMA, text):
        text = re.sub(THOUSANDS, "", text).replace(",", ".")
    if not re.fullmatch(NUMBER, text, re.I | re.A):
        return text
    is_whole = kind == "integer" and re.fullmatch(r"[+-]?\d{1,19}", text, re.A)
    return int(text) if is_whole else float(text)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # of an integer
        return math.inf if value > 0 else -math.inf


def beside_commas(value: Any) -> Any:
    """Return the text of a value that no decimal comma changes: 1.889 as 1.8890."""
    written = text(value)
    is_split = type(value) is float and re.fullmatch(DECIMAL_COMMA, written)
    return f"{written}0" if is_split else written


def nested(path: Path, name: str) -> str:
    """Say what is wrong with a column that `is_plain` finds lists or objects in, beside others."""
    return f"{path.name}: {name!r} has lists or objects beside plain values: write it as text"


def is_whole(value: Any) -> bool:
    """Return whether a value of Python is an integer of 64 bits."""
    return type(value) is int and -WHOLE <= value < WHOLE


def is_plain(value: Any) -> bool:
    """Return whether a value of JSON is no list or object."""
    return not isinstance(value, list | dict)


def level(text: str) -> str:
    """Return the text of a category as its level.

    Blanks around it are no part of it, and a whole number has no decimals.
    """
    text = text.strip()
    return re.sub(LONG_LEVEL, LEVEL, text) if text.endswith("0") else text


def text(value: Any) -> Any:
    """Return the text of a value of JSON, as CSV holds it; None as it is."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        value += 0.0  # which makes -0.0 zero
    return str(value) if isinstance(value, int | float) else msgspec.json.encode(value).decode()
