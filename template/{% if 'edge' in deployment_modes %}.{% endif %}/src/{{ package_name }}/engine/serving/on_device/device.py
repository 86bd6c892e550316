"""A model on a device: it scores rows, keeps the version before, and queues what it answered.

One file for Python 3.11 with numpy and onnxruntime, which knows nothing of the project: the
package beside it says how values are read. Rows are read, refused and answered as by the project's
services. `python device.py PACKAGE ROWS.json` scores a file.
"""

import difflib
import hashlib
import io
import json
import math
import os
import re
import shutil
import sys
import uuid
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # nothing reports home

import numpy as np
import onnxruntime as ort

FORMAT = 1
QUEUE_BYTES = 5_000_000
LONGEST_EVENT = 65_536
UNSEEN = "unseen or rare in training"
FAR = "far from all values of training"
Row = dict[str, Any]


class Broken(Exception):
    """A package that cannot be used: one line says which part, and why."""


class Refused(Exception):
    """Rows that got no answer; `problems` say which field of which row breaks which rule."""

    def __init__(self, problems: list[Row]) -> None:
        first = problems[0]
        super().__init__(f"row {first['row']}, {first['field']}: {first['problem']}")
        self.problems = problems


# ---------------------------------------------------------------- signatures
# Ed25519 (RFC 8032, section 5.1.7). Only signatures are checked here: there is no secret that the
# time this takes could tell.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int, int, int]  # X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(number: int, point: Point) -> Point:
    found = (0, 1, 1, 0)
    while number:
        if number & 1:
            found = _add(found, point)
        point, number = _add(point, point), number >> 1
    return found


def _point(data: bytes) -> Point:
    """Return the point that 32 bytes name; ValueError when they name none."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if len(data) != 32 or y >= P:
        raise ValueError("no point")
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (not x and sign):
        raise ValueError("no point")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = _point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def is_signed(content: bytes, signature: bytes, public_key: str) -> bool:
    """Whether `signature` of `content` was made with the secret of `public_key`, 64 hex digits."""
    try:
        key = bytes.fromhex(public_key)
        owner, r, s = _point(key), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    except ValueError:
        return False
    if len(signature) != 64 or s >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + key + content).digest()
    right = _add(r, _times(int.from_bytes(digest, "little") % ORDER, owner))
    left = _times(s, BASE)
    return not any((left[i] * right[2] - right[i] * left[2]) % P for i in (0, 1))


def _open_signed(read: Callable[[str], bytes], name: str, public_key: str) -> Row:
    """Return a signed JSON object."""
    try:
        content, signature = read(f"{name}.json"), read(f"{name}.sig")
    except OSError as error:
        raise Broken(f"{name}: cannot be read ({error.strerror or error})") from None
    try:
        proof = bytes.fromhex(signature.decode("ascii").strip())
    except ValueError:
        proof = b""
    if not is_signed(content, proof, public_key):
        raise Broken(f"{name}.json is not signed by the owner of the model")
    found: Row = json.loads(content)
    return found


# ---------------------------------------------------------------- one model


class Scorer:
    """A verified package, ready to score rows."""

    def __init__(self, contract: Row, model: bytes) -> None:
        self.contract, self.version = contract, str(contract["version"])
        self.columns: list[Row] = contract["columns"]
        self.known = {column["name"] for column in self.columns} | {*contract["ignored"]}
        self.outputs: list[Row] = contract["outputs"]
        self.reading = contract["reading"]
        self.missing = {*self.reading["missing"]}
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        try:
            self.session = ort.InferenceSession(model, options, providers=providers)
        except Exception as error:  # onnxruntime raises one class per kind of damage
            raise Broken(f"model.onnx cannot be opened: {str(error).splitlines()[0]}") from None

    @classmethod
    def load(cls, package: Path, public_key: str) -> "Scorer":
        """Open a package; Broken when a part is not what was signed or an answer differs."""
        manifest = _open_signed(lambda name: (package / name).read_bytes(), "manifest", public_key)
        if manifest.get("format") != FORMAT:
            raise Broken(f"manifest.json has format {manifest.get('format')}, not {FORMAT}")
        content = {}
        for name, wanted in manifest["files"].items():
            path = package / name
            content[name] = path.read_bytes() if path.is_file() else b""
            if hashlib.sha256(content[name]).hexdigest() != wanted:
                raise Broken(f"{name} is {'changed' if path.is_file() else 'missing'}")
        scorer = cls(json.loads(content["contract.json"]), content["model.onnx"])
        scorer.replay(json.loads(content["golden.json"]))
        return scorer

    def replay(self, golden: Row) -> None:
        """Score the golden rows; Broken when a number is further off than it may be."""
        try:
            found = self.predict(self.encode(self.read(golden["rows"])))
        except Refused as error:
            raise Broken(f"its golden rows are refused: {error}") from None
        for name, wanted in golden["answers"].items():
            apart = np.abs(np.asarray(found[name], float) - np.asarray(wanted["values"], float))
            if not (apart <= np.asarray(wanted["tolerance"], float)).all():
                raise Broken(f"golden rows differ in {name} by up to {float(apart.max()):.2g}")

    def score(self, rows: Sequence[Any]) -> Row:
        """Return the answer to rows, as the project's services give it; Refused for bad rows."""
        read = self.read(rows)
        matrix = self.encode(read)
        outputs = self.predict(matrix)
        predictions = []
        for number, values in enumerate(read):
            told = {name: column[number] for name, column in outputs.items()}
            if warning := self._unseen(values, matrix[number]):
                told["warning"] = warning
            for column in self.columns:
                if column["key"] and (value := values[column["name"]]) is not None:
                    told[column["name"]] = _written(value, column["kind"])
            predictions.append(told)
        decided = {name: float(value) for name, value in self.contract["decision"].items()}
        return {"model_version": self.version, **decided, "predictions": predictions}

    def read(self, rows: Sequence[Any]) -> list[Row]:
        """Return the values of rows by column; Refused with everything that is wrong."""
        found: list[Row] = []
        problems: list[Row] = []
        for number, row in enumerate(rows):
            values: Row = {}
            problems += [
                {"row": number, "field": field, "problem": problem, "hint": hint}
                for field, problem, hint in self._problems(row, values)
            ]
            found.append(values)
        if problems:
            raise Refused(problems[:100])
        return found

    def _problems(self, row: Any, values: Row) -> list[tuple[str | None, str, str]]:
        if not isinstance(row, dict):
            return [(None, "type", "send one object per row")]
        found: list[tuple[str | None, str, str]] = []
        for name in sorted(row.keys() - self.known):
            names = [column["name"] for column in self.columns]
            near = difflib.get_close_matches(name[:100], names, 1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            found.append((name[:100], "unknown field", hint))
        for column in self.columns:
            value = values[column["name"]] = self._value(row.get(column["name"]), column)
            if rule := self._broken(value, column):
                found.append((column["name"], rule, f"send {column['expected']}"))
        return found

    def _value(self, value: Any, column: Row) -> Any:
        """Return a value of JSON as its kind wants it, or as it is where it cannot be read so."""
        kind = column["kind"]
        if isinstance(value, str) and value in self.missing:
            return None
        if kind in ("category", "text"):
            if value is None or isinstance(value, list | dict):
                return value
            if isinstance(value, str) and not column["used"]:
                return value  # it comes back as it was sent
            text = _text(value)
            if kind == "category":
                return None if (level := self._level(text)) in self.missing else level
            return text.strip() and text
        if isinstance(value, str):
            value = self._from_text(value.strip(), column)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        if kind == "number":
            return float(value) if abs(value) < 1e309 else math.copysign(math.inf, value)
        if kind == "integer" and isinstance(value, float) and value.is_integer():
            return int(value) if abs(value) < 2**63 else value
        return bool(value) if kind == "boolean" and value in (0, 1) else value

    def _from_text(self, text: str, column: Row) -> Any:
        kind, reading = column["kind"], self.reading
        if not text:
            return None
        if kind in ("date", "timestamp"):
            return self._moment(text, column) or text
        if kind == "boolean" and text.lower() in reading["boolean"]:
            return reading["boolean"][text.lower()]
        if column["decimal_comma"] and re.fullmatch(reading["decimal_comma"], text):
            text = re.sub(reading["thousands"], "", text).replace(",", ".")
        if column.get("thousands_comma") and re.fullmatch(reading["thousands_comma"], text):
            text = text.replace(",", "")
        if not re.fullmatch(reading["number"], text, re.IGNORECASE | re.ASCII):
            return text
        whole = kind == "integer" and re.fullmatch(r"[+-]?\d{1,19}", text, re.ASCII)
        return int(text) if whole else float(text)

    def _moment(self, text: str, column: Row) -> datetime | None:
        """Read ISO 8601 or a format of the contract, as a time in UTC without an offset."""
        for form in column["forms"]:
            if not re.fullmatch(form["pattern"], text):
                continue
            try:
                moment = _parsed(text, form["format"])
            except (ValueError, OverflowError):  # an offset can lead out of the calendar
                continue
            if moment.year >= 1000:
                is_date = column["kind"] == "date"
                return datetime(moment.year, moment.month, moment.day) if is_date else moment
        return None

    def _level(self, text: str) -> str:
        text = text.strip()
        return re.sub(self.reading["level"], r"\1\2\3", text) if text.endswith("0") else text

    def _broken(self, value: Any, column: Row) -> str:
        """Return the first rule that a value breaks, "" where it breaks none."""
        kind, low, high = column["kind"], column["minimum"], column["maximum"]
        if value is None or value == "":
            return "required" if column["required"] else ""
        is_read = isinstance(value, TYPES[kind]) and isinstance(value, bool) == (kind == "boolean")
        if not is_read or (kind == "integer" and not -(2**63) <= value < 2**63):
            return "type"
        if kind == "number" and not abs(value) <= float(np.finfo(np.float32).max):
            return "infinite"
        if kind == "text":
            is_long = high is not None and len(value) > high
            return "NUL" if "\0" in value else "length" if is_long else ""
        if low is not None and value < low:
            return "minimum"
        if high is not None and value > high:
            return "maximum"
        if column["longest"] is not None and len(value) > column["longest"]:
            return "length"
        return "levels" if column["levels"] and self._level(value) not in column["levels"] else ""

    def encode(self, rows: Sequence[Row]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Turn rows of `read` into what the graph takes, float32 of shape (rows, features)."""
        matrix = [
            [_number(row, feature) for feature in self.contract["numeric"]]
            + [self._code(row[f["column"]], f) for f in self.contract["categorical"]]
            for row in rows
        ]
        width = len(self.contract["numeric"]) + len(self.contract["categorical"])
        return np.array(matrix, np.float32).reshape(len(rows), width)

    def _code(self, value: Any, feature: Row) -> float:
        code: float = feature["codes"].get(value or "", feature["other"])
        return code

    def predict(self, matrix: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, list[Any]]:
        """Return the outputs of the graph by name, one value or list of numbers for each row."""
        names = [output["name"] for output in self.outputs]
        if not len(matrix):
            return {name: [] for name in names}
        found = self.session.run(names, {"x": matrix})
        answers: dict[str, list[Any]] = {}
        for output, values in zip(self.outputs, found, strict=True):
            rows = values.tolist()
            if output["kind"] == "text":
                answers[output["name"]] = [", ".join(filter(None, row)) for row in rows]
            elif several := SEVERAL.get(output["kind"]):
                answers[output["name"]] = [list(map(several, row)) for row in rows]
            else:
                typed = TYPES[output["kind"]]
                answers[output["name"]] = [typed(row[0]) for row in rows]
        return answers

    def _unseen(self, values: Row, encoded: Any) -> str:
        first = len(self.contract["numeric"])
        for place, feature in enumerate(self.contract["categorical"], first):
            value = values[feature["column"]]
            if encoded[place] == feature["other"] and value and value not in self.missing:
                return f"{feature['column']}: {UNSEEN}"
        for place, column, low, high in self.contract["far"]:
            if encoded[place] < low or encoded[place] > high:
                return f"{column}: {FAR}"
        return ""


TYPES: dict[str, type] = {"number": float, "integer": int, "boolean": bool}
SEVERAL: dict[str, type] = {"numbers": float, "list": float, "items": int}
TYPES |= {"category": str, "text": str, "date": datetime, "timestamp": datetime}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value + 0.0) if isinstance(value, float) else str(value)


def _parsed(text: str, form: str) -> datetime:
    if not form:
        moment = datetime.fromisoformat(text.upper())
    else:  # "%.f": digits of a second that may be missing, of which six count
        digits = ".%f" if re.search(r":\d+\.\d+", text) else ""
        text = re.sub(r"(:\d+\.\d{6})\d+", r"\1", text)
        moment = datetime.strptime(text, form.replace("%.f", digits))
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _number(row: Row, feature: Row) -> float:
    """Return the number that a feature makes of a row: NaN where a value is missing."""
    value, part = row[feature["column"]], feature["part"]
    until = row[feature["until"]] if feature["until"] else None
    if feature["reference"]:
        until = datetime.fromisoformat(feature["reference"])
    if value is None or (feature["until"] and until is None):
        return math.nan
    if until is not None:
        return float((until - value) / timedelta(days=1))
    if part in ("year", "month", "day", "hour", "minute"):
        return float(getattr(value, part))
    return float(value.isoweekday() if part == "weekday" else value)


def _written(value: Any, kind: str) -> Any:
    return value.date().isoformat() if kind == "date" else _plain(value)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


# ---------------------------------------------------------------- what was answered


class Queue:
    """Answers that wait for a network: a file that only grows, up to a limit.

    Beyond it events are counted, not kept: predictions never wait for a disk. `hand_over` gives a
    file to send and `delivered` ends it; until then the same file is given again, so that nothing
    is lost, and what is sent twice has the same event ids.
    """

    def __init__(self, folder: Path, limit: int = QUEUE_BYTES) -> None:
        self.path, self.limit = folder / "queue.jsonl", limit
        self.outbox, self.lost_path = folder / "outbox.jsonl", folder / "queue.lost"

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(path.stat().st_size for path in (self.path, self.outbox) if path.exists())

    @property
    def lost(self) -> int:
        """Events that had no room since the last file was handed over."""
        return int(self.lost_path.read_text()) if self.lost_path.exists() else 0

    def add(self, event: Row) -> bool:
        """Append an event; whether there was room."""
        line = json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        fits = len(line) <= LONGEST_EVENT and self.size + len(line) <= self.limit
        try:
            if fits:
                with self.path.open("ab", buffering=0) as file:
                    whole = file.tell() == 0 or _ends_a_line(self.path)
                    file.write(line if whole else b"\n" + line)  # after a line that a kill cut
                return True
            _replace(self.lost_path, str(self.lost + 1).encode())
        except OSError:  # a full disk costs events, never an answer
            return False
        return False

    def hand_over(self) -> Path | None:
        """Return the file to send, None where nothing waits."""
        if not self.outbox.exists():
            if not self.path.exists():
                return None
            if lost := self.lost:
                with self.path.open("ab", buffering=0) as file:
                    file.write(json.dumps({"lost": lost}).encode() + b"\n")
                self.lost_path.unlink()
            os.replace(self.path, self.outbox)
        return self.outbox

    def delivered(self) -> None:
        """Forget the file that was handed over."""
        self.outbox.unlink(missing_ok=True)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


# ---------------------------------------------------------------- two versions


def ring(device_id: str, salt: str) -> float:
    """Return the place of a device between 0 and 1: the same on every system, for ever."""
    digest = hashlib.sha256(f"{salt}/{device_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class Device:
    """The model of one device, the version before it, and its queue, all in `folder`.

    What is installed takes over only after its signature, its hashes and its golden rows were
    right; what breaks later falls back to the version before, by itself.
    """

    def __init__(
        self, folder: Path, device_id: str, public_key: str, queue_bytes: int = QUEUE_BYTES
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.device_id, self.public_key = folder, device_id, public_key
        self.queue = Queue(folder, queue_bytes)
        self.events: list[str] = []  # what happened, for the log of the device
        self.state: Row = {"current": None, "before": None, "number": 0, "refused": []}
        path = folder / "state.json"
        if path.exists():
            self.state |= json.loads(path.read_bytes())
        self.scorer: Scorer | None = None
        for name in (self.state["current"], self.state["before"]):
            if name is None or self.scorer:
                continue
            try:
                self.scorer = Scorer.load(folder / name, public_key)
            except Broken as error:
                self.events.append(f"{name} is broken: {error}")
                self._forget(name)

    @property
    def version(self) -> str | None:
        """The version in use."""
        return self.scorer.version if self.scorer else None

    def follow(self, read: Callable[[str], bytes]) -> str:
        """Look whether there is another version for this device; return what was done.

        `read` gets a file of what `ml edge release` wrote by its name, from wherever it is
        published; OSError where it cannot.
        """
        try:
            release = _open_signed(read, "release", self.public_key)
        except Broken as error:
            return f"nothing: {error}"
        version, wanted = release["version"], release["manifest_sha256"]
        if release["number"] < self.state["number"]:
            return "nothing: an older release than the last one"
        if wanted in self.state["refused"]:
            return f"nothing: {version} was refused before"
        if self.state["current"] == _name(wanted):
            return f"nothing: {version} is in use"
        if ring(self.device_id, version) >= release["share"] and self.scorer:
            return f"nothing: {version} is for {release['share']:.0%} of the devices"
        try:
            content = read(f"{version}.zip")
        except OSError as error:
            return f"nothing: {version}.zip cannot be read ({error})"
        self.state["number"] = release["number"]
        try:
            return self.install(content, wanted)
        except Broken as error:
            self.state["refused"] = [*self.state["refused"], wanted][-20:]
            self._save()
            return f"kept {self.version}: {version} was refused, {error}"

    def install(self, package: bytes, manifest_sha256: str | None = None) -> str:
        """Unpack a zip and switch to it; Broken, and nothing changes, when it is not right."""
        temporary = self.folder / ".new"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with zipfile.ZipFile(io.BytesIO(package)) as archive:
                for name in archive.namelist():
                    if not re.fullmatch(r"[\w-]+(\.[\w-]+)+", name):
                        raise Broken(f"the package holds {name!r}")
                archive.extractall(temporary)
            content = (temporary / "manifest.json").read_bytes()
        except (zipfile.BadZipFile, OSError) as error:
            raise Broken(f"the package cannot be unpacked: {error}") from None
        digest = hashlib.sha256(content).hexdigest()
        if manifest_sha256 not in (None, digest):
            raise Broken("the package is not the one that was released")
        scorer = Scorer.load(temporary, self.public_key)
        name = _name(digest)
        if name != self.state["current"]:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            os.replace(temporary, self.folder / name)
            self.state |= {"current": name, "before": self.state["current"]}
            self._save()
        self.scorer = scorer
        self._clear()
        return f"now {scorer.version}"

    def roll_back(self) -> str:
        """Go back to the version before; Broken when there is none that works."""
        name, bad = self.state["before"], self.state["current"]
        if name is None:
            raise Broken("there is no version before")
        self.scorer = Scorer.load(self.folder / name, self.public_key)
        self._forget(bad)
        return f"back at {self.scorer.version}"

    def score(self, rows: Sequence[Any]) -> Row:
        """Answer rows and queue what was answered; Refused for bad rows, Broken without a model."""
        if self.scorer is None:
            raise Broken("no version is installed")
        try:
            answer = self.scorer.score(rows)
        except Refused:
            raise
        except Exception as error:  # whatever breaks in a model: the one before may do
            self.events.append(f"{self.version} failed: {type(error).__name__}")
            self.roll_back()
            answer = self.scorer.score(rows)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for row, told in zip(rows, answer["predictions"], strict=True):
            self.queue.add(self._event(now, row, told))
        return answer

    def _event(self, now: str, row: Row, told: Row) -> Row:
        """Return what is written down of a prediction: nothing of personal columns."""
        scorer = self.scorer
        assert scorer
        shown = [column for column in scorer.columns if not column["personal"]]
        given = {column["name"]: row.get(column["name"]) for column in shown}
        given = {name: value for name, value in given.items() if value is not None}
        own = given.get("event_id")
        return {
            "event_id": own if isinstance(own, str) and own else uuid.uuid4().hex,
            "time": now,
            "device": self.device_id,
            "version": scorer.version,
            "row": given,
            "answer": {output["name"]: told[output["name"]] for output in scorer.outputs},
        }

    def _forget(self, name: str) -> None:
        """Leave a version that does not work, and never take it again."""
        current = self.state["before"] if name == self.state["current"] else self.state["current"]
        refused = [*self.state["refused"], name.removeprefix("package-")][-20:]
        self.state |= {"current": current, "before": None, "refused": refused}
        self._save()

    def _save(self) -> None:
        _replace(self.folder / "state.json", json.dumps(self.state).encode())

    def _clear(self) -> None:
        kept = {self.state["current"], self.state["before"]}
        for path in self.folder.glob("package-*"):
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)


def _name(manifest_sha256: str) -> str:
    return f"package-{manifest_sha256}"


def main() -> None:
    """Score a file of JSON with a package whose public key is in EDGE_PUBLIC_KEY."""
    try:
        package, rows = map(Path, sys.argv[1:3])
        scorer = Scorer.load(package, os.environ.get("EDGE_PUBLIC_KEY", ""))
        content = json.loads(rows.read_bytes())
        answer = scorer.score(content if isinstance(content, list) else [content])
    except Refused as error:
        sys.exit(json.dumps({"errors": error.problems}, ensure_ascii=False))
    except Broken as error:
        sys.exit(f"{sys.argv[1]}: {error} (the key is read from EDGE_PUBLIC_KEY)")
    except (OSError, ValueError) as error:
        sys.exit(f"python device.py PACKAGE ROWS.json: {error}")
    print(json.dumps(answer, ensure_ascii=False, default=str))


if __name__ == "__main__":
    main()
