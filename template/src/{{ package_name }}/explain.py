"""Explain the champion: what matters over all, how, and for single rows."""

from typing import Any

import numpy as np

from . import decision
from .engine import history, picture, privacy, storage, task
from .engine.data import contract, validation
from .engine.data import target as targets
from .engine.errors import ProjectError
from .engine.explaining import (
    ROWS,
    declared_features,
    explained,
    extremes,
    in_order,
    misread,
    needless,
    partial_dependence,
    permutation_importance,
    quoted,
    score_of,
    shown,
    some_rows,
    spelled,
)
from .engine.features import encode
from .engine.model import registry
from .engine.model.scorer import Scorer
from .engine.report import evaluation_page
from .engine.settings import Project

BACKGROUND = 200
CURVES = 6
CURVE_ROWS = 300


def run(project: Project, row: int | None = None) -> dict[str, Any]:
    """Write reports/explain.json for the newest version; `row` asks for one test row.

    Works on the bundle alone, so that it explains what is served. Where the plan asks for local
    explanations, the examples are the rows of the highest and the lowest scores and the one where
    a decision is the least certain.
    """
    used = project.facts.note()
    version = registry.newest(project)
    folder = registry.folder(project, version)
    scorer = Scorer.load(folder, threads=project.config.training.threads)
    agreed = contract.read(folder / "contract.odcs.yaml")
    trained = storage.read_json(folder / "training.json", dict[str, Any])
    frame = validation.stored(project, "data/processed/test.parquet", "run `ml train`", agreed)
    if row is not None and not 0 <= row < frame.height:
        raise ProjectError(f"row {row}: the test set has rows 0 to {frame.height - 1}")
    frame = history.completed(scorer, frame)
    x, seed = encode(scorer.spec, frame), project.config.training.seed
    y = targets.values(frame, agreed.target)
    rng = np.random.default_rng(seed)
    probed, labels, _ = task.probed(x, y, scorer.spec.measured, seed)
    some = some_rows(labels, rng)
    importance = permutation_importance(scorer, probed[some], labels[some], rng)
    judged, some = some, some[some < len(x)]  # with rows that were spoilt, where labels are few
    examples = [row] if row is not None else []
    if row is None and project.facts.explain == "global_and_local":
        examples = extremes(scorer, x, seed)
    answers = scorer.told(scorer.predict(x[examples]))
    background = x[rng.permutation(len(x))[:BACKGROUND]]
    personal = privacy.hidden_names(agreed.columns)
    full = score_of(scorer, labels[judged], scorer.predict(probed[judged]))
    limit = decision.needed_gain(project, abs(full)) / 2
    report = {
        "version": version,
        "run": scorer.manifest.run,
        "made_up": registry.made_up(folder),
        "plan": used,
        "method": "permutation importance (loss of the primary metric); Shapley values by sampling "
        "(Strumbelj and Kononenko 2014) in " + scorer.score,
        "primary_metric": scorer.manifest.primary_metric,
        "score": scorer.score,
        "outputs": {output.name: list(output.levels) for output in scorer.outputs},
        "base": scorer.predict(background)[scorer.score].mean(axis=0).tolist(),
        "global": importance,
        "needless": needless(
            scorer, probed[judged], labels[judged], importance, personal, limit, seed
        ),
        "made": in_order(
            project,
            scorer.manifest.run,
            declared_features(
                trained, folder, scorer, probed[some], labels[some], np.random.default_rng(seed)
            )
            + history.useful(trained, scorer, frame.head(ROWS), importance),
        ),
        "rows": [
            {
                "row": index,
                **{name: values[place].tolist() for name, values in answers.items()},
                **explained(
                    scorer, x[index], background, spelled(scorer, frame, index, personal), rng
                ),
            }
            for place, index in enumerate(examples)
        ],
        "picture": picture.drawn(
            scorer.spec, x, lambda rows: task.ordered(scorer.predict(rows)[scorer.score]), seed
        ),
        "partial_dependence": {
            item["feature"]: partial_dependence(scorer, x[some][:CURVE_ROWS], item["feature"])
            for item in shown(scorer, importance, personal)[:CURVES]
        },
    }
    if scorer.words:
        report["misread"] = misread(scorer, frame, x, y, frame[agreed.target.name], personal)
        for told in report["rows"]:
            told["texts"] = quoted(scorer, frame, told["row"], personal)
    if row is None:
        storage.write_json(project.path("reports/explain.json"), report)
        if project.path("reports/metrics.json").exists():
            evaluation_page(project)
    return report
