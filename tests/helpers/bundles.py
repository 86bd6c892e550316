"""A small project with a real bundle, made in a second without a render or a training run."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from helpers import package  # noqa: F401  makes `package_name` importable

from package_name import features, models
from package_name.engine import history, monitoring, resampling, storage, task
from package_name.engine.data import contract, kept, validation
from package_name.engine.features import encode
from package_name.engine.model import bundle, graph, registry
from package_name.engine.model.head import Head
from package_name.engine.settings import Project


def document(target: str = "y") -> dict[str, Any]:
    """Return a data contract as ODCS."""

    def prop(name: str, kind: str, role: str = "feature", **custom: Any) -> dict[str, Any]:
        listed = [{"property": k, "value": v} for k, v in {"role": role, **custom}.items()]
        return {"name": name, "logicalType": kind, "customProperties": listed}

    properties = [
        prop("amount", "number"),
        prop("calls", "integer"),
        prop("plan", "string"),
        prop("online", "boolean"),
        prop("since", "date"),
        prop(target, "boolean", "target", positiveValue="true"),
    ]
    properties[1]["logicalTypeOptions"] = {"minimum": 0}
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "small",
        "name": "small",
        "version": "1.0.0",
        "status": "draft",
        "schema": [{"name": "small", "properties": properties}],
    }


def frame(rows: int, seed: int = 0) -> pl.DataFrame:
    """Return rows that satisfy the contract, with something to learn."""
    rng = np.random.default_rng(seed)
    amount, calls = rng.lognormal(3, 1, rows), rng.poisson(1.5, rows)
    plan = rng.choice(["basic", "plus", "pro", "team"], rows, p=[0.5, 0.3, 0.15, 0.05])
    online = rng.random(rows) < 0.7
    logit = -2 + 0.8 * calls - 0.02 * amount + (plan == "basic") - 0.7 * online
    days = np.datetime64("2026-01-01") + rng.integers(0, 300, rows)
    return pl.DataFrame(
        {
            "amount": pl.Series(np.where(rng.random(rows) < 0.1, np.nan, amount)).fill_nan(None),
            "calls": calls,
            "plan": plan,
            "online": online,
            "since": days,
            "y": rng.random(rows) < 1 / (1 + np.exp(-logit)),
        }
    )


def project(root: Path, *, drift_test: str = "psi") -> Project:
    """Write the files of a project that registry and monitoring read."""
    decisions = {
        "MON-01": {"output": "drift_test", "value": drift_test, "rule": "r"},
        "MON-03": {"output": "retrain", "value": "monthly_check", "rule": "r"},
    }
    numbers = {"max_age_days": {"value": 90}, "metric_drop": {"value": 0.02}}
    plan = {
        "format": 1,
        "project": {"name": "Small", "slug": "small", "package": "small"},
        "answers": {},
        "decisions": decisions,
        "computed": {"MON-03": numbers},
        "blocks": {},
    }
    storage.write_text(root / "plan/plan.yaml", yaml.safe_dump(plan))
    storage.write_text(root / "contracts/dataset.odcs.yaml", yaml.safe_dump(document()))
    return Project(root)


def train(
    made: Project,
    *,
    rows: int = 3000,
    seed: int = 0,
    evaluated: bool = True,
    table: pl.DataFrame | None = None,
    plan: dict[str, Any] | None = None,
    past: tuple[Any, ...] = (),
) -> str:
    """Fit, save and register a version; write valid and test rows and the test's metrics.

    `past` are features that look back, with their key, time and delay.
    """
    agreed = contract.read(made.contract_path)
    table = frame(rows, seed) if table is None else table
    state = history.state_of(past, agreed, table) if past else None
    known = history.looked_up(table, state)
    fit, test = known[: len(table) // 2], known[len(table) // 2 :]
    spec = history.added(features.fit(fit, agreed), past)
    data = models.Data(encode(spec, fit), labels(fit), spec, 1)
    member = graph.Member(*models.FITTERS["logistic_regression"](data, 0, {}))
    predictor = graph.Predictor((member,), Head(threshold=0.4))
    p = predictor.predict(encode(spec, test))
    processed = made.path("data/processed")
    processed.mkdir(parents=True, exist_ok=True)
    table.write_parquet(processed / "valid.parquet")
    test.write_parquet(processed / "test.parquet")
    version = registry.next_version(made)
    folder = made.path(f"models/{version}")
    facts = {
        "version": version,
        "task": "binary",
        "champion": "logistic_regression",
        "primary_metric": "roc_auc",
        "target": "y",
        "outputs": task.outputs("true"),
        **validation.origin(made, storage.sha256(processed / "valid.parquet")),
        "run": f"run-{version}",
    }
    profile = monitoring.reference(test, agreed, p, labels(test))
    split: dict[str, Any] = {
        "development_rows": len(fit),
        "test_rows": len(test),
        "valid_rows": len(table),
    }
    split["test_sha256"] = storage.sha256(processed / "test.parquet")
    split["learnt_until"] = kept.last_time(fit, agreed)
    bundle.save(
        folder,
        predictor,
        spec,
        agreed,
        fit.head(300),
        contract_text=made.contract_path.read_text(encoding="utf-8"),
        rivals={},
        facts=facts,
        reports={"profile.json": profile, "training.json": {"split": split, "plan": plan or {}}},
        state=state,
    )
    registry.register(made, version, run=facts["run"])
    if evaluated:
        found = resampling.bootstrap(labels(test), p, 0.4, ["roc_auc"], draws=200, seed=0)
        report = {
            "gate": {"passed": True},
            "champion": {"metrics": {"roc_auc": found["roc_auc"]._asdict()}},
        }
        value = found["roc_auc"].value
        registry.set_evaluated(made, version, report, gate_passed=True, metric=value)
    return version


def with_champion(root: Path, *, rows: int = 600) -> Project:
    """Return a project with one version, which is in use."""
    made = project(root)
    registry.promote(made, train(made, rows=rows))
    return made


def labels(table: pl.DataFrame) -> np.ndarray:
    """Return the target as 0 and 1."""
    return table["y"].cast(pl.Int8).to_numpy()
