"""A project that recommends items, from the copy to a served list."""

import datetime as dt
import json
import shutil
from pathlib import Path
from urllib.error import HTTPError

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
    "ML_DATA__SAMPLE_ROWS": "6000",
}
SAMPLE = "data/sample/dataset.parquet"
IGNORED = shutil.ignore_patterns("models", "reports", ".git", "processed", "raw", "features")
BAD: dict[str, tuple[hostile.Change, int, str]] = {
    "no item": (hostile.without("film_id"), 2, "column 'film_id' is missing from the data"),
    "one item": (lambda frame: frame.with_columns(film_id=pl.lit(3)), 1, "has one item"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = render(tmp_path_factory.mktemp("lists") / "p", preset="recommender")
    publish(folder)
    made = Made(folder, "what_to_watch", SMALL)
    made.ml("run")
    return made


def test_a_run_passes_its_gate_and_tells_for_whom_lists_work(project: Made) -> None:
    metrics, training = project.report("metrics"), project.report("training")
    assert metrics["gate"]["passed"] and training["chosen"] in ("item_item", "ease", "ease_popular")
    assert {"popular", "recent"} == set(metrics["baselines"])
    best = metrics["champion"]["metrics"]
    assert best["ndcg"]["value"] > 1.5 * metrics["baselines"]["popular"]["ndcg"]
    assert best["recall"]["value"] > best["ndcg"]["value"] > best["map"]["value"]
    assert metrics["business"]["says_nothing"]
    parts = {part["known"]: part["ndcg"] for part in metrics["by_history"]}
    assert parts["3 to 5"] > 2 * parts["0"]
    assert sum(part["rows"] for part in metrics["by_history"]) == metrics["data"]["test_rows"]
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    assert "For whom does it work?" in page and "Items that most lists show" in page
    profile = (project.folder / "reports/profile.html").read_text(encoding="utf-8")
    assert "Items of a single row" in profile
    (row, *_) = project.report("explain")["rows"]
    assert row["first"] == row["items"][0]


def test_the_plan_is_checked_against_what_was_measured(project: Made) -> None:
    project.ml("plan", "check")
    plan = (project.folder / "PLAN.md").read_text(encoding="utf-8")
    assert "| Items of a list | 10 (preset) | 10 |" in plan
    assert "Measured on made-up data: of 10 items a list shows the one that was taken" in plan


def test_a_file_and_the_service_give_the_same_lists(project: Made, tmp_path: Path) -> None:
    test = pl.read_parquet(project.folder / "data/processed/test.parquet").head(150)
    test.drop("film_id").write_csv(tmp_path / "new.csv")
    project.ml("score", str(tmp_path / "new.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv", schema_overrides={"items": pl.String})
    assert scored["problem"].null_count() == 150
    lists = [list(map(int, items.split())) for items in scored["items"]]
    assert all(len(set(items)) == 10 for items in lists)
    assert scored["ranking_item_1"].cast(pl.Int64).to_list() == [items[0] for items in lists]
    rows = [row | {"watched_at": row["watched_at"].isoformat()} for row in test.to_dicts()]
    for row in rows:
        del row["film_id"]
    new = {"user_id": "somebody new", "watched_at": "2026-11-01T10:00:00"}
    with project.serving() as ask:
        found = ask("/predict", {"rows": [*rows, new]})["predictions"]
        told = ask("/metrics")
    assert [answer["items"] for answer in found[:-1]] == lists
    assert found[-1]["known"] == 0 and set(found[-1]["because"]) == {-1}
    assert len(found[-1]["items"]) == 10 and "ml_known_bucket" in told


def test_new_interactions_count_without_training(project: Made, tmp_path: Path) -> None:
    frame = pl.read_parquet(project.folder / SAMPLE)
    last = frame.sort("watched_at").tail(1)
    who = {"user_id": "somebody new", "watched_at": "2026-11-01T10:00:00", "device": "tv"}
    (tmp_path / "who.csv").write_text(",".join(who) + "\n" + ",".join(who.values()) + "\n")
    project.ml("score", str(tmp_path / "who.csv"), str(tmp_path / "before.csv"))
    first = last.with_columns(pl.lit("somebody new").alias("user_id"))
    pl.concat([frame, first.select(frame.columns)]).write_parquet(tmp_path / "more.parquet")
    more = Made(
        project.folder,
        project.package,
        project.settings | {"ML_DATA__SOURCE": str(tmp_path / "more.parquet")},
    )
    for command in (["ingest"], ["validate"], ["features", "build"]):
        more.ml(*command)
    project.ml("score", str(tmp_path / "who.csv"), str(tmp_path / "after.csv"))
    known = [pl.read_csv(tmp_path / f"{name}.csv")["known"][0] for name in ("before", "after")]
    assert known == [0, 1]
    for command in (["ingest"], ["validate"], ["features", "build"]):
        project.ml(*command)


def test_a_request_may_bring_what_somebody_took(project: Made) -> None:
    valid = pl.read_parquet(project.folder / "data/processed/valid.parquet").sort("watched_at")
    items = valid.filter(pl.col("user_id") == valid["user_id"][-1])["film_id"].to_list()
    when = "2026-06-01T00:00:00"
    row = {"user_id": "somebody new", "watched_at": when, "device": "tv"}
    told = [
        {"user_id": "somebody new", "watched_at": f"2026-05-01T00:00:{n:02}", "film_id": item}
        for n, item in enumerate(items)
    ]
    with project.serving() as ask:
        (new,) = ask("/predict", {"rows": [row]})["predictions"]
        (own,) = ask("/predict", {"rows": [row], "history": told})["predictions"]
    assert new["known"] == 0 and own["known"] == len(items) and own["items"] != new["items"]
    assert not set(own["items"]) & set(items)
    assert set(own["because"]) <= {*items, -1}


def test_a_long_history_counts_whole_and_by_all_ways_alike(project: Made, tmp_path: Path) -> None:
    """The model sees the last 30 items; what was taken before them is not shown either."""
    valid = pl.read_parquet(project.folder / "data/processed/valid.parquet")
    items = valid["film_id"].value_counts().sort("count", descending=True)["film_id"].to_list()
    who = {"user_id": "collector", "watched_at": "2026-11-01T10:00:00", "device": "tv"}
    start = valid["watched_at"].max()
    many = 70
    told = [
        {"user_id": "collector", "watched_at": f"{start + dt.timedelta(hours=n):%Y-%m-%dT%H:%M:%S}"}
        | {"film_id": item}
        for n, item in enumerate(items[:many])
    ]
    with project.serving() as ask:
        (own,) = ask("/predict", {"rows": [who], "history": told})["predictions"]
        request = {"rows": [who], "history": told, "show_seen": True}
        (again,) = ask("/predict", request)["predictions"]
    assert own["known"] == 30 and len(set(own["items"])) == 10
    assert not set(own["items"]) & set(items[:many])
    assert set(again["items"]) & set(items[: many - 30])  # what it sees no more is taken most
    frame = pl.read_parquet(project.folder / SAMPLE)
    rows = pl.DataFrame(told).with_columns(
        pl.col("watched_at").str.to_datetime(), device=pl.lit("tv")
    )
    rows = rows.cast(dict(frame.select(rows.columns).schema)).select(frame.columns)
    pl.concat([frame, rows]).write_parquet(tmp_path / "more.parquet")
    source = {"ML_DATA__SOURCE": str(tmp_path / "more.parquet")}
    more = Made(project.folder, project.package, project.settings | source)
    for command in (["ingest"], ["validate"], ["features", "build"]):
        more.ml(*command)
    (tmp_path / "who.csv").write_text(",".join(who) + "\n" + ",".join(who.values()) + "\n")
    project.ml("score", str(tmp_path / "who.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv")
    assert scored["items"].to_list() == [" ".join(map(str, own["items"]))]
    for command in (["ingest"], ["validate"], ["features", "build"]):
        project.ml(*command)


def test_a_row_is_explained_in_few_lines(project: Made) -> None:
    said = project.ml("explain", "--row", "0")
    assert "the list begins with " in said and "nan" not in said
    lines = [line for line in said.splitlines() if line.startswith("  ")]
    assert len(lines) == 21 and lines[-1].endswith("11 others, each less")


def test_a_request_or_a_file_leaves_items_out(project: Made, tmp_path: Path) -> None:
    row = {"user_id": "somebody new", "watched_at": "2026-11-01T10:00:00", "device": "tv"}
    with project.serving() as ask:
        (plain,) = ask("/predict", row)["predictions"]
        out = plain["items"][:3]
        (left,) = ask("/predict", {"rows": [row], "exclude": out})["predictions"]
        few = {"rows": [row], "only": [*out, 16_777_215]}
        (chosen,) = ask("/predict", few)["predictions"]
        with pytest.raises(HTTPError) as error:
            ask("/predict", {"rows": [row], "exclude": ["x"]})
        refusal = json.loads(error.value.read())
        asked = ask("/openapi.json")["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert chosen["warning"] == "only: the model does not know 16777215"
    assert "warning" not in left
    assert left["items"][:7] == plain["items"][3:] and not set(left["items"]) & set(out)
    assert chosen["items"] == [*out, *[-1] * 7]
    assert refusal["errors"][0]["field"] == "exclude[0]"
    fields = asked["application/json"]["schema"]["oneOf"][2]["properties"]
    assert fields.keys() == {"rows", "history", "exclude", "only", "show_seen"}
    lines = [
        ",".join([*row, "exclude", "only"]),
        ",".join([*row.values(), " ".join(map(str, out)), ""]),
        ",".join([*row.values(), "", " ".join(map(str, out))]),
        ",".join([*row.values(), "x", ""]),
        ",".join([*row.values(), "16777215", ""]),
    ]
    (tmp_path / "who.csv").write_text("\n".join(lines) + "\n")
    project.ml("score", str(tmp_path / "who.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv", schema_overrides={"items": pl.String})
    assert scored["items"].to_list()[:2] == [
        " ".join(map(str, left["items"])),
        " ".join(map(str, chosen["items"])),
    ]
    assert scored["problem"].to_list() == [None, None, "exclude[0]: type", None]
    said = "exclude: the model does not know 16777215"
    assert scored["warning"].to_list() == [None, None, None, said]
    assert scored["ranking_item_10"].to_list()[1] == -1  # where too few items are left


def test_items_may_have_texts_for_names(project: Made, tmp_path: Path) -> None:
    """What callers send and get are the names, in files, by the service and in histories."""
    shutil.copytree(project.folder, folder := tmp_path / "p", ignore=IGNORED)
    name = pl.format("Film, no {}", pl.col("film_id"))
    frame = pl.read_parquet(project.folder / SAMPLE).with_columns(film_id=name)
    frame.write_csv(tmp_path / "taken.csv")
    source = {"ML_DATA__SOURCE": str(tmp_path / "taken.csv")}
    named = Made(folder, project.package, project.settings | source)
    named.ml("contract", "infer", str(tmp_path / "taken.csv"), "--force")
    named.ml("run")
    names = json.loads((folder / "contracts/items.json").read_text(encoding="utf-8"))
    assert set(names) == set(frame["film_id"])
    page = (folder / "reports/evaluation.html").read_text(encoding="utf-8")
    assert "Film, no " in page
    who = frame["user_id"][-1]
    asked = {"user_id": who, "watched_at": "2026-11-01T10:00:00", "device": "tv"}
    (tmp_path / "who.csv").write_text(",".join(asked) + "\n" + ",".join(asked.values()) + "\n")
    named.ml("score", str(tmp_path / "who.csv"), str(tmp_path / "out.csv"))
    (scored,) = pl.read_csv(tmp_path / "out.csv").to_dicts()
    out = f"{names[5]} {names[6]} A film of 1900"
    cells = "\n".join([",".join([*asked, "exclude"]), ",".join([*asked.values(), f'"{out}"'])])
    (tmp_path / "leave.csv").write_text(cells + "\n")
    named.ml("score", str(tmp_path / "leave.csv"), str(tmp_path / "left.csv"))
    (left,) = pl.read_csv(tmp_path / "left.csv").to_dicts()
    assert left["warning"] == "exclude: the model does not know 'A film of', '1900'"
    said = named.ml("explain", "--row", "0")
    assert "the list begins with Film, no " in said and "nan" not in said
    assert "film_id.1 = Film, no " in said
    seen = set(frame.filter(pl.col("user_id") == who)["film_id"])
    told = [
        {"user_id": "new", "watched_at": f"2026-05-01T00:00:{n:02}", "film_id": item}
        for n, item in enumerate([*sorted(seen), "Film that nobody knows"])
    ]
    with named.serving() as ask:
        (known,) = ask("/predict", asked)["predictions"]
        request = {"rows": [asked | {"user_id": "new"}], "history": told}
        (new,) = ask("/predict", request)["predictions"]
        api = ask("/openapi.json")["components"]["schemas"]
    assert known["items"] == json.loads(scored["items"])
    assert known["because"] == json.loads(scored["because"])
    assert set(known["items"]) <= set(names) - seen and set(known["because"]) <= {*seen, ""}
    assert new["known"] == known["known"] == len(seen)
    assert set(new["items"]) <= set(names) - seen
    assert api["Prediction"]["properties"]["items"]["items"] == {"type": "string"}
    # What comes later gets the next numbers, and is unknown to the model until it is trained.
    later = frame.tail(1).with_columns(film_id=pl.lit("A new film"), user_id=pl.lit("new"))
    pl.concat([frame, later]).write_csv(tmp_path / "taken.csv")
    for command in (["ingest"], ["validate"], ["features", "build"]):
        named.ml(*command)
    again = json.loads((folder / "contracts/items.json").read_text(encoding="utf-8"))
    assert again == [*names, "A new film"]
    (tmp_path / "who.csv").write_text("user_id,watched_at,device\nnew,2026-11-01T10:00:00,tv\n")
    named.ml("score", str(tmp_path / "who.csv"), str(tmp_path / "later.csv"))
    assert pl.read_csv(tmp_path / "later.csv")["known"].to_list() == [0]


def test_drift_alarms_fire(project: Made) -> None:
    project.ml("simulate-drift")
    assert all(item["level"] == "act" for item in project.report("simulated_drift")["planted"])


def test_its_own_tests_pass(project: Made) -> None:
    project.python("-m", "pytest", "-q", "-n0", "tests")


@pytest.mark.nightly
def test_its_types_are_right(project: Made) -> None:
    project.python("-m", "mypy", "--strict", "src")


@pytest.mark.parametrize("name", BAD)
def test_bad_data_end_in_one_line(project: Made, name: str) -> None:
    change, code, said = BAD[name]
    frame = pl.read_parquet(project.folder / SAMPLE)
    path = project.folder / "data/sample/bad.parquet"
    change(frame).write_parquet(path)
    bad = Made(project.folder, project.package, project.settings | {"ML_DATA__SOURCE": str(path)})
    try:
        assert said in bad.ml("run", code=code).splitlines()[-1]
    finally:
        path.unlink()
    champion = json.loads((project.folder / "models/registry.json").read_text())["champion"]
    assert champion == "v1"


def test_users_items_and_times_are_enough(project: Made, tmp_path: Path) -> None:
    frame = pl.read_parquet(project.folder / SAMPLE).drop("device").head(1200)
    frame.write_csv(tmp_path / "taken.csv")
    path = project.folder / "contracts/dataset.odcs.yaml"
    agreed = path.read_bytes()
    source = {"ML_DATA__SOURCE": str(tmp_path / "taken.csv")}
    bare = Made(project.folder, project.package, project.settings | source)
    try:
        said = bare.ml("contract", "infer", str(tmp_path / "taken.csv"), "--target", "film_id")
        assert "features   0" in said
        for command in (["ingest"], ["validate"], ["profile"], ["train"]):
            bare.ml(*command)
        assert bare.report("training")["chosen"] in ("item_item", "ease", "ease_popular", "recent")
    finally:
        path.write_bytes(agreed)
