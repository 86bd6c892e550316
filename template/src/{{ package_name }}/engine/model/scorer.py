"""Score rows with a verified bundle: the one way every serving mode predicts.

Needs numpy, onnxruntime and msgspec only, so that no training library reaches production.
"""

import datetime as dt
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import dialect, kinds, privacy, storage, task
from ..errors import ProjectError
from ..keys import secret
from ..kinds import READ
from . import coded, stored_graph, wanted, whole
from .history import (
    FEW_ROWS,
    Keys,
    Moments,
    State,
    Told,
    events_of,
    key_of,
    moment_of,
    read_of,
)
from .history import FILES as STATE_FILES
from .history import read as read_state
from .output import Output, answer
from .reach import Limit, Profile, Reach, Reached, Tell, Warnings, far_off, limits, tells
from .seasons import Lookback
from .sessions import scored_by, session
from .texts import Reader, TextFeature
from .values import ServedColumn, breach, example, read_value, row_type, utc

FORMAT = 3
GOLDEN_TOLERANCE = 1e-4
MANIFEST = "manifest.json"
PROFILE = "profile.json"
EVALUATED = "metrics.json"  # comes later, so that the registry has its hash
GRAPHS = ("model.onnx", "model_encoded.onnx")
FILES = {*GRAPHS, "contract.odcs.yaml", "features.json", "columns.json", "golden.json"}
UNSEEN = "unseen or rare in training"  # a category that the model takes as one of all others
MICROSECONDS_A_DAY = 86_400_000_000
Part = Literal["value", "year", "month", "day", "weekday", "hour", "minute", "elapsed"]
PARTS: dict[str, Callable[[Any], float]] = {
    "year": lambda moment: utc(moment).year,
    "month": lambda moment: utc(moment).month,
    "day": lambda moment: utc(moment).day,
    "weekday": lambda moment: utc(moment).isoweekday(),
    "hour": lambda moment: utc(moment).hour,
    "minute": lambda moment: utc(moment).minute,
}


class NumericFeature(msgspec.Struct, frozen=True):
    """A number the model sees: a column's value, a part of its date or the days since then.

    Days are counted to the column `until` of the same row, or to the fixed time `reference`.
    """

    name: str
    column: str
    part: Part = "value"
    until: str | None = None
    reference: str | None = None

    @property
    def reference_moment(self) -> dt.datetime:
        """`reference` as a time in UTC without an offset."""
        return dt.datetime.fromisoformat(self.reference or "")


class CategoricalFeature(msgspec.Struct, frozen=True):
    """A code the model sees: the index of the value in `levels`, or len(levels) for any other."""

    name: str
    column: str
    levels: tuple[str, ...]


class FeatureSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """How raw columns become the model's matrix: first the numbers, then the codes.

    `context` names features, the last of their kind, that say for whom and when a row is. Those of
    `history` are numbers that no column holds: a state has them. In training `texts` are codes,
    behind all others, that features are made of; a bundle has numbers made of `words` instead.
    """

    numeric: tuple[NumericFeature, ...]
    categorical: tuple[CategoricalFeature, ...]
    context: tuple[str, ...] = ()
    history: tuple[Lookback, ...] = ()
    texts: tuple[CategoricalFeature, ...] = ()
    words: tuple[TextFeature, ...] = ()

    @property
    def measured(self) -> int:
        """How many numbers, the first ones, are no context."""
        return sum(item.name not in self.context for item in self.numeric)

    @property
    def names(self) -> list[str]:
        """Names of the matrix columns, in order."""
        codes = (*self.categorical, *self.texts)
        return [item.name for item in self.numeric] + [item.name for item in codes]

    @property
    def origin(self) -> dict[str, str]:
        """The column that each feature is made of; one that looks back stands for itself."""
        back = {feature.name for feature in self.history}
        every: list[NumericFeature | CategoricalFeature] = [*self.numeric, *self.categorical]
        every += self.texts
        origin = {item.name: item.name if item.name in back else item.column for item in every}
        return origin | {name: feature.column for feature in self.words for name in feature.made}

    def made_of(self, columns: Collection[str]) -> set[str]:
        """Names of the features that come from these columns, also from earlier values of them."""
        earlier = {feature.name: feature.column for feature in self.history}
        return {n for n, column in self.origin.items() if earlier.get(n, column) in columns}

    @property
    def columns(self) -> set[str]:
        """Names of the columns that are read of a row."""
        made = {feature.name for feature in self.history}
        made |= {name for feature in self.words for name in feature.made}
        codes = (*self.categorical, *self.texts)
        read = {item.column for item in self.numeric} | {item.column for item in codes}
        read = read - made | {item.column for item in self.words}
        return read | {name for feature in self.history for name in (feature.by, feature.on)}


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle is and the SHA-256 of each of its files.

    `decision` holds the numbers that decisions follow from; `head` names the last step of the
    graph. `ignored` are the other columns of the contract, which a row may hold or lack. `commit`
    is git's, if the project is in git, and `changed` tells whether its files differed from it.
    `pretrained` names the files whose weights it holds a copy of, with the SHA-256 of each.
    `data_sha256` is that of the valid rows, `snapshot_sha256` that of the snapshot they came from.
    """

    format: int
    version: str
    task: str
    champion: str
    primary_metric: str
    target: str
    outputs: tuple[Output, ...]
    decision: dict[str, float]
    head: str
    contract_sha256: str
    data_sha256: str
    run: str
    created: str
    features: tuple[str, ...]
    files: dict[str, str]
    ignored: tuple[str, ...] = ()
    commit: str | None = None
    changed: bool = False
    pretrained: dict[str, str] = {}
    snapshot_sha256: str = ""


class Golden(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows with the scores, by output, that every runtime must repeat.

    `history` are the features that look back, as they were: the state goes on. `usual` is the
    encoded row of medians and commonest codes that reasons are told against.
    """

    rows: tuple[dict[str, Any], ...]
    scores: dict[str, tuple[float | tuple[float, ...], ...]]
    history: tuple[tuple[float | None, ...], ...] = ()
    usual: tuple[float | None, ...] = ()


def _shown(value: float | str | None) -> str:
    return "none" if value is None else f"{value:.9g}" if isinstance(value, float) else value


def read_golden(folder: Path, columns: Sequence[ServedColumn]) -> Golden:
    """Read golden.json; rows get an example for each personal column that they must have."""
    golden = storage.read_json(folder / "golden.json", Golden)
    added = {c.name: example(c) for c in columns if c.required and privacy.hidden(c)}
    rows = tuple(row | added for row in golden.rows)
    return msgspec.structs.replace(golden, rows=rows)


def _verified(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Return the graphs; ProjectError for a file without a hash, or one that is not what it says.

    What begins with a dot is of the file system or of a kill: nothing reads it.
    """
    if unhashed := sorted(FILES - manifest.files.keys()):
        raise ProjectError(
            f"bundle {folder.name}: manifest.json has no hash of {unhashed[0]}; restore it or "
            "train again"
        )
    there = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    names = {path.as_posix() for path in there if not re.search(r"(^|/)\.", path.as_posix())}
    names = {name for name in names if not STATE_FILES.fullmatch(name)}  # has a hash of its own
    if unknown := sorted(names - {MANIFEST, EVALUATED, *manifest.files}):
        raise ProjectError(f"bundle {folder.name}: {unknown[0]} is no file of it; remove it")
    graphs = {}
    for name, expected in manifest.files.items():
        path = folder / name
        content, digest = storage.read_hashed(path) if path.is_file() else (b"", "")
        if name in (*GRAPHS, *whole.FILES):
            graphs[name] = content
        if digest != expected:
            state = "changed" if path.is_file() else "missing"
            raise ProjectError(
                f"bundle {folder.name}: {name} is {state}; restore it or train again"
            )
    return graphs


def _event_columns(
    spec: FeatureSpec, columns: Sequence[ServedColumn], target: str, names: coded.Names
) -> tuple[ServedColumn, ...]:
    """Return what a row of a history has: keys and time, and the values that features look at."""
    served = {column.name: column for column in columns}
    which = {name for feature in spec.history for name in (feature.by, feature.on)}
    valued = {feature.column for feature in spec.history} - which - {""}
    found = [msgspec.structs.replace(served[name], required=True) for name in sorted(which)]
    for name in sorted(valued):
        kind: kinds.Kind = "category" if names and name == target else "number"
        own = served.get(name, ServedColumn(name=name, kind=kind))
        found.append(msgspec.structs.replace(own, required=False))
    return tuple(found)


def _key(value: Any) -> Any:
    if isinstance(value, str):
        return None if value in dialect.MISSING else value
    return _moment(value) if isinstance(value, dt.datetime) else value


def codes_of(levels: tuple[str, ...]) -> dict[str, float]:
    """Return the code of each level; what means missing has the code of ""."""
    codes = {dialect.level(level): float(code) for code, level in enumerate(levels)}
    return codes | dict.fromkeys(dialect.MISSING, codes.get("", float(len(levels))))


def _moment(value: Any) -> dt.datetime:
    """Turn a date or a time into a time in UTC without an offset."""
    if not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day)
    moved: dt.datetime = utc(value)
    return moved.replace(tzinfo=None)


class Recounted(list[msgspec.Struct]):
    """Rows that came with a history, and the state that this makes beside that of the bundle.

    `wanted` is what their request wants beside (`wanted.py`), `doubt` a warning about it.
    """

    state: State | None
    wanted: wanted.Wanted
    doubt: str


class Scorer:
    """A bundle, verified and ready to score."""

    def __init__(
        self,
        manifest: Manifest,
        spec: FeatureSpec,
        columns: tuple[ServedColumn, ...],
        model: bytes,
        threads: int = 1,
        state: State | None = None,
        words: Sequence[Reader] = (),
        names: coded.Names = (),
    ) -> None:
        self.names, self._codes = names, coded.codes(names)
        self.state, self.words = state, words
        self.manifest = manifest
        self.version = manifest.version
        self.outputs = manifest.outputs
        self.score = next((o.name for o in self.outputs if o.role == "score"), "")
        self.spec = spec
        self.columns = tuple(column for column in columns if column.used)
        # What a row may hold: behind the columns of the model those that only say which row it is.
        self.sent = (*self.columns, *(column for column in columns if not column.used))
        self.keys = {f"f{index}": c for index, c in enumerate(self.sent) if c.key}
        hashed = [column.name for column in self.columns if column.pseudonym]
        self._secrets = dict.fromkeys(hashed, secret() if hashed else None)
        self.row_type = row_type(self.sent, closed=not manifest.ignored)
        self._session = session(model)
        self._threads = threads
        optional = {each.name for each in self._session.get_overridable_initializers()}
        self.wants = tuple(name for name in wanted.FIELDS if name in optional)
        self.looks_further = wanted.EARLIER in optional
        self._known: wanted.Known = np.empty(0, np.int64)
        if self.wants:
            self._known = stored_graph.stated(model, wanted.items_of)
        self._listed = {
            o.name: o.kind for o in self.outputs if o.kind in ("items", "names", "list")
        }
        dated = (i for i, column in enumerate(self.sent) if column.kind in ("date", "timestamp"))
        self._moments = [f"f{index}" for index in dated]
        looked = (n for n, column in enumerate(self.sent) if column.kind in READ)
        self._whole = {f"f{n}": self.sent[n].kind for n in looked if self.sent[n].kind != "text"}
        self.has_times = any(column.kind == "timestamp" for column in self.sent)
        position = {column.name: index for index, column in enumerate(self.sent)}
        self._position = dict(position)
        added = [name for feature in spec.words for name in feature.made]
        added += [feature.name for feature in spec.history]
        position |= {name: index for index, name in enumerate(added, len(self.sent))}
        self._numeric = [
            (
                position[feature.column],
                PARTS.get(feature.part),
                position[feature.until] if feature.until else None,
                feature.reference_moment if feature.reference else None,
            )
            for feature in spec.numeric
        ]
        self._categorical = [
            (
                position[feature.column],
                codes_of(feature.levels),
                float(len(feature.levels)),
            )
            for feature in spec.categorical
        ]

        self.events = _event_columns(spec, self.columns, manifest.target, names)
        # Of a column that no answer depends on it tells nothing that a code is the last one.
        idle = [self.sent[index].idle for index, *_ in self._categorical]
        others = [-1.0 if i else c[2] for i, c in zip(idle, self._categorical, strict=True)]
        self._others = np.array(others, dtype=np.float32)
        self._reaches: tuple[Tell, ...] = tells(spec.history, spec.words, words, spec.names)
        self.series = [each for each in self._reaches if isinstance(each, Reach) and each.passed]
        self.far: list[Limit] = []

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> "Scorer":
        """Open `folder`; ProjectError when a file is missing or changed or an answer differs."""
        try:
            manifest = storage.read_json(folder / "manifest.json", Manifest)
        except ProjectError as error:
            reason = re.search(r"\(.*\)", str(error))
            raise ProjectError(
                f"bundle {folder.name}: manifest.json is missing or damaged"
                f"{f' {reason[0]}' if reason else ''}; restore it or train again"
            ) from None
        if manifest.format != FORMAT:
            raise ProjectError(
                f"bundle {folder.name}: its format is {manifest.format}, this project reads "
                f"{FORMAT}; train again"
            )
        if manifest.task != task.TASK:
            raise ProjectError(
                f"bundle {folder.name}: it is a model for task_type {manifest.task}, this project "
                f"is for {task.TASK}: train again, or `ml update --data "
                f"task_type={manifest.task}` goes back to that task"
            )
        graphs = _verified(folder, manifest)
        spec = storage.read_json(folder / "features.json", FeatureSpec)
        words = whole.read(folder.name, graphs, spec.words)
        scorer = cls(
            manifest,
            spec,
            storage.read_json(folder / "columns.json", tuple[ServedColumn, ...]),
            graphs["model_encoded.onnx"],
            threads,
            read_state(folder, spec.history) if spec.history else None,
            words,
            coded.read(folder),
        )
        scorer.check_graphs(folder.name, graphs)
        if any(scorer._secrets.values()):
            scorer.check_secret()
        if PROFILE in manifest.files:
            scorer.knows(storage.read_json(folder / PROFILE, Profile).features)
        scorer.replay(read_golden(folder, scorer.columns))
        return scorer

    def check_secret(self) -> None:
        """ProjectError where keys of callers cannot be found, for want of what hashed them."""
        if self.state:
            self.state.check_secret(secret() if self._secrets else None, self.version)

    def knows(self, profile: Mapping[str, Reached]) -> None:
        """Take from what training profiled between which limits a number is not far from all."""
        idle = {column.name for column in self.sent if column.idle}
        self.far = limits(self.spec.numeric, idle, profile)
        self._reaches = (*self._reaches, *far_off(self.far))

    def check_graphs(self, bundle: str, graphs: dict[str, bytes]) -> None:
        """ProjectError when the manifest says something else than the graphs themselves."""
        said = {name: float(np.float32(value)) for name, value in self.manifest.decision.items()}
        told = said | {"head": self.manifest.head}
        for name, graph in graphs.items():
            for key, value in stored_graph.stated(graph, task.stated).items():
                if value != told.get(key):
                    raise ProjectError(
                        f"bundle {bundle}: {name} has {key} {_shown(value)}, manifest.json says "
                        f"{_shown(told.get(key))}; restore it or train again"
                    )
        emitted = [output.name for output in self._session.get_outputs()]
        if [output.name for output in self.outputs] != emitted:
            raise ProjectError(f"bundle {bundle}: manifest.json names other outputs than the graph")
        if list(self.manifest.features) != self.spec.names:
            raise ProjectError(
                f"bundle {bundle}: manifest.json names other features than features.json"
            )

    def replay(self, golden: Golden) -> None:
        """Score the golden rows; ProjectError when an answer differs from training."""
        rows = list(map(self.read_row, golden.rows))
        found = self.predict(self.encode_rows(rows, golden.history))
        told = {name: np.asarray(scores) for name, scores in golden.scores.items()}
        units = {name: task.unit(scores, *told.values()) for name, scores in told.items()}
        apart = [np.abs(found[name] - scores) / units[name] for name, scores in told.items()]
        worst = float(max(each.max(initial=0) for each in apart))
        if not worst <= GOLDEN_TOLERANCE:
            raise ProjectError(
                f"bundle {self.version}: golden rows differ by {worst:.2g}; train again here"
            )

    def read_row(self, row: dict[str, Any]) -> msgspec.Struct:
        """Read a row of JSON as `ml validate` does; msgspec.ValidationError when it breaks it."""
        values = []
        for column in self.sent:
            values.append(read_value(row.get(column.name), column))
            if rule := breach(values[-1], column):
                raise msgspec.ValidationError(f"{column.name}: {rule}")
        return self.row_of(values)

    def row_of(self, values: Sequence[Any]) -> msgspec.Struct:
        """Return the row of `row_type` with these values, one for each column of `sent`."""
        return self.row_type(**{f"f{index}": value for index, value in enumerate(values)})

    def keys_of(self, rows: Sequence[msgspec.Struct]) -> list[list[Any]]:
        """Return the values of each key in these rows; None where missing, times in UTC."""
        return [[_key(getattr(row, name)) for row in rows] for name in self.keys]

    def is_odd(self, rows: Sequence[msgspec.Struct]) -> bool:
        """Whether a decoded value may break a rule that a type does not tell.

        Such is a time outside of the years that `read_moment` knows.
        """
        if any(
            kinds.fault(value, kind)
            for name, kind in self._whole.items()
            for row in rows
            if (value := getattr(row, name))
        ):
            return True
        return bool(self._moments) and any(
            (moment := getattr(row, name)) is not None and not 1000 < moment.year < 9999
            for name in self._moments
            for row in rows
        )

    def encode_rows(
        self, rows: Sequence[msgspec.Struct], past: Sequence[Sequence[float | None]] = ()
    ) -> NDArray[np.float32]:
        """Turn rows of `row_type` into the model's matrix, shape (rows, features).

        `past` are the features of each row that look back; without it the state is asked, that of
        the rows if they came with one.
        """
        return self._encoded(
            [msgspec.structs.astuple(row) for row in rows], self._state(rows), past
        )

    def read(self, rows: Sequence[msgspec.Struct]) -> tuple[NDArray[np.float32], wanted.Wanted]:
        """Return the matrix of rows and what the graph is told of them beside it."""
        given = rows.wanted if isinstance(rows, Recounted) else wanted.Wanted()
        values = [msgspec.structs.astuple(row) for row in rows]
        if (state := self._state(rows)) is None:
            return self._encoded(values, None), given
        moments, keys = asked = self._asked_of(state, values)
        encoded = self._encoded(values, state, self._past(state, *asked))
        if not self.looks_further:
            return encoded, given
        return encoded, given | self._earlier(
            state, state.arrays(keys), np.array(moments, np.int64)
        )

    def _state(self, rows: Sequence[msgspec.Struct]) -> State | None:
        return rows.state if isinstance(rows, Recounted) else self.state

    def _encoded(
        self,
        values: list[tuple[Any, ...]],
        state: State | None,
        past: Sequence[Sequence[float | None]] = (),
    ) -> NDArray[np.float32]:
        width, count = len(self._numeric) + len(self._categorical), len(values)
        if state:
            past = past or self._past(state, *self._asked_of(state, values))
        if self.words:
            values = [row + tuple(self._told(row)) for row in values]
        if state:
            values = [row + tuple(found) for row, found in zip(values, past, strict=True)]
        matrix = [self._encode(row) for row in values]
        return np.array(matrix, dtype=np.float32).reshape(count, width)

    def recounted(
        self,
        rows: Sequence[msgspec.Struct],
        history: Sequence[Sequence[Any]],
        content: Mapping[str, Any],
    ) -> Recounted:
        """Return rows with a history of their own, of values in the order of `events`.

        `content` holds what their request wants beside; wanted.Odd for a field that is wrong.
        """
        found = Recounted(rows)
        found.state, found.wanted = self.state, wanted.read(content, self._codes)
        found.doubt = wanted.doubt(content, self._codes, self._known)
        if not history:
            return found
        assert self.state is not None  # or no feature looks back, and nothing is asked for
        names = [column.name for column in self.events]
        told = {name: [row[place] for row in history] for place, name in enumerate(names)}
        places = {name: self._codes if name == self.manifest.target else {} for name in names}
        on = self.state.features[0].on
        times = np.array([moment_of(_moment(value)) for value in told[on]], np.int64)
        events = {}
        for by, columns in read_of(self.state.features):
            hashing = self._secrets.get(by)
            keys = np.array([key_of(value, hashing) for value in told[by]], np.uint64)
            values = {
                name: np.array([coded.number(n, places[name]) for n in told[name]], np.float64)
                for name in columns
            }
            events[by] = events_of(keys, times, values)
        found.state = Told(self.state, events)
        return found

    def wanted_of(
        self, cells: Mapping[str, Sequence[Any]]
    ) -> tuple[wanted.Wanted, dict[int, str], dict[int, str]]:
        """Return what the rows of a file want, which have a field that is wrong, and doubts."""
        return wanted.of_texts(cells, self._codes, self._known)

    def earlier(self, keys: Mapping[str, Keys], moments: Moments) -> wanted.Wanted:
        """Return what rows look back to beyond their features, where the graph asks for it."""
        return self._earlier(self.state, keys, moments)

    def _earlier(
        self, state: State | None, keys: Mapping[str, Keys], moments: Moments
    ) -> wanted.Wanted:
        if state is None or not self.looks_further:
            return {}
        found = state.earlier(self.manifest.target, keys, moments)
        if found is None:
            return {}
        every = np.empty(len(found), dtype=object)
        every[:] = found
        return {wanted.EARLIER: every}

    def _told(self, row: tuple[Any, ...]) -> list[float]:
        """Return the numbers that the texts of a row give."""
        pairs = zip(self.spec.words, self.words, strict=True)
        return [n for item, words in pairs for n in words.sums(row[self._position[item.column]])]

    def _past(
        self, state: State, moments: list[int], keys: list[dict[str, int]]
    ) -> list[list[float]]:
        """Ask the state for the features of rows that look back."""
        if len(moments) <= FEW_ROWS:
            return list(map(state.of_row, keys, moments))
        found: list[list[float]] = state.ask(
            state.arrays(keys), np.array(moments, np.int64)
        ).tolist()
        return found

    def _asked_of(
        self, state: State, rows: Sequence[tuple[Any, ...]]
    ) -> tuple[list[int], list[dict[str, int]]]:
        """Return the moments and keys by which a state is asked for rows."""
        on, places = self._position[state.features[0].on], self._position
        moments = [moment_of(row[on] and _moment(row[on])) for row in rows]
        by_secret = [(by, places[by], self._secrets.get(by)) for by in state.events]
        return moments, [{by: key_of(row[at], key) for by, at, key in by_secret} for row in rows]

    def _encode(self, values: tuple[Any, ...]) -> list[float]:
        encoded = []
        for index, part, until, reference in self._numeric:
            value = values[index]
            end = reference if until is None else values[until]
            if value is None or (until is not None and end is None):
                encoded.append(math.nan)
            elif end is not None:
                encoded.append((_moment(end) - _moment(value)) / dt.timedelta(days=1))
            else:
                encoded.append(part(value) if part else value)
        for index, codes, other in self._categorical:
            level = values[index] or ""
            code = codes.get(level)  # a miss may be the number of a level, written otherwise
            encoded.append(codes.get(dialect.level(level), other) if code is None else code)
        return encoded

    def predict(
        self, encoded: NDArray[np.float32], asked: wanted.Wanted | None = None
    ) -> dict[str, NDArray[Any]]:
        """Score an encoded matrix of shape (rows, features); each output has shape (rows,).

        Several numbers of a row have shape (rows, levels). What is wanted has shape (rows, any), or
        (1, any) where it is for all rows.
        """
        names = [output.name for output in self.outputs]
        found = [np.empty((0, max(1, len(output.levels)))) for output in self.outputs]
        if len(encoded):
            found = scored_by(self._session, names, encoded, asked, self._threads)
        return {o.name: answer(o, each) for o, each in zip(self.outputs, found, strict=True)}

    def told(self, answers: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return answers of `predict` as callers read them: names for numbers, -1 for none."""
        shown = dict(answers)
        for name, kind in self._listed.items():
            values = answers[name]
            is_names = kind == "names"  # no score is below -1
            shown[name] = coded.texts(values, self.names) if is_names else np.maximum(values, -1)
        return shown

    def unseen(self, rows: Sequence[msgspec.Struct], encoded: NDArray[np.float32]) -> list[str]:
        """Return for each row the first category that training has not learnt, or ""."""
        found = [""] * len(rows)
        doubt = rows.doubt if isinstance(rows, Recounted) else ""
        is_other = encoded[:, len(self._numeric) :] == self._others
        state, tuples = self._state(rows), [msgspec.structs.astuple(row) for row in rows]
        doubts = self.beyond(encoded)
        if state and self.series:
            moments, keys = self._asked_of(state, tuples)
            doubts += self.passed(state.arrays(keys), np.array(moments, np.int64), state)
        for text, later in doubts:
            found = [said or text * far for far, said in zip(later.tolist(), found, strict=True)]
        for row, category in reversed(np.argwhere(is_other).tolist()):
            index = self._categorical[category][0]
            value = tuples[row][index]
            if value is not None and dialect.level(value) not in dialect.MISSING:
                found[row] = f"{self.columns[index].name}: {UNSEEN}"
        return [said or doubt for said in found] if doubt else found

    def unknown(self, items: NDArray[np.float64]) -> dict[str, Any] | None:
        """Tell how many of the items that were taken no list can hold, where answers are lists."""
        return wanted.unknown(self._known, items)

    def beyond(self, encoded: NDArray[np.float32]) -> Warnings:
        """Return warnings of rows that are far from or later than was learnt, or of short series.

        Each comes with its rows, shape (rows,).
        """
        return [warning for reach in self._reaches for warning in reach.warnings(encoded)]

    def score_rows(self, rows: Sequence[msgspec.Struct]) -> dict[str, NDArray[Any]]:
        """Score rows of `row_type`."""
        return self.predict(self.encode_rows(rows))

    def passed(
        self, keys: Mapping[str, Keys], moments: Moments, state: State | None = None
    ) -> Warnings:
        """Return warnings of rows whose step is known already, which no forecast is of."""
        known = state or self.state
        return [told for each in self.series if known for told in each.told(known, keys, moments)]
