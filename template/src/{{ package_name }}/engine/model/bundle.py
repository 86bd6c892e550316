"""Save a trained model as a bundle of plain data, after proving that it answers as trained."""

import datetime as dt
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import git, privacy, storage, task
from ..data import validation
from ..data.contract import UNSERVED, Column, Contract
from ..errors import ProjectError
from ..features import encode, with_words
from ..keys import EVENT_ID, LONGEST
from . import coded, graph, history, wanted, ways, whole
from .output import Output
from .plain import Matrix
from .scorer import FORMAT, FeatureSpec, Golden, Manifest, Scorer
from .sessions import session
from .texts import Reader
from .values import ServedColumn, example

ODD_ROWS = 500  # of each kind that no data has: a graph errs by its nodes, not by its rows
TOLERANCE = 1e-5
GOLDEN_ROWS = 50
Usual = tuple[float | None, ...]


def sent(contract: Contract, spec: FeatureSpec | None) -> tuple[Column, ...]:
    """Return what callers send: what is served, and for whom and when a row is if features ask."""
    read = spec.columns if spec else set()
    served = contract.served
    others = (contract.entity, contract.time)
    return served + tuple(c for c in others if c and c.name in read and c not in served)


def served_columns(contract: Contract, spec: FeatureSpec | None = None) -> tuple[ServedColumn, ...]:
    """Return what the model reads of a row, with the hard rules of the contract."""
    return tuple(_served(contract, column, used=True) for column in sent(contract, spec))


def key_columns(contract: Contract, spec: FeatureSpec | None = None) -> tuple[ServedColumn, ...]:
    """Return what callers may send beside, to say which row it is: other keys, and an event id."""
    read = sent(contract, spec)
    others = tuple(
        _served(contract, column, used=False)
        for column in contract.keys
        if column not in read and not re.search(UNSERVED, column.name)
    )
    if any(column.name == EVENT_ID for column in contract.columns):
        return others
    text = "Your name of this row; without it, that is x-request-id, a slash and its number from 0"
    event = ServedColumn(
        name=EVENT_ID, kind="category", longest=LONGEST, description=text, key=True, used=False
    )
    return (*others, event)


def _served(contract: Contract, column: Column, *, used: bool) -> ServedColumn:
    idle = used and not (task.READS_COLUMNS or column.role in ("entity", "time"))
    return ServedColumn(
        name=column.name,
        kind=column.kind,
        required=used and not idle and (column.required or column.role == "time"),
        idle=idle,
        minimum=column.minimum,
        maximum=column.maximum,
        levels=column.levels if column.levels_severity == "error" else (),
        formats=column.formats,
        decimal_comma=column.decimal_comma,
        thousands_comma=column.thousands_comma,
        personal=column.personal,
        pseudonym=column.pseudonym,
        description=column.description,
        key=column in contract.keys,
        used=used,
    )


def save(
    folder: Path,
    predictor: graph.Predictor,
    spec: FeatureSpec,
    contract: Contract,
    sample: pl.DataFrame,
    *,
    contract_text: str,
    rivals: dict[str, graph.Predictor],
    facts: dict[str, Any],
    reports: dict[str, Any],
    state: history.State | None = None,
) -> None:
    """Write the bundle to the new folder `folder`, at once.

    `sample` holds contract-typed rows for parity and golden answers; `facts` are the remaining
    fields of the manifest, `state` answers the features that look back. ProjectError when a graph
    does not repeat the model: no bundle then.
    """
    x, learnt = encode(spec, sample), spec
    words: Sequence[Reader] = ()
    spec = msgspec.structs.replace(spec, texts=())  # a bundle holds nobody's
    if learnt.texts and (sees := predictor.members[0].sees):
        spec, words = sees.derived.served().spec, sees.derived.words
        sample = with_words(sample, spec, words)
        predictor = predictor.served()
        rivals = {name: rival.served() for name, rival in rivals.items()}
    outputs: tuple[Output, ...] = facts["outputs"]
    model = graph.emit(predictor, spec, encoded=False)
    encoded = graph.emit(predictor, spec, encoded=True)
    _prove(predictor, spec, sample, x, learnt, model, encoded)
    columns = sent(contract, spec)
    shown, keys = served_columns(contract, spec), key_columns(contract, spec)
    chosen = _without_personal(_of_nobody(sample), columns, shown)
    chosen = with_words(_written(chosen, spec, words), spec, words)
    rows = tuple(_plain(row, columns) for row in chosen.to_dicts())
    scores = [output.name for output in outputs if output.role == "score"]
    answers = session(encoded).run(scores, {"x": encode(spec, chosen)})
    told = {n: tuple(_flat(a).tolist()) for n, a in zip(scores, answers, strict=True)}
    past = chosen.select(feature.name for feature in spec.history).fill_nan(None).rows()
    usual = _usual(encode(spec, sample), spec, privacy.hidden_names(contract.columns))
    golden = Golden(rows=rows, scores=told, history=tuple(past), usual=usual)
    with storage.replacing_folder(folder) as temporary:
        content: dict[str, bytes] = {
            "model.onnx": model,
            "model_encoded.onnx": encoded,
            "contract.odcs.yaml": contract_text.encode("utf-8"),
            "features.json": storage.json_bytes(spec),
            "columns.json": storage.json_bytes((*shown, *keys)),
            "golden.json": storage.json_bytes(golden),
            **{name: storage.json_bytes(report) for name, report in reports.items()},
        }
        content |= coded.content(contract.target)
        if words:
            content |= whole.content(words)
        for name, rival in rivals.items():
            content[f"rivals/{name}.onnx"] = graph.emit(rival, spec, encoded=True)
        for name, data in content.items():
            storage.write_bytes(temporary / name, data)
        commit, changed = git.state(folder.parents[1])
        named = {column.name for column in (*shown, *keys)}
        manifest = Manifest(
            commit=commit,
            changed=changed,
            format=FORMAT,
            contract_sha256=contract.fingerprint,
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            features=tuple(spec.names),
            files={name: storage.sha256(temporary / name) for name in sorted(content)},
            decision=predictor.head.decision,
            head=predictor.head.method,
            pretrained=ways.origins(words),
            ignored=tuple(c.name for c in contract.columns if c.name not in named),
            **facts,
        )
        storage.write_json(temporary / "manifest.json", manifest)
        if state:
            history.write(temporary, state, dt.datetime.now(dt.UTC))
        Scorer.load(temporary)


def raw_inputs(spec: FeatureSpec, frame: pl.DataFrame) -> dict[str, NDArray[Any]]:
    """Return the inputs of model.onnx: numbers, and texts with "" where missing."""
    width = len(spec.numeric)
    inputs: dict[str, NDArray[Any]] = {}
    if width:
        inputs["num"] = encode(spec, frame)[:, :width]
    if spec.categorical:
        texts = [frame[item.column].fill_null("").to_numpy() for item in spec.categorical]
        inputs["cat"] = np.column_stack(texts).astype(object)
    return inputs


def _prove(
    predictor: graph.Predictor,
    spec: FeatureSpec,
    sample: pl.DataFrame,
    x: Matrix,
    learnt: FeatureSpec,
    model: bytes,
    encoded: bytes,
) -> None:
    """Compare both graphs with the training libraries on real rows and on ODD_ROWS never seen.

    `x` is the matrix that training has, by `learnt`: texts are codes in it.
    """
    width, end = len(learnt.numeric), len(learnt.numeric) + len(learnt.categorical)
    odd = x[:ODD_ROWS]
    missing, huge, tiny, near = odd.copy(), odd.copy(), odd.copy(), odd.copy()
    missing[:, :width] = np.nan
    missing[:, width:end] = [len(feature.levels) for feature in learnt.categorical]
    huge[:, :width] *= np.float32(1e6)
    tiny[:, :width] *= np.float32(1e-6)
    near[:, :width] = np.nextafter(odd[:, :width], np.float32(np.inf))
    fast, full = session(encoded), session(model)
    checks = {"real": x, "missing": missing, "huge": huge, "tiny": tiny, "neighbouring": near}
    told = encode(spec, sample)
    places = [spec.names.index(name) for name in learnt.names[:end]]
    for name, rows in checks.items():
        served = told[: len(rows)].copy()
        served[:, places] = rows[:, :end]
        _same(predictor.answers(rows), _run(fast, {"x": served}), name)
    _same(_run(fast, {"x": told}), _run(full, raw_inputs(spec, sample)), "raw")


def _same(
    expected: dict[str, NDArray[np.float64]], found: dict[str, NDArray[np.float64]], rows: str
) -> None:
    for name, values in expected.items():
        unit = task.unit(values, *expected.values())
        worst = float((np.abs(values - found[name]) / unit).max(initial=0.0))
        if not worst <= TOLERANCE:
            raise ProjectError(
                f"the ONNX graph differs from the model by {worst:.2g} on {rows} rows: "
                "no bundle was made; please report this as a bug of the template"
            )


def _run(model: Any, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    names = [output.name for output in model.get_outputs() if "string" not in output.type]
    rows, some = len(next(iter(inputs.values()))), wanted.ASKED_ROWS
    parts = [
        model.run(names, {key: values[n : n + some] for key, values in inputs.items()})
        for n in range(0, max(rows, 1), some)
    ]
    found = map(np.concatenate, zip(*parts, strict=True))
    return {n: _flat(a) for n, a in zip(names, found, strict=True) if a.dtype != np.object_}


def _usual(x: NDArray[np.float32], spec: FeatureSpec, personal: set[str]) -> Usual:
    """Return the median of each number, None where most are missing, and the commonest codes.

    Of a personal column it is None too: a median is somebody's value.
    """
    hidden = spec.made_of(personal)
    found: list[float | None] = []
    for name, column in zip(spec.names, x.T, strict=True):
        if name in hidden:
            found.append(None)
        elif len(found) >= len(spec.numeric):
            found.append(float(np.bincount(column.astype(np.intp)).argmax()))
        else:
            is_there = np.isnan(column).mean() <= 0.5
            found.append(float(np.nanmedian(column.astype(np.float64))) if is_there else None)
    return tuple(found)


def _flat(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return what a graph gives, (rows, width), as (rows,) where it is one number for each row."""
    double = values.astype(np.float64)
    return double[:, 0] if double.shape[1] == 1 else double


def _of_nobody(rows: pl.DataFrame) -> pl.DataFrame:
    """Return golden rows with each value from another row: a bundle carries nobody's row."""
    mixed = np.random.default_rng(0)
    return rows.select(
        pl.col(name).gather(mixed.permutation(rows.height)[:GOLDEN_ROWS]) for name in rows.columns
    )


def _written(rows: pl.DataFrame, spec: FeatureSpec, models: Sequence[Reader]) -> pl.DataFrame:
    """Put drawn values in place of what somebody wrote."""
    drawn = np.random.default_rng(0)
    for feature, words in zip(spec.words, models, strict=True):
        written = whole.drawn(words, rows.height, drawn)
        rows = rows.with_columns(pl.Series(feature.column, written, dtype=pl.String))
    return rows


def _without_personal(
    rows: pl.DataFrame, columns: Sequence[Column], served: Sequence[ServedColumn]
) -> pl.DataFrame:
    """Put what `read_golden` gives back in place of the values of personal columns."""
    for column, shown in zip(columns, served, strict=True):
        if not privacy.hidden(column):
            continue
        value = example(shown) if shown.required else None
        same = pl.Series(column.name, [value], strict=False).new_from_index(0, rows.height)
        typed = validation.parse(same.cast(pl.String) if value is None else same, column)
        rows = rows.with_columns(typed.alias(column.name))
    return rows


def _plain(row: dict[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    return {
        column.name: value.isoformat() if hasattr(value, "isoformat") else value
        for column in columns
        if not privacy.hidden(column) and (value := row[column.name]) is not None
    }
