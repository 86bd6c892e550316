"""Features that a team declares, in a project: one line in one file, served at once."""

import json
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import package  # noqa: F401  makes `package_name` importable
from helpers.rendering import publish, render
from helpers.running import Made

from package_name.engine import console

SMALL = {
    "ML_TRAINING__TRACK": "false",
    "ML_TRAINING__FOLDS": "3",
    "ML_TRAINING__MEMBERS": "1",
    "ML_TRAINING__THREADS": "1",
    "ML_EVALUATION__BOOTSTRAP": "100",
}
EXAMPLE = '    # Ratio("debt_ratio", of=("debt", "income")),\n'
ADDED = """    Ratio("use", of=("data_usage_gb", "monthly_charge")),
    TargetEncoding("region_mean", of="region"),
    Cyclical("season", of="tenure_months", period=12),
    Winsorise("usage", of="data_usage_gb"),
    Window("calls_90d", of="support_calls_90d", stat="sum", days=90),
    Window("left", of="churned", stat="mean"),
    Lag("charge_before", of="monthly_charge"),
    Difference("charge_rise", of=("monthly_charge", "charge_before")),
    DaysSince("since"),
"""
BACK = {"calls_90d", "left", "charge_before", "since"}


def declare(project: Made, lines: str) -> None:
    """Write lines into the list of features.py."""
    path = project.folder / "src" / project.package / "features.py"
    text = path.read_text(encoding="utf-8")
    start = text.index("FEATURES: Sequence[Operator | Past] = [\n")
    end = text.index("]\n", start + 46)
    path.write_text(
        f"{text[:start]}FEATURES: Sequence[Operator | Past] = [\n{lines}{text[end:]}",
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = render(
        tmp_path_factory.mktemp("made") / "p", deployment_modes=["rest", "batch"], n_rows=3000
    )
    publish(folder)
    made = Made(folder, "churn_model", SMALL)
    declare(made, EXAMPLE + ADDED)
    for step in ("ingest", "validate", "train"):
        made.ml(step)
    return made


def test_a_row_of_the_service_and_of_a_file_have_one_answer(project: Made) -> None:
    """Nothing but features.py has changed: callers send the contract's columns."""
    rows = pl.read_parquet(project.folder / "data/processed/test.parquet").head(200)
    project.ml("evaluate", code=None)
    project.ml("promote", "v1", "--force", "a test")
    rows.write_parquet(project.folder / "in.parquet")
    project.ml("score", "in.parquet", "out.parquet")
    batch = pl.read_parquet(project.folder / "out.parquet")["probability"].to_numpy()
    code = """
import json, sys, msgspec
from pathlib import Path
from churn_model.engine.model.scorer import Scorer
scorer = Scorer.load(Path("models/v1"))
names = {column.name for column in scorer.columns}
lines = [json.loads(line) for line in open("in.jsonl")]
rows = [scorer.read_row({k: v for k, v in row.items() if k in names}) for row in lines]
alone = [float(scorer.score_rows([row])["probability"][0]) for row in rows]
print(json.dumps(alone))
"""
    rows.write_ndjson(project.folder / "in.jsonl")
    alone = json.loads(project.python("-c", code))
    np.testing.assert_allclose(alone, batch, rtol=1e-6)


def test_plan_and_reports_tell_what_each_brings_and_costs(project: Made) -> None:
    project.ml("evaluate", code=None)
    project.ml("explain")
    made = {item["feature"]: item for item in project.report("explain")["made"]}
    assert list(made) == sorted(made, key=lambda name: -made[name]["gain"])
    assert made.keys() == {"use", "region_mean", "season", "usage", "charge_rise"} | BACK
    assert made["use"]["of"] == ["data_usage_gb", "monthly_charge"]
    seen = [item for item in made.values() if "microseconds" in item]
    assert len(seen) >= 3 and all(item["microseconds"] > 0 for item in seen)
    assert any(item["gain"] > 0 for item in seen) and made["use"]["why"]
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    assert "Features of features.py" in page and ">region_mean" in page
    project.ml("plan", "sync")
    plan = (project.folder / "PLAN.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "Made features, gain: " in plan and "`use` (Ratio of `data_usage_gb`" in plan


def test_the_service_looks_back_to_the_same_bits_as_training(project: Made) -> None:
    """Each row of the table: what training saw of it is what a request for it gets."""
    code = """
import json
import time
from pathlib import Path
import numpy as np
from churn_model import training
from churn_model.engine.features import encode
from churn_model.engine.model.scorer import Scorer
from churn_model.engine.settings import find_project
frame, agreed, *_ = training.prepare(find_project())
scorer = Scorer.load(Path("models/v1"))
trained = encode(scorer.spec, frame)[:300]
names = {column.name for column in scorer.columns}
rows = [{k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in row.items() if k in names}
        for row in frame.head(300).to_dicts()]
served = np.concatenate([scorer.encode_rows([scorer.read_row(row)]) for row in rows])
past = [scorer.spec.names.index(feature.name) for feature in scorer.spec.history]
unseen = scorer.encode_rows([scorer.read_row(rows[0] | {"customer_id": "nobody"})])[0, past]
print(json.dumps([trained.tobytes() == served.tobytes(), len(past), float(np.isnan(unseen).sum()),
                  float(np.isfinite(trained[:, past]).mean())]))
"""
    same, features, missing, known = json.loads(project.python("-c", code))
    assert same and features == missing == len(BACK) and known > 0.3


def test_the_state_is_built_again_without_a_new_model(project: Made) -> None:
    folder = project.folder / "models/v1"
    manifest, first = (folder / "manifest.json").read_bytes(), (folder / "state.json").read_bytes()
    said = project.ml("features", "build")
    assert "v1: " in said and " events of " in said
    again = json.loads((folder / "state.json").read_bytes())
    assert again["sha256"] == json.loads(first)["sha256"]
    assert (folder / "manifest.json").read_bytes() == manifest
    assert project.ml("models")
    state = (folder / "state.json").read_bytes()
    (folder / "state.json").unlink()
    assert "run `ml features build`" in project.ml("score", "in.parquet", "new.parquet", code=2)
    project.ml("features", "build")
    old = json.loads(state) | {"built": "2020-01-01T00:00:00+00:00"}
    (folder / "state.json").write_text(json.dumps(old))
    assert "`ml features build`" in project.ml("score", "in.parquet", "new.parquet")


def test_a_running_service_takes_a_new_state_and_tells_its_age(project: Made) -> None:
    path = project.folder / "models/v1/state.json"
    project.ml("features", "build")
    with project.serving() as ask:
        state = ask("/ready")["state"]
        assert not state["stale"] and state["age_days"] < 1 and state["until"]
        assert 'ml_feature_state_stale{version="v1"} 0.0' in ask("/metrics")
        old = json.loads(path.read_bytes()) | {"built": "2020-01-01T00:00:00+00:00"}
        (path.parent / "new").write_text(json.dumps(old))
        (path.parent / "new").replace(path)
        for _ in range(100):
            if ask("/ready")["state"]["stale"]:
                break
            time.sleep(0.2)
        assert 'ml_feature_state_stale{version="v1"} 1.0' in ask("/metrics")
    project.ml("features", "build")


def test_what_is_served_holds_no_training_library(project: Made) -> None:
    code = """
import sys
from pathlib import Path
from churn_model.engine.model.scorer import Scorer
Scorer.load(Path("models/v1"))
print([name for name in ("onnx", "sklearn", "churn_model.features") if name in sys.modules])
"""
    assert project.python("-c", code).strip() == "[]"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('Ratio("r", of=("data_usage_gb", "charge"))', "Ratio 'r': there is no 'charge' before it"),
        ('Ratio("r", off=("tenure_months", "region"))', "features.py, line "),
        ('Ration("r", of=("tenure_months", "region"))', "name 'Ration' is not defined"),
        ('Cyclical("c", of="snapshot_date", part="month")', "'snapshot_date' is no feature of"),
        ('Log1p("l", of="churned")', "'churned' is no feature of the contract"),
    ],
)
def test_a_wrong_line_ends_a_run_in_one_line(project: Made, line: str, said: str) -> None:
    declare(project, f"    {line},\n")
    try:
        for command in ("run", "train"):
            error = project.ml(command, code=2)
            assert "Traceback" not in error and said in error.splitlines()[-1]
    finally:
        declare(project, EXAMPLE + ADDED)


def test_only_what_features_py_says_wrong_is_told_so(tmp_path: Path) -> None:
    """A fault elsewhere keeps its traceback, for it is a bug."""
    with pytest.raises(TypeError):
        console.run(lambda: int([]))


def test_a_person_is_forgotten_in_the_state_too(project: Made) -> None:
    folder = project.folder / "models/v1"
    project.ml("features", "build")
    valid = project.folder / "data/processed/valid.parquet"
    who = pl.read_parquet(valid)["customer_id"].mode()[0]
    before = json.loads((folder / "state.json").read_bytes())
    said = project.ml("forget", who, "--reason", "asked on the phone")
    assert "state of earlier rows made anew: v1" in said and "certificate: reports/erased/" in said
    after = json.loads((folder / "state.json").read_bytes())
    assert after["keys"] == before["keys"] - 1 and after["events"] < before["events"]
    assert [path.name for path in folder.glob("state-*.npz")] == [after["file"]]
    assert who not in pl.read_parquet(valid)["customer_id"]
    assert "(champion); `ml run` trains without" in said
    project.ml("models")
    assert "no file of this project" in project.ml("forget", who, code=1)
    assert "without a limit" in project.ml("retain", code=2)
