"""Drift: false alarms by simulation, planted shifts found; performance, and the three commands."""

import datetime as dt
import json

import helpers.bundles as small
import numpy as np
import polars as pl
import pytest

from package_name.engine import comparison, metrics, monitoring, performance, resampling, storage
from package_name.engine.data import contract
from package_name.engine.data.contract import Column, Contract
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model import registry
from package_name.engine.model.scorer import Scorer
from package_name.engine.resampling import Interval
from package_name.engine.settings import Monitoring, Project

SETTINGS = Monitoring()


def wide(rng, rows, repeat=2):
    """Return features of all shapes, `repeat` times each, and probabilities."""
    zipf = 1 / np.arange(1, 41)
    columns = {
        "normal": lambda: rng.normal(size=rows),
        "skewed": lambda: rng.lognormal(size=rows),
        "count": lambda: rng.poisson(2, rows),
        "zeros": lambda: np.where(rng.random(rows) < 0.95, 0.0, rng.exponential(size=rows)),
        "gaps": lambda: pl.Series(
            np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows))
        ).fill_nan(None),
        "flag": lambda: rng.random(rows) < 0.02,
        "even": lambda: rng.choice(list("abcd"), rows),
        "long": lambda: rng.choice([f"l{i}" for i in range(40)], rows, p=zipf / zipf.sum()),
        "blank": lambda: rng.choice(["", "x", "y"], rows, p=[0.3, 0.6, 0.1]),
    }
    table = {f"{name}{i}": make() for i in range(repeat) for name, make in columns.items()}
    return pl.DataFrame(table), rng.beta(1, 4, rows)


def agreed(frame):
    kinds = {pl.String: "category", pl.Boolean: "boolean", pl.Int64: "integer"}
    columns = [
        Column(name=name, kind=kinds.get(dtype, "number"), role="feature")
        for name, dtype in frame.schema.items()
    ]
    target = Column(name="y", kind="boolean", role="target", positive="true")
    return Contract(name="x", version="1", columns=(*columns, target))


def profile(frame, p, rng):
    known = monitoring.reference(frame, agreed(frame), p, rng.random(len(p)) < p)
    return json.loads(json.dumps(known))  # as it comes back from the bundle


@pytest.mark.parametrize(
    ("policy", "rows"), [("psi", 60), ("psi", 300), ("psi", 500), ("psi", 2000), ("ks_chi2", 800)]
)
def test_drift_detects_shift_and_not_noise(policy, rows):
    """Of 18 features and the prediction, less than 5 % of the windows without shift alarm."""
    rng = np.random.default_rng(rows)
    alarms, windows = 0, 0
    for _ in range(12):
        known = profile(*wide(rng, 1500), rng)
        for _ in range(5):
            level = monitoring.drift(known, *wide(rng, rows), SETTINGS, policy)["level"]
            alarms += level != "ok"
            windows += 1
    assert alarms <= 0.05 * windows, f"{alarms} of {windows}"


SHIFTS = {
    "normal0": pl.col("normal0") + 1,
    "skewed0": pl.col("skewed0") * 3,
    "count0": pl.col("count0") + 2,
    "zeros0": pl.when(pl.col("normal1") > 0).then(1.0).otherwise("zeros0"),
    "gaps0": pl.when(pl.col("normal1") > 0).then(None).otherwise("gaps0"),
    "flag0": pl.col("normal1") > 0,
    "even0": pl.when(pl.col("normal1") > 0).then(pl.lit("a")).otherwise("even0"),
    "long0": pl.when(pl.col("normal1") > 0).then(pl.lit("l39")).otherwise("long0"),
    "blank0": pl.when(pl.col("normal1") > 0).then(pl.lit("y")).otherwise("blank0"),
    "even1": pl.when(pl.col("normal1") > 0).then(pl.lit("new")).otherwise("even1"),
}


@pytest.mark.parametrize(("policy", "rows"), [("psi", 200), ("psi", 500), ("ks_chi2", 800)])
def test_every_planted_shift_is_found_where_it_was_planted(policy, rows):
    rng = np.random.default_rng(1)
    known = profile(*wide(rng, 1500), rng)
    frame, p = wide(rng, rows)
    for name, shift in SHIFTS.items():
        found = monitoring.drift(known, frame.with_columns(shift.alias(name)), p, SETTINGS, policy)
        moved = {row["feature"] for row in found["features"] if row["level"] in ("warn", "act")}
        assert moved == {name} and found["level"] == "act", (name, moved)
    found = monitoring.drift(known, frame, p**0.5, SETTINGS, policy)
    assert (found["prediction"]["level"], found["level"]) == ("act", "act")


def test_causes_are_told_apart():
    rng = np.random.default_rng(1)
    known = profile(*wide(rng, 1500), rng)
    frame, p = wide(rng, 1000)
    shifted = frame.with_columns(SHIFTS["gaps0"].alias("gaps0"), SHIFTS["even1"].alias("even1"))
    rows = monitoring.drift(known, shifted, p, SETTINGS, "psi")["features"]
    causes = {(row["feature"], row["statistic"]) for row in rows if row["level"] == "act"}
    assert ("gaps0", "missing") in causes and ("gaps0", "distribution") not in causes
    assert ("even1", "unseen") in causes
    assert all(row["value"] > row["limit_act"] >= 0.25 for row in rows if row["level"] == "act")


def test_small_windows_say_so():
    rng = np.random.default_rng(1)
    known = profile(*wide(rng, 1500), rng)
    frame, p = wide(rng, 49)
    found = monitoring.drift(known, frame.with_columns(pl.col("normal0") + 9), p, SETTINGS, "psi")
    assert found["level"] == found["prediction"]["level"] == "too_few_rows"
    assert {row["value"] for row in found["features"]} == {None}
    assert monitoring.drift(known, frame[:0], p[:0], SETTINGS, "psi")["level"] == "too_few_rows"
    frame, p = wide(rng, 499)
    tests = {row["test"] for row in monitoring.drift(known, frame, p, SETTINGS, "psi")["features"]}
    assert {"ks", "chi2"} <= tests <= {"ks", "chi2", "binomial"}


def test_empty_constant_and_absent_features():
    rng = np.random.default_rng(2)
    rows = 1000
    empty = pl.Series([None] * rows, dtype=pl.Float64)
    frame = pl.DataFrame({"empty": empty, "fixed": np.full(rows, 3.0), "absent": np.arange(rows)})
    p = np.full(rows, 0.3)
    known = profile(frame, p, rng)
    same = monitoring.drift(known, frame.drop("absent"), p, SETTINGS, "psi")
    assert same["level"] == "ok"
    assert {row["feature"] for row in same["features"]} == {"empty", "fixed"}
    for value in (2.0, 4.0):
        moved = monitoring.drift(known, frame.with_columns(fixed=value), p, SETTINGS, "psi")
        assert moved["features"][0]["feature"] == "fixed" and moved["level"] == "act"
    filled = monitoring.drift(known, frame.with_columns(empty=1.0), p, SETTINGS, "psi")
    assert (filled["features"][0]["statistic"], filled["level"]) == ("missing", "act")
    plateau = monitoring.drift(known, frame, p.astype(np.float32).astype(float), SETTINGS, "psi")
    assert plateau["prediction"]["value"] == 0


def test_psi_worked_examples():
    assert monitoring.psi(np.array([5, 3, 2]), np.array([40, 30, 30])) == pytest.approx(
        0.0629, abs=1e-4
    )
    ten = np.full(10, 1000)
    limits = [monitoring.psi_by_chance(ten, np.full(10, n), 0.05) for n in (20, 100)]
    assert limits == pytest.approx([0.0863, 0.0186], abs=1e-4)


def test_psi_by_chance_is_the_quantile_that_simulation_finds():
    rng = np.random.default_rng(0)
    share = np.full(10, 0.1)
    found = [
        monitoring.psi(rng.multinomial(10_000, share), rng.multinomial(1000, share))
        for _ in range(3000)
    ]
    assert np.quantile(found, 0.95) == pytest.approx(0.0186, rel=0.05)


def test_a_million_rows_of_twenty_features_are_quiet():
    rng = np.random.default_rng(0)
    known = profile(*wide(rng, 5000), rng)
    frame, p = wide(rng, 100_000)
    frame, p = pl.concat([frame] * 10), np.tile(p, 10)
    assert monitoring.drift(known, frame, p, SETTINGS, "psi")["level"] == "ok"


def test_estimate_is_right_when_calibrated():
    rng = np.random.default_rng(0)
    p = rng.beta(1, 3, 50_000)
    y = rng.random(len(p)) < p
    for name, value in performance.estimate(p, {}).items():
        assert value == pytest.approx(metrics.score(name, y, p), abs=0.01)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return small.with_champion(tmp_path_factory.mktemp("monitored"), rows=6000)


@pytest.fixture(scope="module")
def judged(project):
    """Return a function that gives `performance` of labels drawn from p by a rule."""
    folder = registry.champion_folder(project)
    scorer, known = Scorer.load(folder), storage.read_json(folder / "profile.json")
    window = monitoring._test_set(project, scorer, contract.read(folder / "contract.odcs.yaml"))
    draws = {"draws": 300, "seed": 0}
    tested = resampling.bootstrap(window.labels, window.scores, 0.5, ["roc_auc"], **draws)

    def judge(rows, change=lambda y, p, rng: y, seed=0):
        rng = np.random.default_rng(seed)
        picked = rng.integers(0, len(window.labels), rows)
        y, p = window.labels[picked], window.scores[picked]
        y = change(y.copy(), p, rng)
        rest = known, scorer.manifest, tested["roc_auc"], SETTINGS
        return comparison.compare(p, y, *rest, draws=100)

    return judge


def test_perf_monitor_detects_planted_drop(judged):
    def noisy(y, p, rng):
        return np.where(rng.random(len(y)) < 0.4, rng.random(len(y)) < y.mean(), y)

    found = judged(1500, noisy)
    assert (found["kind"], found["level"]) == ("realised", "act")
    assert found["high"] < found["tested"]["low"] < found["estimated"] + 0.05


def test_concept_drift_planted(judged):
    """More positives at the same ranking: the metric stays, the calibration alarms."""

    def more(y, p, rng):
        return (rng.random(len(y)) < 1.5 * p).astype(float)

    found = judged(2000, more)
    assert found["calibration"]["level"] == found["level"] == "act"
    assert found["calibration"]["observed"] > 1.3 * found["calibration"]["expected"]


@pytest.mark.parametrize("rows", [100, 800])
def test_performance_without_change_is_quiet(judged, rows):
    levels = [judged(rows, seed=seed)["level"] for seed in range(60)]
    assert levels.count("ok") >= 57, levels


def test_late_labels_give_an_estimate(judged):
    def late(y, p, rng):
        return np.where(np.arange(len(y)) < 30, y, np.nan)

    found = judged(500, late)
    assert (found["kind"], found["level"], found["labelled_rows"]) == ("estimated", "ok", 30)
    assert found["value"] == found["estimated"]


def test_estimate_warns_when_cases_become_harder(project):
    folder = registry.champion_folder(project)
    scorer, known = Scorer.load(folder), storage.read_json(folder / "profile.json")
    p = np.random.default_rng(0).normal(0.3, 0.02, 2000)
    unknown, tested = np.full(len(p), np.nan), Interval(0.8, 0.78, 0.82)
    found = comparison.compare(p, unknown, known, scorer.manifest, tested, SETTINGS)
    assert (found["kind"], found["level"]) == ("estimated", "warn")


def test_run_without_new_data_looks_at_the_test_set_and_never_fails(project):
    found = monitoring.run(project)
    assert (found["source"], found["level"], found["rows"]) == ("test set", "ok", 3000)
    assert found["performance"]["kind"] == "realised"
    assert storage.read_json(project.path("reports/drift.json"))["version"] == "v1"
    assert "<html" in project.path("reports/drift.html").read_text(encoding="utf-8")
    checked = monitoring.retrain_check(project)
    assert not checked["decision"] and checked["checks"][0]["value"] is None
    assert checked["reasons"] == ["no check asks for it"]


def test_drift_of_the_test_set_is_told_and_is_nobodys_emergency(project):
    path = project.path("data/processed/test.parquet")
    whole = path.read_bytes()
    try:
        pl.read_parquet(path).with_columns(calls=pl.col("calls") + 4).write_parquet(path)
        assert monitoring.run(project)["level"] == "act"
        assert not monitoring.retrain_check(project)["decision"]
    finally:
        path.write_bytes(whole)


def test_a_file_with_labels_without_labels_and_with_drift(project, tmp_path):
    frame = small.frame(1500, seed=9)
    path = tmp_path / "june.csv"
    frame.write_csv(path)
    found = monitoring.run(project, path)
    assert found["level"] == "ok" and found["performance"]["kind"] == "realised"
    frame.drop("y").write_csv(path)
    found = monitoring.run(project, path)
    assert found["level"] == "ok" and found["performance"]["kind"] == "estimated"
    frame.with_columns(pl.col("calls") + 4).write_csv(path)
    with pytest.raises(CheckFailed, match=r"calls \(distribution\).*performance.*drift.html"):
        monitoring.run(project, path)
    assert storage.read_json(project.path("reports/drift.json"))["level"] == "act"
    checked = monitoring.retrain_check(project)
    assert checked["decision"] and checked["checks"][0]["hit"]
    assert "no new validated rows" in checked["reasons"][-1]
    frame.with_columns(calls=-1 - pl.col("calls")).write_csv(path)
    with pytest.raises(CheckFailed, match="violations"):
        monitoring.run(project, path)


def test_few_rows_neither_calm_nor_alarm(project, tmp_path):
    path = tmp_path / "eight.csv"
    hard = small.frame(400, seed=3).filter(pl.col("calls") > 3)[:8].drop("y")
    hard.with_columns(calls=pl.Series([-1, -1, *hard["calls"][2:]])).write_csv(path)  # two break it
    found = monitoring.run(project, path)
    assert found["performance"]["level"] == found["violations"]["level"] == "too_few_rows"
    assert found["level"] == "too_few_rows"
    hard.with_columns(calls=pl.Series([-1] * 7 + [4])).write_csv(path)  # no chance breaks seven
    with pytest.raises(CheckFailed, match="violations"):
        monitoring.run(project, path)


def test_monitoring_decides_anew_whether_to_train(project, tmp_path):
    path = tmp_path / "moved.csv"
    monitoring.run(project)
    assert not storage.read_json(project.path("reports/retrain.json"))["decision"]
    small.frame(900, seed=9).with_columns(pl.col("calls") + 4).write_csv(path)
    with pytest.raises(CheckFailed):
        monitoring.run(project, path)
    assert storage.read_json(project.path("reports/retrain.json"))["decision"]


def test_the_prediction_log_is_the_window(project):
    folder = project.path("data/predictions")
    folder.mkdir(parents=True)
    frame = small.frame(900, seed=4).drop("y")
    p = monitoring._scored("", *monitoring._champion(project), small.frame(900, seed=4)).scores

    def write(day, rows, version="v1"):
        lines = [
            {
                "time": f"{day}T10:00:00Z",
                "version": version,
                "row": 0,
                "probability": float(p[row]),
                "decision": bool(p[row] > 0.4),
                "features": {**frame.row(row, named=True), "since": "2026-02-01"},
            }
            for row in rows
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{day}.jsonl").write_text(text, encoding="utf-8")

    write("2026-03-01", range(700, 900))  # too long ago
    write("2026-03-09", range(400))
    write("2026-03-10", range(400, 600))
    with (folder / "2026-03-10.jsonl").open("a", encoding="utf-8") as file:
        odd = {"amount": "x", "calls": [1], "plan": 7, "online": 2}
        answer = {"version": "v1", "probability": 0.5, "decision": True}
        file.write(json.dumps(answer | {"features": odd}) + "\n")
        file.write('{"time": "2026-03-10T11:00:00Z", "vers')  # the service was killed here
    with (folder / "2026-03-09.jsonl").open("ab") as raw:
        raw.write(b'{"version": "v1", "probability": 0.5, "features": {"plan": "\xff"}}\n')
    (folder / "2026-03-07.jsonl").touch()
    try:
        found = monitoring.run(project)
        assert found["source"] == "prediction log, 2026-03-04 to 2026-03-10"
        assert found["rows"] == 601 and found["level"] == "ok"
        assert found["performance"]["kind"] == "estimated"
        write("2026-03-11", range(10), version="v0")  # of another champion
        assert monitoring.run(project)["rows"] == found["rows"]
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_simulated_drift_is_found_and_the_control_is_quiet(project):
    found = monitoring.simulate_drift(project)
    assert found["passed"] and found["control"]["act"] == 0 and found["control"]["ok"] >= 38
    planted = {(item["feature"], item["shift"].split()[0]) for item in found["planted"]}
    assert planted == {
        ("amount", "moved"),
        ("calls", "moved"),
        ("plan", "half"),
        ("online", "half"),
        *((name, "30") for name in ("amount", "calls", "plan", "online")),
        ("y", "half"),
    }
    assert storage.read_json(project.path("reports/simulated_drift.json")) == found


def test_a_deaf_alarm_fails_the_simulation(project, monkeypatch):
    monkeypatch.setenv("ML_MONITORING__WARN", "50")
    monkeypatch.setenv("ML_MONITORING__ACT", "50")
    project = Project(project.root)
    with pytest.raises(CheckFailed, match="no alarm for amount"):
        monitoring.simulate_drift(project)
    assert not storage.read_json(project.path("reports/simulated_drift.json"))["passed"]


def test_retraining_for_age_metric_and_new_rows(project, monkeypatch):
    made = Scorer.load(registry.champion_folder(project)).manifest.created
    later = dt.datetime.fromisoformat(made) + dt.timedelta(days=91)

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return later

    drifted = {
        "version": "v1",
        "source": "june.csv",
        "level": "warn",
        "performance": {"kind": "realised", "value": 0.70, "tested": {"low": 0.73}},
    }
    storage.write_json(project.path("reports/drift.json"), drifted)
    valid = project.path("data/processed/valid.parquet")
    whole = valid.read_bytes()
    try:
        small.frame(6400).write_parquet(valid)
        monkeypatch.setattr(monitoring.dt, "datetime", Clock)
        found = monitoring.retrain_check(project)
    finally:
        valid.write_bytes(whole)
    assert [check["hit"] for check in found["checks"]] == [False, True, True, False]
    assert found["checks"][1]["value"] == pytest.approx(0.03)
    assert found["checks"][3]["value"] == 400
    assert found["decision"] and len(found["reasons"]) == 2
    drifted["version"] = "v0"  # a report of an earlier champion says nothing about this one
    storage.write_json(project.path("reports/drift.json"), drifted)
    monkeypatch.undo()
    assert not monitoring.retrain_check(project)["decision"]


def test_rows_in_a_gap_or_of_several_examples_are_not_new(project, monkeypatch):
    """A forecast learns several examples of a row, and a split by time leaves rows out."""
    scorer = Scorer.load(registry.champion_folder(project))
    valid = project.path("data/processed/valid.parquet")
    whole, read = valid.read_bytes(), storage.read_json
    try:
        small.frame(6400).write_parquet(valid)
        for parts in (2000, 90_000):
            split = {"development_rows": parts, "test_rows": 900, "valid_rows": 6000}
            told = {"training.json": {"split": split}}
            monkeypatch.setattr(
                storage, "read_json", lambda path, *of, told=told: told.get(path.name) or read(path)
            )
            assert monitoring._new_rows(project, scorer) == 400
    finally:
        valid.write_bytes(whole)


def test_damaged_valid_rows_are_one_line(project):
    valid = project.path("data/processed/valid.parquet")
    whole = valid.read_bytes()
    try:
        for content in (whole[: len(whole) // 2], b"", b"PAR1" + bytes(500) + b"PAR1"):
            valid.write_bytes(content)
            with pytest.raises(ProjectError, match=r"valid\.parquet is damaged.*run `ml validate`"):
                monitoring.retrain_check(project)
    finally:
        valid.write_bytes(whole)


def test_without_champion_or_test_set_the_next_step_is_named(tmp_path):
    made = small.project(tmp_path)
    for command in (monitoring.run, monitoring.simulate_drift, monitoring.retrain_check):
        with pytest.raises(ProjectError, match="no champion yet"):
            command(made)
    registry.promote(made, small.train(made, rows=400))
    made.path("data/processed/test.parquet").unlink()
    with pytest.raises(ProjectError, match="give a file"):
        monitoring.run(made)


def test_levels_that_are_frequent_by_chance_do_not_drift():
    rng = np.random.default_rng(3)
    frame, p = pl.DataFrame({"code": rng.integers(0, 480, 1040).astype(str)}), rng.beta(1, 4, 1040)
    known = profile(frame[:800], p[:800], rng)
    assert not known["features"]["code"]["levels"]
    found = monitoring.drift(known, frame[800:], p[800:], SETTINGS, "ks_chi2")
    assert [row["level"] for row in found["features"]] == ["ok"]
    often = frame[:800].with_columns(code=pl.Series(np.repeat(["a", "b"], 400)))
    assert [*profile(often, p[:800], rng)["features"]["code"]["levels"]] == ["a", "b"]
