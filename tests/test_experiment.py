"""`ml plan experiment`: tests held against scipy, looks by the planned rule, broken arms."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers.rendering import render
from scipy import stats

from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.settings import Project
from package_name.planner import compared, experiment, sync
from package_name.planner.blocks import parse

PLANNED = 400


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("experiment") / "project", plan_depth="standard")


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Project:
    found = Project(shutil.copytree(rendered, tmp_path / "project"))
    number = found.plan.computed["EVAL-08"]["rows_per_arm"]
    found.plan.computed["EVAL-08"]["rows_per_arm"] = type(number)(
        value=PLANNED, unit=number.unit, formula=number.formula, source=number.source
    )
    return found


def arms(path: Path, control: tuple[int, int], new: tuple[int, int], waiting: int = 0) -> Path:
    """Write rows of two arms, each as (positives, rows), and some whose outcome is not known."""
    rows = [
        (name, "1" if i < positives else "0")
        for name, (positives, n) in (("control", control), ("model", new))
        for i in range(n)
    ]
    rows += [("control", ""), ("model", "")] * waiting
    path.write_text("arm,outcome\n" + "".join(f"{arm},{y}\n" for arm, y in rows))
    return path


@pytest.mark.parametrize("seed", range(20))
def test_two_shares_are_pearsons_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_new, n_old = rng.integers(5, 500, 2)
    new, old = rng.integers(1, n_new), rng.integers(1, n_old)
    z, p = experiment.two_shares(int(new), int(n_new), int(old), int(n_old))
    table = [[new, n_new - new], [old, n_old - old]]
    expected = stats.chi2_contingency(table, correction=False)
    assert z**2 == pytest.approx(expected.statistic) and p == pytest.approx(expected.pvalue)
    low, high = compared.share_interval(int(new), int(n_new))
    wilson = stats.binomtest(int(new), int(n_new)).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((wilson.low, wilson.high))


@pytest.mark.parametrize("seed", range(20))
def test_two_means_are_welchs_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    new, old = rng.normal(0.3, 2, rng.integers(2, 40)), rng.normal(0, 1, rng.integers(2, 40))
    sides = [(float(x.mean()), float(x.var(ddof=1)), len(x)) for x in (new, old)]
    t, p = experiment.welch(*sides)
    expected = stats.ttest_ind(new, old, equal_var=False)
    assert (t, p) == pytest.approx((expected.statistic, expected.pvalue))
    frame = pl.DataFrame({"today": old[:2], "model": new[:2]})
    paired = stats.ttest_rel(new[:2], old[:2])
    assert experiment._pairs(frame).p == pytest.approx(paired.pvalue)


def test_a_mismatch_is_the_chi_square_of_the_arms() -> None:
    p = experiment.mismatch(5200, 10_000, 0.5)
    assert p == pytest.approx(stats.chisquare([5200, 4800]).pvalue) and 6e-5 < p < 7e-5
    assert experiment.mismatch(200, 1000, 0.2) == 1


def test_four_looks_keep_false_alarms_at_five_per_cent_and_daily_ones_do_not() -> None:
    rng = np.random.default_rng(1)
    walk = rng.normal(size=(20_000, 28)).cumsum(axis=1) / np.sqrt(np.arange(1, 29))
    looks = np.column_stack(
        [np.abs(walk[:, 7 * k - 1]) >= experiment.bound(k) for k in range(1, 5)]
    )
    assert 0.045 < looks.any(axis=1).mean() < 0.055
    assert (np.abs(walk) > 1.96).any(axis=1).mean() > 0.2


def test_counts_alone_are_told_between_looks(project: Project, tmp_path: Path) -> None:
    path = arms(tmp_path / "e.csv", (45, 90), (10, 90), waiting=20)
    report = experiment.run(project, path)
    assert report["verdict"] == "go_on" and not report["looks"]
    assert report["told"] == ("go on: 90 known rows in the smaller arm, look 1 of 4 comes at 100")
    assert "difference" not in report["told"]
    arms(path, (52, 105), (50, 105))
    first = experiment.run(project, path)
    assert [look["look"] for look in first["looks"]] == [1] and first["verdict"] == "go_on"
    assert experiment.run(project, path) == first  # the same file says the same
    arms(path, (70, 140), (20, 140))  # whatever it would show: look 2 is not there yet
    between = experiment.run(project, path)
    assert between["told"].endswith("look 2 of 4 comes at 200") and between["verdict"] == "go_on"


@pytest.mark.parametrize(
    ("control", "new", "better", "verdict"),
    [
        ((150, 300), (80, 300), None, "win"),  # fewer positives are better in this plan
        ((80, 300), (150, 300), None, "harm"),
        ((80, 300), (150, 300), "higher", "win"),
        ((150, 300), (140, 300), None, "go_on"),
        ((200, 400), (190, 400), None, "no_difference"),
    ],
)
def test_what_is_shown_at_a_look_is_told(
    project: Project,
    tmp_path: Path,
    control: tuple[int, int],
    new: tuple[int, int],
    better: experiment.Better | None,
    verdict: str,
) -> None:
    path = arms(tmp_path / "e.csv", control, new)
    report = experiment.run(project, path, better=better)
    assert report["verdict"] == verdict and experiment.WORDS[verdict] in report["told"]
    (look,) = report["looks"]
    assert look["low"] < look["effect"] < look["high"]
    if verdict in ("win", "harm"):
        assert not look["low"] < 0 < look["high"], "interval and verdict agree"
        arms(path, (200, 400), (200, 400))
        with pytest.raises(ProjectError, match="ended at look 3: stop"):
            experiment.run(project, path)
        assert experiment.run(project, path, restart=True)["verdict"] == "no_difference"


def test_the_plan_tells_what_came_out(project: Project, tmp_path: Path) -> None:
    experiment.run(project, arms(tmp_path / "e.csv", (200, 400), (100, 400)))
    sync.run(project)
    text = project.path("PLAN.md").read_text(encoding="utf-8")
    said = "\n".join(parse(text)["measured", "EVAL-08"].lines).replace("\u00a0", " ")
    assert "`model` 25 % of 400 rows against `control` 50 % of 400; difference -0.25" in said
    assert "at look 4 of 4: stop: the new way is better." in said


def test_means_and_pairs_are_compared(project: Project, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "e.parquet"
    today = rng.gamma(2, 5, PLANNED)
    pl.DataFrame({"today": today, "model": 0.8 * today + rng.normal(0, 1, PLANNED)}).write_parquet(
        path
    )
    report = experiment.run(project, path)
    assert report["verdict"] == "win" and "on the same 400 rows" in report["told"]
    frame = pl.DataFrame(
        {"arm": ["old", "new"] * PLANNED, "outcome": rng.normal(10, 2, 2 * PLANNED)}
    )
    frame.write_parquet(path)
    report = experiment.run(project, path, control="old", restart=True)
    assert report["verdict"] == "no_difference" and "`new` " in report["told"]


def test_one_share_is_held_against_what_pays(project: Project, tmp_path: Path) -> None:
    pays = project.plan.number("EVAL-05", "p_star")

    def read(positive: int, rows: int) -> dict[str, Any]:
        path = tmp_path / "judged.csv"
        path.write_text("outcome\n" + "1\n" * positive + "0\n" * (rows - positive))
        return experiment.run(project, path)

    assert "10 of 400 rows are judged" in read(5, 10)["told"]
    many = int(PLANNED * min(1, pays + 0.2))
    assert read(many, PLANNED)["verdict"] == "win"
    assert read(int(PLANNED * pays / 3), PLANNED)["verdict"] == "harm"
    assert read(int(PLANNED * pays), PLANNED)["verdict"] == "no_difference"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n", {}, "give rows with columns arm and outcome"),
        ("arm,outcome\ncontrol,1\nmodel,yes\n", {}, "row 2: outcome is 'yes': give a number"),
        ("arm,outcome\ncontrol,1\n,1\n", {}, "row 2 has no arm"),
        ("arm,outcome\na,1\nb,1\n", {}, "one of them 'control'"),
        ("arm,outcome\ncontrol,1\nb,1\nc,1\n", {}, "it has b, c, control"),
        ("arm,outcome\ncontrol,1\nb,1\n", {"control_share": 1.5}, "between 0 and 1"),
        ("outcome\n3\n", {}, "an outcome without arms is 0 or 1"),
        ("group,outcome\nmodel,1\ncontrol,0\n", {}, "'group' looks like arms: call it arm"),
        ("variant,outcome\nA,1\nB,0\n", {}, "'variant' looks like arms: call it arm"),
        ("group,outcome\nControl,1\nTreatment,0\n", {}, "by `--control NAME`"),
        ("treated,outcome\n0,1\n1,0\n", {}, "'treated' looks like arms"),
        ("who,which,outcome\nx,Old ,1\ny,new,0\n", {}, "'which' looks like arms"),
        ("who,outcome\nLive,1\nx,0\n", {"control": "live"}, "'who' looks like arms"),
        ("arm,outcome\nControl,1\ncontrol,0\n", {}, "two arms are compared"),
    ],
)
def test_a_file_that_says_nothing_is_refused(
    project: Project, tmp_path: Path, text: str, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "e.csv"
    path.write_text(text)
    with pytest.raises(ProjectError, match=message) as error:
        experiment.run(project, path, **options)
    assert "\n" not in str(error.value)
    assert not project.path(experiment.REPORT).exists()


def test_the_control_is_found_in_any_case_of_letters(project: Project, tmp_path: Path) -> None:
    path = arms(tmp_path / "e.csv", (150, 300), (80, 300))
    path.write_text(path.read_text().replace("control", "Control"))
    assert "against `Control` 50" in experiment.run(project, path)["told"]


def test_columns_that_are_no_arms_stand_beside_judged_rows(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "judged.csv"
    path.write_text("reviewer,severity,outcome\nann,high,1\nben,low,0\n")
    assert "2 of 400 rows are judged" in experiment.run(project, path)["told"]


def test_arms_that_are_not_as_drawn_stop_the_experiment(project: Project, tmp_path: Path) -> None:
    path = arms(tmp_path / "e.csv", (200, 400), (100, 300))
    with pytest.raises(CheckFailed, match="arms are not as they were drawn"):
        experiment.run(project, path)
    sync.run(project)
    assert "in place of 50" in project.path("PLAN.md").read_text(encoding="utf-8")
    share = 400 / 700
    assert experiment.run(project, path, control_share=share)["verdict"] == "win"
