"""A project that finds segments, from the copy to a served model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import hostile
from helpers.rendering import publish, render
from helpers.running import Made

SMALL = {
    "ML_TRAINING__TRACK": "false",
    "ML_TRAINING__FOLDS": "3",
    "ML_TRAINING__THREADS": "1",
    "ML_EVALUATION__BOOTSTRAP": "100",
}
SAMPLE = "data/sample/dataset.parquet"
BAD: dict[str, tuple[hostile.Change, int, str]] = {
    "no column": (hostile.without("visits_30d"), 2, "column 'visits_30d' is missing from the data"),
    "too few rows": (lambda frame: frame.head(40), 1, "40 of 40 rows are usable"),
    "a segment for each row": (
        lambda frame: frame.with_columns(segment="customer_id"),
        *(1, "has 4 000 different values, which are no segments of today"),
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = render(
        tmp_path_factory.mktemp("segments") / "p",
        preset="segmentation",
        interpretability="local",
        deployment_modes=["rest", "batch"],
    )
    publish(folder)
    made = Made(folder, "customer_segments", SMALL)
    made.ml("run")
    return made


def test_a_run_finds_stable_segments_and_tells_people_of_them(project: Made) -> None:
    metrics, training = project.report("metrics"), project.report("training")
    assert metrics["gate"]["passed"]
    assert metrics["quality"]["stability"]["value"] >= 0.8
    parts = metrics["segments"]
    assert len(parts) == 4 and sum(part["rows"] for part in parts) == metrics["data"]["test_rows"]
    assert len({part["name"] for part in parts}) == 4 and all(part["profile"] for part in parts)
    assert [item["segments"] for item in metrics["numbers"] if item["chosen"]] == [4]
    assert metrics["tree"]["depth"] <= 3 and metrics["tree"]["agreement"] > 0.9
    assert max(metrics["noise"], training["outside"]["share"]) < 0.1
    assert metrics["business"]["says_nothing"] and metrics["today"]["segments"] == 3
    assert {"median_rule", "today_rule"} == set(metrics["baselines"])
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    for said in ("Who is in which segment?", "A rule to use by hand", "How many segments?"):
        assert said in page, said
    profile = (project.folder / "reports/profile.html").read_text(encoding="utf-8")
    assert "Rows with a segment of today" in profile
    (row, *_) = project.report("explain")["rows"]
    assert row["name"] in {part["name"] for part in parts} and -1 <= row["clearness"] <= 1


def test_the_plan_is_checked_against_what_was_measured(project: Made) -> None:
    project.ml("plan", "check")
    assert project.report("drift")["level"] == "ok"
    assert project.report("drift")["performance"]["outside"]["level"] == "ok"


def test_a_file_and_the_service_place_rows_alike(project: Made, tmp_path: Path) -> None:
    test = pl.read_parquet(project.folder / "data/processed/test.parquet")
    test.drop("segment").head(200).write_csv(tmp_path / "new.csv")
    project.ml("score", str(tmp_path / "new.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv")
    names = {part["segment"]: part["name"] for part in project.report("metrics")["segments"]}
    assert [names[code] for code in scored["cluster"]] == scored["name"].to_list()
    assert (scored["position_cluster"] == scored["cluster"]).all()
    assert (scored["position_reach"] - scored["distance"]).abs().max() < 1e-6  # type: ignore[operator]
    assert (scored["position_distance"] <= scored["position_next"]).mean() > 0.99
    (version,) = {p.name for p in (project.folder / "models").iterdir() if p.is_dir()}
    golden = json.loads((project.folder / f"models/{version}/golden.json").read_text())
    cut = project.report("metrics")["champion"]["cut"]
    with project.serving() as ask:
        found = ask("/predict", {"rows": golden["rows"]})["predictions"]
        for answer, position in zip(found, golden["scores"]["position"], strict=True):
            assert answer["position"] == pytest.approx(position, abs=1e-4)
            assert answer["cluster"] == round(position[0]) and answer["name"] in names.values()
            assert answer["outside"] == (answer["distance"] > np.float32(cut))
        told = ask("/metrics")
        assert 'ml_clusters_total{cluster="' in told and "ml_distance_bucket" in told


def test_new_kinds_of_rows_are_noticed_without_labels(project: Made, tmp_path: Path) -> None:
    project.ml("simulate-drift")
    assert all(item["level"] == "act" for item in project.report("simulated_drift")["planted"])
    rows = pl.read_parquet(project.folder / "data/processed/test.parquet").drop("segment")
    strange = rows.with_columns(pl.col("basket_value") * 5, pl.col("visits_30d") + 30)
    strange.write_csv(tmp_path / "strange.csv")
    project.ml("monitor", str(tmp_path / "strange.csv"), code=1)
    found = project.report("drift")["performance"]
    assert found["kind"] == "estimated" and found["outside"]["level"] == "act"


def test_its_own_tests_pass(project: Made) -> None:
    project.python("-m", "pytest", "-q", "-n0", "tests")


@pytest.mark.nightly
def test_its_types_are_right(project: Made) -> None:
    project.python("-m", "mypy", "--strict", "src")


def of_equal_rows(folder: Path) -> None:
    frame = pl.read_parquet(folder / SAMPLE)
    rest = [name for name in frame.columns if name not in ("customer_id", "segment")]
    equal = [pl.lit(frame[name][0]).alias(name) for name in rest]
    frame.with_columns(equal).write_parquet(folder / SAMPLE)


def of_rows_that_nothing_groups(folder: Path) -> None:
    frame = pl.read_parquet(folder / SAMPLE)
    rest = [name for name in frame.columns if name not in ("customer_id", "segment")]
    shuffled = [frame[name].shuffle(seed=place) for place, name in enumerate(rest)]
    frame.with_columns(shuffled).write_parquet(folder / SAMPLE)


@pytest.mark.nightly  # by day test_clustering_unit.py looks at such rows
@pytest.mark.parametrize("spoil", [of_equal_rows, of_rows_that_nothing_groups])
def test_rows_without_segments_close_the_gate(
    project: Made, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(project.folder, tmp_path / "p")
    spoil(folder)
    made = Made(folder, project.package, project.settings | {"ML_DATA__SOURCE": SAMPLE})
    said = made.ml("run", code=1).splitlines()[-1]
    assert "no number of segments is found again in resamples" in said
    assert json.loads((folder / "models/registry.json").read_text())["champion"] == "v1"


def test_a_segment_of_today_is_no_number(project: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(project.folder, tmp_path / "p")
    path = folder / "contracts/dataset.odcs.yaml"
    text = path.read_text(encoding="utf-8")
    start = text.index('- name: "segment"')
    path.write_text(text[:start] + text[start:].replace("string", "number", 1), encoding="utf-8")
    said = Made(folder, project.package, project.settings).ml("contract", "check", code=1)
    assert "a segment of today is string, integer or boolean, not number" in said


@hostile.hostile_rows(BAD)
def test_a_bad_table_stops_the_run_and_leaves_the_champion(
    project: Made, tmp_path: Path, change: hostile.Change, code: int, says: str
) -> None:
    hostile.survive_rows(project, tmp_path, change, code, says)


def test_hostile_requests_and_damage_are_survived(project: Made, tmp_path: Path) -> None:
    hostile.survive_attacks(project, tmp_path)


def test_new_rows_need_no_segment_of_today(project: Made, tmp_path: Path) -> None:
    frame = pl.read_parquet(project.folder / "data/processed/test.parquet").head(300)
    frame.with_columns(segment=pl.lit("never seen")).write_csv(tmp_path / "other.csv")
    frame.drop("segment").write_csv(tmp_path / "none.csv")
    for name in ("other", "none"):
        project.ml("monitor", str(tmp_path / f"{name}.csv"))
