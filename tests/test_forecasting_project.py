"""A project that forecasts series, from the copy to a served model, with this environment."""

import datetime as dt
import json
import urllib.error
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from copier.errors import UserMessageError
from helpers.rendering import publish, render
from helpers.running import Made

SMALL = {
    "ML_TRAINING__TRACK": "false",
    "ML_TRAINING__FOLDS": "2",
    "ML_TRAINING__THREADS": "1",
    "ML_EVALUATION__BOOTSTRAP": "100",
    "ML_DATA__SAMPLE_ROWS": "9600",
    "ML_TRAINING__SUMS_BY": '["department"]',
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = render(
        tmp_path_factory.mktemp("demand") / "p",
        preset="demand",
        deployment_modes=["rest", "grpc", "batch"],
    )
    publish(folder)
    made = Made(folder, "store_demand", SMALL)
    made.ml("run")
    return made


@pytest.fixture(scope="module")
def future(project: Made) -> pl.DataFrame:
    """Return the 14 days after the last one of each series, with what is known ahead."""
    valid = pl.read_parquet(project.folder / "data/processed/valid.parquet")
    step = dt.timedelta(days=14)
    last = valid.filter(pl.col("day") > pl.col("day").max() - step)
    return last.with_columns(pl.col("day") + step).drop("units_sold")


def test_holidays_of_the_day_to_forecast_are_features(tmp_path: Path) -> None:
    folder = render(tmp_path / "p", preset="demand", deployment_modes=["batch"])
    made = Made(folder, "store_demand", SMALL | {"ML_DATA__SAMPLE_ROWS": "4800"})
    path = folder / "src/store_demand/features.py"
    text, opening = path.read_text(encoding="utf-8"), "FEATURES: Sequence[Operator | Past] = [\n"
    assert opening in text
    path.write_text(
        text.replace(opening, f'{opening}    Holiday("public_holiday", of="day", country="DE"),\n')
    )
    for command in ("ingest", "validate", "train"):
        made.ml(command)
    names = made.report("training")["features"]
    assert {"day.year", "day.month", "day.day"} <= set(names)
    assert "public_holiday" in {item["feature"] for item in made.report("training")["made"]}
    valid = pl.read_parquet(folder / "data/processed/valid.parquet").tail(20)
    valid.drop("units_sold").write_csv(tmp_path / "future.csv")
    made.ml("evaluate", code=None)
    made.ml("promote", "v1", "--force", "test")
    made.ml("score", str(tmp_path / "future.csv"), str(tmp_path / "out.csv"))
    assert pl.read_csv(tmp_path / "out.csv")["value"].is_finite().all()


def test_the_order_quantile_follows_from_the_costs(project: Made) -> None:
    plan = yaml.safe_load((project.folder / "plan/plan.yaml").read_text(encoding="utf-8"))
    assert plan["computed"]["EVAL-05"]["order_quantile"]["value"] == pytest.approx(2.1 / 3.5)
    decided = {d["output"]: d["value"] for d in plan["decisions"].values()}
    assert decided["baselines"] == ["moving_average", "seasonal_naive"]
    assert decided["candidates"] == ["smoothing", "direct", "blend"]
    assert (decided["split"], decided["tuning"]) == ("time", "none")


def test_a_run_passes_its_gate_and_measures_steps_sizes_and_origins(project: Made) -> None:
    metrics = project.report("metrics")
    assert metrics["gate"]["passed"] and metrics["primary_metric"] == "pinball"
    told = metrics["forecast"]
    assert told["series"] == 48 and told["origins"] >= 4 and told["horizon"] == 14
    assert told["mase"] < 0.9 * told["mase_season_before"]
    assert [part["steps"] for part in told["by_steps"]] == list(range(1, 15))
    assert all(abs(part["coverage"] - 0.9) < 0.1 for part in told["by_steps"])
    assert [part["size"] for part in told["by_size"]] == ["small", "middle", "large"]
    means = [part["mean"] for part in told["by_size"]]
    assert means == sorted(means) and len(told["worst"]) == 10
    assert len(told["fans"]) == 4 and all(len(fan["value"]) > 3 for fan in told["fans"])
    naive = metrics["gains"]["seasonal_naive"]
    assert naive["low"] > 0
    assert any("embargo of 14" in note for note in project.report("training")["split"]["notes"])


def test_the_plan_and_the_page_tell_what_was_measured(project: Made) -> None:
    project.ml("plan", "check")
    plan = (project.folder / "PLAN.md").read_text(encoding="utf-8")
    for said in ("Steps ahead", "Scaled error", "Outcomes in their interval", "Mean value"):
        assert f"| {said} |" in plan, said
    assert "that of the value of a season before" in plan
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    for said in ("By size of the series, in thirds", "Backtest: MASE", "Error by steps ahead"):
        assert said in page, said


def test_a_file_of_what_is_known_ahead_gets_forecasts(
    project: Made, future: pl.DataFrame, tmp_path: Path
) -> None:
    far = future.head(1).with_columns(pl.lit(dt.date(2026, 9, 1)).alias("day"))
    new = future.head(1).with_columns(pl.lit("new").alias("article_id"))
    early = future.head(1).with_columns(pl.lit(dt.date(2020, 1, 1)).alias("day"))
    passed = future.head(1).with_columns(pl.col("day") - dt.timedelta(days=14))
    pl.concat([future, passed, early, new, far]).write_csv(tmp_path / "future.csv")
    project.ml("score", str(tmp_path / "future.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv")
    assert scored.height == 48 * 14 + 4 and scored["problem"].null_count() == scored.height
    assert scored["value"].is_finite().all()
    for low, value, high, order in scored.select("low", "value", "high", "decision").iter_rows():
        assert 0 <= low <= value <= high and low <= order <= high
    assert scored["warning"][:-4].null_count() == 48 * 14
    known = "day: this article_id has rows from then on, and no answer uses them"
    assert scored["warning"][-4] == known
    none = "day: no earlier row of this article_id, so it gets what all have in common"
    assert scored["warning"][-3] == none
    row = early.row(0, named=True) | {"day": "2020-01-01"}
    with project.serving() as ask:
        assert ask("/predict", {"rows": [row]})["predictions"][0]["warning"] == none
        past = passed.row(0, named=True) | {"day": passed["day"][0].isoformat()}
        assert ask("/predict", {"rows": [past]})["predictions"][0]["warning"] == known
    assert "unseen or rare in training" in scored["warning"][-2]
    assert scored["warning"][-1] == "day: more than 14 days after the last known row"


def test_sums_are_those_of_the_series_and_their_intervals_are_measured(
    project: Made, future: pl.DataFrame, tmp_path: Path
) -> None:
    told = project.report("metrics")["sums"]
    assert [(part["level"], part["members"]) for part in told] == [("all", 1), ("department", 6)]
    whole, groups = told
    assert groups["sums"] == 6 * whole["sums"] and groups["mean"] * 6 == pytest.approx(
        whole["mean"]
    )
    assert groups["bias"] == pytest.approx(whole["bias"])  # of the same rows
    assert whole["wape"] < groups["wape"] < 0.2 < groups["wape_season_before"] + 0.1
    # Of few stretches of a horizon intervals are rather too wide than too narrow.
    assert 0.8 < whole["coverage"] <= 1 and 0.85 < groups["coverage"] <= 1
    doubts = [text for text in project.report("metrics")["gate"]["warnings"] if "sums of" in text]
    assert len(doubts) == sum(part["coverage"] < 0.8 for part in told)  # of 90 % that are planned
    plan = (project.folder / "PLAN.md").read_text(encoding="utf-8")
    assert "Sum of each department: off by" in plan
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    assert "Sums of series, each of a group" in page

    gap = pl.when(pl.int_range(pl.len()) != 3).then("price")  # the fourth row has a problem
    future.with_columns(gap).write_csv(tmp_path / "future.csv")
    names = (str(tmp_path / "future.csv"), str(tmp_path / "out.csv"))
    assert "out.sums.csv" in project.ml("score", *names)
    rows, sums = (pl.read_csv(tmp_path / name) for name in ("out.csv", "out.sums.csv"))
    assert sums.height == 14 * 7 and sums["series"].sum() == 2 * (48 * 14 - 1)
    assert sums.filter(pl.col("left_out") > 0)["level"].to_list() == ["all", "department"]
    for level, by in (("all", []), ("department", ["department"])):
        added = rows.group_by("day", *by).agg(pl.col("value").sum()).sort("day", *by)
        of = sums.filter(pl.col("level") == level).sort("day", "member")
        np.testing.assert_allclose(of["value"], added["value"], rtol=1e-12)
        assert by == [] or of["member"].to_list() == added["department"].to_list()
        assert (of["low"] <= of["high"]).all() and (of["low"] >= 0).all()
    independent = rows.group_by("day").agg(((pl.col("high") - pl.col("low")) ** 2).sum().sqrt())
    wide = sums.filter(pl.col("level") == "all").select(pl.col("high") - pl.col("low"))
    assert 0.5 < (wide.to_series() / independent.sort("day").to_series(1)).mean() < 5
    first = (tmp_path / "out.sums.csv").read_bytes()
    (tmp_path / "out.sums.csv").unlink()
    project.ml("score", *names)  # which is not done while a part is missing
    assert (tmp_path / "out.sums.csv").read_bytes() == first


def test_a_column_that_groups_no_series_is_refused(project: Made) -> None:
    for named, said in (("price", "names groups; there are: department"), ("shop", "'shop'")):
        refused = Made(
            project.folder, "store_demand", SMALL | {"ML_TRAINING__SUMS_BY": f'["{named}"]'}
        )
        told = refused.ml("train", code=2)
        assert said in told and "training.sums_by" in told


def test_what_is_known_ahead_must_be_there(
    project: Made, future: pl.DataFrame, tmp_path: Path
) -> None:
    future.drop("promotion").write_csv(tmp_path / "future.csv")
    told = project.ml("score", str(tmp_path / "future.csv"), str(tmp_path / "out.csv"), code=2)
    assert "column 'promotion' is missing (1 in all), but the model needs it" in told
    assert not (tmp_path / "out.csv").exists()
    gap = future.with_columns(pl.when(pl.col("price") > 4).then("price"))
    gap.write_csv(tmp_path / "gap.csv")
    project.ml("score", str(tmp_path / "gap.csv"), str(tmp_path / "gap_out.csv"))
    scored = pl.read_csv(tmp_path / "gap_out.csv")
    assert set(scored["problem"].drop_nulls()) == {"price: required"}


def test_the_service_answers_what_the_file_does(
    project: Made, future: pl.DataFrame, tmp_path: Path
) -> None:
    future.head(40).write_csv(tmp_path / "future.csv")
    project.ml("score", str(tmp_path / "future.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv")
    rows = [row | {"day": row["day"].isoformat()} for row in future.head(40).to_dicts()]
    with project.serving() as ask:
        answer = ask("/predict", {"rows": rows})
        assert answer["quantile"] == pytest.approx(0.6)
        for found, value, order in zip(
            answer["predictions"], scored["value"], scored["decision"], strict=True
        ):
            assert found["value"] == pytest.approx(value, rel=1e-5)
            assert found["decision"] == pytest.approx(order, rel=1e-5)
        why = ask("/explain?top=99", {"rows": rows[:3]})["rows"]
        named = {reason["column"] for row in why for reason in row["reasons"]}
        assert "units_sold" in named and named <= {*future.columns, "units_sold"}
        assert [row["score"] for row in why] == pytest.approx(scored["value"][:3].to_list(), 1e-4)


def test_a_request_may_bring_its_own_history(project: Made, future: pl.DataFrame) -> None:
    valid = pl.read_parquet(project.folder / "data/processed/valid.parquet").sort("day")
    means = valid.group_by("article_id").agg(pl.col("units_sold").mean())
    name = means.sort("units_sold")["article_id"][-1]
    rows = [row | {"day": row["day"].isoformat()} for row in future.to_dicts()]
    rows = [row for row in rows if row["article_id"] == name]
    past = valid.filter(pl.col("article_id") == name).select("article_id", "day", "units_sold")
    told = [row | {"day": row["day"].isoformat()} for row in past.to_dicts()]
    with project.serving() as ask:
        known = ask("/predict", {"rows": rows})["predictions"]
        assert ask("/predict", {"rows": rows, "history": told[::-1]})["predictions"] == known
        # Another series of the same values gets the same level, and others keep their own.
        more = [row | {"units_sold": 10 * row["units_sold"]} for row in told]
        high = ask("/predict", {"rows": rows, "history": more})["predictions"]
        assert all(a["value"] > 4 * b["value"] for a, b in zip(high, known, strict=True))
        other = [row | {"article_id": "nobody"} for row in more]
        assert ask("/predict", {"rows": rows, "history": other})["predictions"] == known
        late = [row | {"day": "2027-01-01", "units_sold": 9999} for row in told[-1:]]
        again = ask("/predict", {"rows": rows, "history": [*told, *late]})["predictions"]
        # What is not before a row tells it nothing.
        assert [found["value"] for found in again] == [found["value"] for found in known]
        assert all("has rows from then on" in found["warning"] for found in again)
        for bad, said in (
            ([{"day": "2026-01-01", "units_sold": 3}], "history[0].article_id"),
            ([told[0] | {"price": 3}], "history[0].price"),
            ([told[0] | {"units_sold": "many"}], "history[0].units_sold"),
            (["x"], "send one object per row"),
            ("x", "send a list of objects"),
        ):
            with pytest.raises(urllib.error.HTTPError) as refusal:
                ask("/predict", {"rows": rows, "history": bad})
            assert refusal.value.code == 422 and said in refusal.value.read().decode()
        described = ask("/openapi.json")["components"]["schemas"]["History"]
        assert set(described["properties"]) == {"article_id", "day", "units_sold"}


GRPC = """
import json, sys
from pathlib import Path
from store_demand.engine.serving import grpc, proto
from store_demand.engine.settings import find_project
rows, history, known = json.loads(Path(sys.argv[1]).read_text())
project = find_project()
to = proto.of(project)
calls = grpc.Calls(project, to)
request = to.request(rows=rows, history=history)
found = calls.model.predict(calls._rows(calls.model, request.SerializeToString()))
assert [each.value for each in found] == known, (found, known)
old = {n: m for n, m in to.messages.items() if n != "History"}
old["PredictRequest"] = proto.Message(old["PredictRequest"].fields[:1])
assert not proto.lacking(old, proto.made(calls.model.scorer, keyed=False))
"""


def test_a_request_over_grpc_may_as_well(
    project: Made, future: pl.DataFrame, tmp_path: Path
) -> None:
    rows = [row | {"day": row["day"].isoformat()} for row in future.head(3).to_dicts()]
    past = [
        {"article_id": row["article_id"], "day": f"2025-12-{n:02}", "units_sold": 1000.0}
        for row in rows
        for n in range(1, 31)
    ]
    with project.serving() as ask:
        answer = ask("/predict", {"rows": rows, "history": past})
    known = [found["value"] for found in answer["predictions"]]
    assert all(value > 300 for value in known)
    path = tmp_path / "asked.json"
    path.write_text(json.dumps([rows, past, known]))
    project.python("-c", GRPC, str(path))


def test_a_day_more_of_each_series_is_new_rows(project: Made) -> None:
    source = project.folder / "data/sample/dataset.parquet"
    whole, rows = source.read_bytes(), pl.read_parquet(source)
    project.ml("retrain-check")
    assert project.report("retrain")["checks"][3]["value"] == 0
    more = rows.filter(pl.col("day") == pl.col("day").max())
    pl.concat([rows, more.with_columns(pl.col("day") + dt.timedelta(days=1))]).write_parquet(source)
    try:
        for command in ("ingest", "validate", "retrain-check"):
            project.ml(command)
        assert project.report("retrain")["checks"][3]["value"] == 48
        few = rows.filter(pl.col("article_id").is_in(rows["article_id"].unique().sort().head(12)))
        silent = few.filter(pl.col("day") < pl.col("day").max() - dt.timedelta(days=20))
        others = rows.filter(~pl.col("article_id").is_in(few["article_id"].unique().implode()))
        pl.concat([others, silent]).write_parquet(source)
        for command in ("ingest", "validate"):
            project.ml(command)
        told = project.ml("features", "build")
        assert "article_id: 12 of 48 without a row in the last 14 days, 0 began" in told
        project.ml("monitor", code=None)  # of rows that other tests sent
        (life,) = project.report("drift")["lives"]
        assert (life["silent"], life["level"]) == (12, "warn")
        assert "Who is there" in (project.folder / "reports/drift.html").read_text()
    finally:
        source.write_bytes(whole)
        for command in (["ingest"], ["validate"], ["features", "build"]):
            project.ml(*command)


@pytest.mark.parametrize(("step", "days"), [("day", 14), ("week", 98), ("month", 434)])
def test_the_gap_before_the_test_is_as_long_as_the_horizon(
    tmp_path: Path, step: str, days: int
) -> None:
    """Else rows after the origin of a test row would be learnt from."""
    folder = render(tmp_path / "p", preset="demand", forecast_step=step)
    plan = yaml.safe_load((folder / "plan/plan.yaml").read_text(encoding="utf-8"))
    assert plan["answers"]["label_delay_days"] == days


def test_a_gap_that_is_shorter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserMessageError, match="14"):
        render(tmp_path / "p", preset="demand", label_delay_days=13)


@pytest.mark.nightly
@pytest.mark.parametrize(("step", "ahead"), [("week", 8), ("month", 6)])
def test_longer_steps_run_from_the_copy_to_forecasts(tmp_path: Path, step: str, ahead: int) -> None:
    answers = {"forecast_step": step, "forecast_horizon": ahead}
    folder = render(tmp_path / "p", preset="demand", deployment_modes=["batch"], **answers)
    made = Made(folder, "store_demand", SMALL)
    made.ml("run")
    told = made.report("metrics")["forecast"]
    assert [part["steps"] for part in told["by_steps"]] == list(range(1, ahead + 1))
    assert told["mase"] < 0.8 * told["mase_season_before"] and told["origins"] >= 4
    rows = pl.read_parquet(folder / "data/processed/valid.parquet")
    apart = rows.sort("article_id", "day").select(pl.col("day").diff().over("article_id"))
    days = apart["day"].drop_nulls().dt.total_days()
    assert (days.min(), days.max()) == ((7, 7) if step == "week" else (28, 31))
    last = rows.filter(pl.col("day") == pl.col("day").max()).drop("units_sold")
    every = {"week": "1w", "month": "1mo"}[step]
    steps = [last.with_columns(pl.col("day").dt.offset_by(f"{n}{every[1:]}")) for n in range(1, 5)]
    between = last.head(1).with_columns(pl.col("day").dt.offset_by("10d"))
    pl.concat([*steps, between]).write_csv(tmp_path / "future.csv")
    made.ml("score", str(tmp_path / "future.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv")
    assert scored["problem"].null_count() == scored.height
    assert scored["warning"][:-1].null_count() == scored.height - 1
    said = "day: between two steps of 7 days, so it has no season"
    assert scored["warning"][-1] == (said if step == "week" else None)


@pytest.mark.nightly
def test_a_version_that_looks_further_is_held_on_the_steps_that_both_forecast(
    tmp_path: Path,
) -> None:
    """By all that is known now: the state of the champion's bundle ends where its table did."""
    folder = render(tmp_path / "p", preset="demand", deployment_modes=["batch"])
    made = Made(folder, "store_demand", SMALL)
    source = folder / "data/sample/dataset.parquet"
    made.ml("ingest")
    rows = pl.read_parquet(source)
    early = rows.filter(pl.col("day") < pl.col("day").max() - dt.timedelta(days=10))
    early.write_parquet(source)
    for command in ("ingest", "validate", "train"):
        made.ml(command)
    made.ml("evaluate", code=None)
    made.ml("promote", "v1", "--force", "test")
    rows.write_parquet(source)
    for name, days in (("forecast_horizon", 14), ("label_delay_days", 14)):
        plan = folder / "plan/plan.yaml"
        text = plan.read_text(encoding="utf-8")
        assert f"  {name}: {days}\n" in text
        plan.write_text(text.replace(f"  {name}: {days}\n", f"  {name}: 20\n"), encoding="utf-8")
    for command in ("ingest", "validate", "train"):
        made.ml(command)
    made.ml("evaluate", code=None)
    told = made.report("metrics")["before"]
    assert "on the same test rows that both were made for" in told["said"] and not told["worse"]
    made.ml("features", "build")
    made.ml("evaluate", code=None)
    assert made.report("metrics")["before"] == told
    text = plan.read_text(encoding="utf-8").replace('"day"', '"week"')
    plan.write_text(text, encoding="utf-8")
    made.ml("evaluate", code=None)
    said = made.report("metrics")["before"]["said"]
    assert said.startswith("not held against the champion v1: forecast_step was day in its plan")


def test_a_series_without_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserMessageError, match="a forecast needs it"):
        render(tmp_path / "p", task_type="forecasting", time_column="")


@pytest.mark.nightly
def test_its_own_tests_pass_and_its_types_are_right(project: Made) -> None:
    project.python("-m", "pytest", "-q", "-n0", "tests")
    project.python("-m", "mypy", "--strict", "src")
