"""A version on trial: unseen, for a stable share of the keys, and what is decided of it."""

import datetime as dt
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helpers.bundles as small
import numpy as np
import polars as pl
import pytest
import yaml
from helpers.service import until
from starlette.testclient import TestClient
from test_grpc import serving
from test_serving_unit import serving_contract

from package_name.engine import audit, storage
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model import registry
from package_name.engine.model.scorer import Scorer
from package_name.engine.serving import canary, canary_judge, grpc_client, proto, rest, service
from package_name.engine.settings import Project

ROW = {"amount": 12.5, "calls": 2, "plan": "basic", "online": True, "since": "2026-03-01"}
RULES = Path(__file__).parents[1] / "questions/rules.yaml"
WORSE = "v3"  # learnt from labels by chance


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three versions; v1 is champion."""
    root = tmp_path_factory.mktemp("canary")
    made = small.project(root)
    storage.write_text(made.contract_path, yaml.safe_dump(serving_contract()))
    plan = yaml.safe_load((root / "plan/plan.yaml").read_text())
    plan["answers"] = {"latency_ms": 1000, "deployment_modes": ["rest"], "availability": 0.9}
    plan["decisions"]["DEP-03"] = {"output": "rollout", "value": "shadow_then_canary", "rule": "r"}
    storage.write_text(root / "plan/plan.yaml", yaml.safe_dump(plan))
    for seed in range(2):
        small.train(made, rows=600, seed=seed)
    chance = small.frame(600).with_columns(y=np.random.default_rng(1).random(600) < 0.4)
    assert small.train(made, table=chance) == WORSE
    registry.promote(made, "v1")
    return root


@pytest.fixture
def project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of it to change, whose services look again at once."""
    monkeypatch.setattr(service, "TICK_SECONDS", 0.05)
    shutil.copytree(trained, tmp_path / "p", ignore=shutil.ignore_patterns("predictions"))
    return Project(tmp_path / "p")


def rows(count: int) -> list[dict[str, Any]]:
    table = small.frame(count, seed=5).drop("y").with_columns(pl.col("since").cast(pl.String))
    return [{**row, "event_id": f"e{n}"} for n, row in enumerate(table.to_dicts())]


def share(project: Project, value: float) -> None:
    trial = canary.read(project)
    trial.share = value
    storage.write_json(canary.path(project), trial)


def logged(project: Project, version: str) -> dict[str, dict[str, Any]]:
    files = project.path("data/predictions").glob("*.jsonl")
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return {line["event_id"]: line for line in lines if line["version"] == version}


@pytest.fixture
def answered(project: Project) -> Iterator[tuple[Project, list[dict[str, Any]], dict[str, Any]]]:
    """A project after 200 rows that v1 answered while v2 was unseen."""
    canary_judge.start(project, "v2")
    sent = rows(200)
    with TestClient(rest.create_app(project)) as client:
        answers = {row["event_id"]: client.post("/predict", json=row).json() for row in sent}
    return project, sent, answers


def test_unseen_it_scores_what_the_champion_answers_and_changes_no_answer(answered) -> None:
    project, sent, answers = answered
    assert {answer["model_version"] for answer in answers.values()} == {"v1"}
    mine, champion = logged(project, "v2"), logged(project, "v1")
    assert mine.keys() == champion.keys() == {row["event_id"] for row in sent}
    scorer = Scorer.load(project.path("models/v2"))
    found = scorer.score_rows([scorer.read_row(row) for row in sent])["probability"]
    assert [mine[row["event_id"]]["probability"] for row in sent] == found.tolist()
    report = canary_judge.decide(project, dry=True)
    verdicts = {test["name"]: test["verdict"] for test in report["tests"]}
    assert verdicts == {"time": "wait", "errors": "pass", "scores": "pass", "decisions": "pass"}
    assert report["outcome"] == "hold" and canary.read(project).decisions == []
    told = {test["name"]: test["found"] for test in report["tests"]}
    flips = np.mean([mine[key]["decision"] != champion[key]["decision"] for key in mine])
    assert told["decisions"].startswith(f"{flips * 100:.1f} % of 200 events")
    assert told["errors"].startswith("0 of 200 requests failed")


def test_a_key_gets_the_same_version_again_and_keeps_it_when_the_share_grows(project) -> None:
    canary_judge.start(project, "v2")
    share(project, 0.25)
    sent = rows(400)

    def versions(client: TestClient) -> list[str]:
        return [client.post("/predict", json=row).json()["model_version"] for row in sent]

    with TestClient(rest.create_app(project)) as client:
        first, again = versions(client), versions(client)
        assert first == again and 60 < first.count("v2") < 140
        share(project, 0.5)
        until(lambda: versions(client) != first)
        more = versions(client)
        assert {n for n, v in enumerate(first) if v == "v2"} <= {
            n for n, v in enumerate(more) if v == "v2"
        }
        both = [sent[first.index("v1")], sent[first.index("v2")]]
        share(project, 0.25)
        until(lambda: versions(client) == first)
        assert client.post("/predict", json=both).json()["model_version"] == "v1"
        one = client.post("/predict", json=both[1]).json()
        canary_judge.stop(project, "enough seen")
        until(lambda: set(versions(client)) == {"v1"})
    scorer = Scorer.load(project.path("models/v2"))
    found = scorer.score_rows([scorer.read_row(both[1])])["probability"]
    assert one["predictions"][0]["probability"] == found[0]
    assert canary.read(project).decisions[-1].reason == "enough seen"


def test_grpc_gives_a_share_to_it_too(project) -> None:
    proto.write(project)
    canary_judge.start(project, "v2")
    share(project, 1.0)
    with serving(project) as running:
        path = project.path("row.json")
        storage.write_text(path, json.dumps(rows(1)))
        answer = grpc_client.ask(project, path, running.address, None)
    assert answer["model_version"] == "v2"
    assert len(logged(project, "v2")) == 1


def test_where_it_breaks_the_champion_answers_and_it_goes_back(project, monkeypatch) -> None:
    canary_judge.start(project, "v2")
    share(project, 1.0)
    app = rest.create_app(project)
    predict = rest.Model.predict

    def broken(model: Any, given: Any) -> Any:
        if model.scorer.version == "v2":
            raise ValueError("no")
        return predict(model, given)

    monkeypatch.setattr(rest.Model, "predict", broken)
    with TestClient(app) as client:
        answers = [client.post("/predict", json=row) for row in rows(40)]
    assert {(a.status_code, a.json()["model_version"]) for a in answers} == {(200, "v1")}
    report = canary_judge.decide(project)
    assert report["outcome"] == "roll back"
    assert report["reason"].startswith("errors: 40 of 40 requests failed")
    trial = canary.read(project)
    assert trial.ended and trial.decisions[-1].reason == report["reason"]
    assert registry.read(project).champion == "v1"
    with pytest.raises(ProjectError, match="no version is on trial"):
        canary_judge.decide(project)


def test_stage_by_stage_to_the_champion(answered, monkeypatch) -> None:
    project, *_ = answered
    start = dt.datetime.now(dt.UTC)
    later = [0.0]
    monkeypatch.setattr(
        canary_judge, "_now", lambda: start + dt.timedelta(days=later[0], seconds=1)
    )
    assert canary_judge.decide(project)["outcome"] == "hold"
    later[0] = 3.1
    assert canary_judge.decide(project)["next_share"] == 0.05
    assert canary.read(project).share == 0.05
    held = canary_judge.decide(project, early="tried in a rehearsal")
    assert held["outcome"] == "hold" and held["reason"].startswith("errors: 0 of 0")
    for following in (0.25, 1.0):
        # What services of this stage would have counted.
        trial = canary.read(project)
        line = {"time": canary_judge._at(), "share": trial.share, "arm": "challenger"}
        line |= {"requests": 500, "errors": 0, "slow": 0, "dropped": 0}
        with canary.counts_path(project, "v2").open("a") as file:
            file.write(json.dumps(line) + "\n" + "damaged\n")
        report = canary_judge.decide(project, early="tried in a rehearsal")
        assert (report["outcome"], report["next_share"]) == ("go on", following), report
    assert registry.read(project).champion == "v2"
    assert audit.entries(project, "promoted")[-1]["by"] == "canary"
    assert canary.read(project).ended
    outcomes = [one.outcome for one in canary.read(project).decisions]
    assert outcomes == ["hold", "go on", "hold", "go on", "go on"]
    assert "rehearsal" in canary.read(project).decisions[-1].reason
    assert json.loads(project.path("reports/canary.json").read_text())["outcome"] == "go on"


def test_labels_send_a_worse_version_back(project) -> None:
    canary_judge.start(project, WORSE)
    sent = rows(400)
    with TestClient(rest.create_app(project)) as client:
        client.post("/predict", json=sent)
    known = small.frame(400, seed=5)
    table = pl.DataFrame({"event_id": [row["event_id"] for row in sent], "y": known["y"]})
    table.write_csv(project.path("labels.csv"))
    report = canary_judge.decide(project, labels=project.path("labels.csv"))
    assert report["outcome"] == "roll back" and report["reason"].startswith("labels: ")


def test_who_can_be_put_on_trial(project) -> None:
    small.train(project, rows=600, seed=4, evaluated=False)
    with pytest.raises(CheckFailed, match="v4 is put on no trial: it is not evaluated"):
        canary_judge.start(project, "v4")
    with pytest.raises(ProjectError, match="v1 is the champion itself"):
        canary_judge.start(project, "v1")
    with pytest.raises(ProjectError, match="no version 'v9'"):
        canary_judge.start(project, "v9")
    canary_judge.start(project, "v2")
    with pytest.raises(ProjectError, match="v2 is on trial already"):
        canary_judge.start(project, WORSE)
    registry.promote(project, WORSE)
    with pytest.raises(ProjectError, match="the champion is v3 now, and v2 was held against v1"):
        canary_judge.decide(project)
    canary.path(project).write_text("{")
    with TestClient(rest.create_app(project)) as client:  # the champion goes on alone
        assert client.post("/predict", json=ROW).json()["model_version"] == WORSE
    with pytest.raises(ProjectError, match=r"models/canary\.json is damaged"):
        canary.read(project)


def test_a_signature_is_needed_where_the_plan_says_so(answered) -> None:
    project, *_ = answered
    path = project.path("plan/plan.yaml")
    plan = yaml.safe_load(path.read_text())
    plan["decisions"]["DEP-03"]["value"] = "shadow_then_signature_then_canary"
    storage.write_text(path, yaml.safe_dump(plan))
    project = Project(project.root)
    assert "nobody signed" in canary_judge.decide(project, early="rehearsal")["reason"]
    report = canary_judge.decide(project, early="rehearsal", signed="Ann")
    assert report["outcome"] == "go on" and canary.read(project).signed == "Ann"


@pytest.mark.parametrize(
    ("hits", "rows", "low", "high"), [(0, 598, 0, 0.005), (5, 100, 0.0199, 0.1023)]
)
def test_bounds_of_a_share_are_exact(hits: int, rows: int, low: float, high: float) -> None:
    """Against 0.05 ** (1 / n), and R's binom.test(5, 100, alternative = ...)."""
    assert canary_judge.bounds(hits, rows) == pytest.approx((low, high), abs=6e-5)
    assert canary_judge.bounds(0, 598)[1] <= 0.005 < canary_judge.bounds(0, 597)[1]


def test_the_stages_are_those_that_the_plan_tells() -> None:
    numbers = {"three": 3, "a": 1, "four": 4}
    seen = set()
    for rule in yaml.safe_load(RULES.read_text())["decisions"]["DEP-03"]["rules"]:
        if rule["then"] not in canary_judge.STAGES:
            continue
        seen.add(rule["then"])
        count, unit = re.search(r"(\w+) (days|weeks?) unseen", rule["why"]).groups()
        shares = re.search(r"then ([\d, ]+) %", rule["why"])[1].split(", ")
        stages = canary_judge.STAGES[rule["then"]]
        assert stages.days == numbers[count] * (1 if unit == "days" else 7)
        assert [*stages.shares, 1] == [int(one) / 100 for one in shares]
        assert stages.signed == ("signs" in rule["why"])
    assert seen == canary_judge.STAGES.keys()
