"""What a date tells: its parts and the time since then, the same in every way a row comes in."""

import datetime as dt

import helpers.package  # noqa: F401  makes `package_name` importable
import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from package_name import features, models
from package_name.engine import metrics, task
from package_name.engine.data import validation
from package_name.engine.data.contract import Column, Contract
from package_name.engine.errors import ProjectError
from package_name.engine.features import encode
from package_name.engine.model import bundle, graph
from package_name.engine.model.scorer import Scorer
from package_name.engine.serving import batch

START = dt.datetime(2015, 3, 1)
FACTS = {"version": "v1", "task": "binary", "champion": "lightgbm", "primary_metric": "roc_auc"}
FACTS |= {"target": "y", "data_sha256": "", "run": "r"}
FACTS |= {"outputs": task.outputs("true")}


def agreed(time: str | None) -> Contract:
    columns = (
        Column(name="since", kind="date", role="feature"),
        Column(name="last", kind="timestamp", role="feature"),
        *((Column(name="seen", kind=time, role="time"),) if time else ()),
        Column(name="y", kind="boolean", role="target", positive="true"),
    )
    return Contract(name="t", version="1", columns=columns)


def table(contract: Contract, rows: int = 2000) -> pl.DataFrame:
    """Return rows whose target depends on the age of `since` at the row's time alone."""
    rng = np.random.default_rng(1)
    seen = [START + dt.timedelta(minutes=int(m)) for m in rng.integers(0, 3_000_000, rows)]
    age = rng.integers(0, 2000, rows)
    end = seen if contract.time else [START] * rows
    found = {
        "since": [(e - dt.timedelta(int(a))).date() for e, a in zip(end, age, strict=True)],
        "last": [START - dt.timedelta(minutes=int(m)) for m in rng.integers(0, 10**6, rows)],
        "seen": seen,
        "y": rng.random(rows) < 1 / (1 + np.exp((age - 1000) / 150)),
    }
    types = {c.name: validation.DTYPES[c.kind] for c in contract.columns}
    return pl.DataFrame(found).select(pl.col(name).cast(kind) for name, kind in types.items())


@pytest.fixture(scope="module", params=[None, "date", "timestamp"])
def made(request, tmp_path_factory) -> tuple[Contract, pl.DataFrame, Scorer]:
    contract = agreed(request.param)
    frame = table(contract)
    fit = frame.head(1000)
    spec = features.fit(fit, contract)
    y = fit["y"].cast(pl.Int8).to_numpy()
    data = models.Data(encode(spec, fit), y, spec, 1)
    member = graph.Member(*models.FITTERS["lightgbm"](data, 0, {"rounds": 60}))
    folder = tmp_path_factory.mktemp("dates") / "v1"
    options = {"contract_text": "", "rivals": {}, "reports": {}}
    bundle.save(
        folder, graph.Predictor((member,)), spec, contract, fit.head(200), facts=FACTS, **options
    )
    return contract, frame, Scorer.load(folder)


def test_a_target_that_depends_on_age_is_learnt(made) -> None:
    contract, frame, scorer = made
    names = scorer.spec.names
    assert {"since.year", "since.elapsed", "last.year", "last.elapsed"} <= set(names), names
    test = frame.tail(1000)
    p = scorer.predict(encode(scorer.spec, test))["probability"]
    assert metrics.score("roc_auc", test["y"].cast(pl.Int8).to_numpy(), p) > 0.9
    elapsed = scorer.spec.numeric[names.index("since.elapsed")]
    assert (elapsed.until, elapsed.reference is None) == (
        ("seen", True) if contract.time else (None, False)
    )


moments = st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 31))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(moments | st.none(), moments | st.none(), moments), min_size=1))
def test_training_requests_and_files_give_the_same_numbers(made, cells) -> None:
    contract, _, scorer = made
    rows = []
    for since, last, seen in cells:
        end = seen.date() if contract.time and contract.time.kind == "date" else seen
        row = {"since": since and since.date(), "last": last} | (
            {"seen": end} if contract.time else {}
        )
        rows.append(row)
    kinds = {c.name: validation.DTYPES[c.kind] for c in contract.served}
    frame = pl.DataFrame(rows, schema=kinds)
    trained = encode(scorer.spec, frame)
    sent = [msgspec.json.decode(msgspec.json.encode(row), type=scorer.row_type) for row in rows]
    np.testing.assert_array_equal(scorer.encode_rows(sent), trained)
    texts = pl.DataFrame(
        [{name: value and value.isoformat() for name, value in row.items()} for row in rows],
        schema=dict.fromkeys(kinds, pl.String),
    )
    encoded, problems, *_ = batch.encode(scorer, texts)
    assert problems.null_count() == len(rows), problems
    np.testing.assert_array_equal(encoded, trained)


def test_new_rows_need_the_time_that_an_age_depends_on(made) -> None:
    contract, frame, scorer = made
    if contract.time is None:
        return
    with pytest.raises(ProjectError, match="column 'seen' is missing"):
        validation.apply(contract, frame.drop("seen"), labelled=False)
    with pytest.raises(msgspec.ValidationError, match="seen"):
        msgspec.json.decode(b'{"since": "2020-01-01"}', type=scorer.row_type)
