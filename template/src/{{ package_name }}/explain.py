"""Explain the champion: what matters over all, how, and for single rows."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import history, metrics, picture, privacy, progress, storage, task
from .engine.data import contract, validation
from .engine.data import target as targets
from .engine.errors import ProjectError
from .engine.explaining import explained, misread, partial_dependence, quoted, shown, spelled
from .engine.features import encode
from .engine.formats import number
from .engine.model import made, registry
from .engine.model.plain import Matrix
from .engine.model.scorer import Scorer
from .engine.report import evaluation_page
from .engine.settings import Project

ROWS = 2000
REPEATS = 3
BACKGROUND = 200
CURVES = 6
CURVE_ROWS = 300
EXAMPLE_ROWS = 100_000  # of the test set, among which the examples are


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
    frame = validation.stored(project, "data/processed/test.parquet", "run `ml train`", agreed)
    if row is not None and not 0 <= row < frame.height:
        raise ProjectError(f"row {row}: the test set has rows 0 to {frame.height - 1}")
    frame = history.completed(scorer, frame)
    x, seed = encode(scorer.spec, frame), project.config.training.seed
    y = targets.values(frame, agreed.target)
    rng = np.random.default_rng(seed)
    probed, labels, _ = task.probed(x, y, scorer.spec.measured, seed)
    some = _some(labels, rng)
    importance = permutation_importance(scorer, probed[some], labels[some], rng)
    some = some[some < len(x)]
    examples = [row] if row is not None else []
    if row is None and project.facts.explain == "global_and_local":
        examples = _extremes(scorer, x, seed)
    answers = scorer.predict(x[examples])
    background = x[rng.permutation(len(x))[:BACKGROUND]]
    personal = privacy.hidden_names(agreed.columns)
    report = {
        "version": version,
        "run": scorer.manifest.run,
        "made_up": registry.made_up(folder),
        "plan": used,
        "method": "permutation importance (loss of the primary metric); Shapley values by sampling "
        "(Strumbelj and Kononenko 2014) in " + scorer.score,
        "primary_metric": scorer.manifest.primary_metric,
        "score": scorer.score,
        "base": scorer.predict(background)[scorer.score].mean(axis=0).tolist(),
        "global": importance,
        "made": sorted(
            _declared(folder, scorer, probed[some], labels[some], np.random.default_rng(seed))
            + history.useful(folder, scorer, frame.head(ROWS), importance),
            key=lambda item: -item["gain"],
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


def _extremes(scorer: Scorer, x: Matrix, seed: int) -> list[int]:
    """Return rows of the highest and lowest scores and the one next to the pivot of decisions."""
    seen = np.arange(len(x))
    if len(x) > EXAMPLE_ROWS:
        seen = np.sort(np.random.default_rng(seed).permutation(len(x))[:EXAMPLE_ROWS])
    progress.tell(f"scoring {number(len(seen))} test rows")
    scores = task.ordered(scorer.predict(x[seen])[scorer.score])
    order = np.argsort(scores)
    near = int(np.abs(scores - task.pivot(scorer.manifest.decision, scores)).argmin())
    extremes = (order[-1], order[-2], near, order[1], order[0])
    return list(dict.fromkeys(int(seen[place]) for place in extremes))


def _some(y: NDArray[Any], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return at most ROWS places in their order; rare rows are among them."""
    drawn = rng.permutation(len(y))
    rare = drawn[task.rare(y)[drawn]][: ROWS // 20]
    return np.sort(np.unique(np.concatenate([rare, drawn[: ROWS - len(rare)]])))


def _score(scorer: Scorer, y: NDArray[Any], answers: dict[str, NDArray[Any]]) -> float:
    """Return the primary metric of answers, the larger the better."""
    name, level = scorer.manifest.primary_metric, task.level(scorer.manifest.decision)
    return metrics.sign(name) * metrics.score(name, y, answers[scorer.score], level)


def _declared(
    folder: Path, scorer: Scorer, x: Matrix, y: NDArray[Any], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return what features.py declares of columns, with what each brings and costs."""
    trained = storage.read_json(folder / "training.json", dict[str, Any])
    every = trained.get("made", [])
    of_texts = {feature.name for feature in scorer.spec.words}  # columns of `x`, not nodes
    every = [item for item in every if item["feature"] not in of_texts]
    if not (declared := [item for item in every if "by" not in item]):
        return []
    model = (folder / "model_encoded.onnx").read_bytes()
    found = made.measured(model, x, lambda answers: _score(scorer, y, answers), rng)
    return [item | found.get(item["feature"], {"gain": 0.0}) for item in declared]


def permutation_importance(
    scorer: Scorer, x: Matrix, y: NDArray[Any], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return by how much the primary metric falls when a feature is shuffled (Breiman 2001)."""
    if y.min() == y.max():
        raise ProjectError(f"importance has no meaning on this test set: it needs {task.NEEDS}")

    def score(rows: Matrix) -> float:
        return _score(scorer, y, scorer.predict(rows))

    full = score(x)
    result = []
    for index, feature in enumerate(scorer.spec.names):
        progress.tell("importance of features", index + 1, len(scorer.spec.names))
        losses = []
        for _ in range(REPEATS):
            shuffled = x.copy()
            shuffled[:, index] = rng.permutation(shuffled[:, index])
            losses.append(full - score(shuffled))
        result.append(
            {
                "feature": feature,
                "importance": float(np.mean(losses)),
                "std": float(np.std(losses)),
            }
        )
    return sorted(result, key=lambda item: -item["importance"])
