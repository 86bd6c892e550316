"""Fit baselines and candidates on the development part, choose one, and save it as a bundle."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import decision, features, models
from .engine import history, metrics, monitoring, progress, slices, storage, task
from .engine.data import contract, validation
from .engine.data import target as targets
from .engine.data.kept import keep, taken, told
from .engine.errors import ProjectError
from .engine.features import encode, moments
from .engine.formats import number
from .engine.model import boosting, bundle, graph, made, registry
from .engine.model.derived import declared, view_of
from .engine.model.fitting import (
    FIT_ROWS,
    HOLDOUT_ROWS,
    Data,
    Fitted,
    blend_shares,
    drawn,
    eased,
    known,
)
from .engine.model.history import State
from .engine.model.output import levels
from .engine.settings import Project
from .splitting import Split, require_role, split

HOLDOUT_PARTS = 5
CURVE_SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
CURVE_ROWS = 300_000  # of the learning curve's last point: larger fits take the time of a model
GAP_ROWS = 100_000  # training rows that are scored once more
Floats = NDArray[np.float64]


class CrossValidated(NamedTuple):
    """A candidate's out-of-fold predictions (NaN where no fold tested the row) and costs."""

    oof: Floats
    scores: list[float]
    seconds: float
    params: dict[str, Any]


class Behind(NamedTuple):
    """The mean difference of a candidate's score to the best one's, and its standard error."""

    mean: float
    se: float


def check(project: Project, agreed: contract.Contract) -> None:
    """ProjectError for what a step would refuse of contract, plan, config.yaml and features.py."""
    check_split(project, agreed)
    declared(features.FEATURES, features.SELECTION, project, agreed)
    features.context_columns(agreed, task.context(project.facts))
    decision.check(project, agreed.target)
    slices.chosen(project, agreed)


def check_split(project: Project, agreed: contract.Contract) -> None:
    """ProjectError when the contract lacks the column that the plan splits by."""
    scheme = project.facts.split
    try:
        require_role(agreed, scheme)
    except ProjectError:
        if mend := contract.contradiction(agreed, project.plan.answers):
            cause = f"the plan splits by {scheme}, which these data cannot: {mend}"
            raise ProjectError(cause) from None
        raise


def prepare(project: Project) -> tuple[pl.DataFrame, contract.Contract, Split, str]:
    """Read the validated table and split it as the plan says; also return the table's SHA-256."""
    agreed = contract.read(project.contract_path)
    name, mend = "data/processed/valid.parquet", "run `ml validate`"
    frame, digest = validation.stored_hashed(project, name, mend, agreed)
    settings, scheme = project.config.training, project.facts.split
    check(project, agreed)
    frame = history.looked_up(frame, state_of(project, agreed))
    y = targets.values(frame, agreed.target)
    parts = split(
        frame,
        y,
        agreed,
        scheme,
        test_share=settings.test_share,
        folds=settings.folds,
        embargo_days=project.facts.label_delay_days,
        seed=settings.seed,
    )
    told_by = y[parts.development]
    folds, notes = eased(parts.folds, told_by, settings.seed, by_time=scheme == "time")
    return frame, agreed, parts._replace(folds=folds, notes=[*parts.notes, *notes]), digest


def state_of(project: Project, agreed: contract.Contract) -> State | None:
    """Return what answers the features that look back; None without any."""
    past = history.declared(features.FEATURES, project, agreed)
    return history.state_of(past, agreed, history.events(project, agreed)) if past else None


def development_data(project: Project, rows: pl.DataFrame, agreed: contract.Contract) -> Data:
    """Return the development rows as a matrix; features are learnt from these rows only."""
    recipe = declared(features.FEATURES, features.SELECTION, project, agreed)
    spec = features.fit(rows, agreed, task.context(project.facts))
    spec = history.added(spec, history.declared(features.FEATURES, project, agreed))
    if not spec.names:
        raise ProjectError("no feature varies: give at least one contract column the role feature")
    threads = project.config.training.threads
    y = targets.values(rows, agreed.target)
    names = levels(targets.outputs(agreed.target, y))
    data = Data(encode(spec, rows), y, spec, threads, names, recipe)
    timed = recipe and agreed.time
    return data._replace(time=moments(rows, timed.name)) if timed else data


def fit(project: Project, name: str, data: Data, params: dict[str, Any]) -> Fitted:
    """Fit a model by its name."""
    seed = project.config.training.seed
    rows, sees = data.learnt(view_of(name))
    if kind := models.kinds(project.facts).get(name):
        return boosting.fit(kind, rows, seed, params).of_columns(sees)
    return models.FITTERS[name](rows, seed, params).of_columns(sees)


def cross_validate(
    name: str, data: Data, parts: Split, project: Project, params: dict[str, Any]
) -> CrossValidated:
    """Fit `name` on each fold's training rows and predict its other rows."""
    settings = project.config.training
    started = time.perf_counter()
    progress.tell(f"cross-validating {name} on {len(parts.folds)} folds")
    if kind := models.kinds(project.facts).get(name):
        params, predictions = boosting.cross_validate(
            kind, data, parts.folds, settings.seed, params, settings.max_rounds, name
        )
        several = len(parts.folds) > 1 and len(data.y) < HOLDOUT_ROWS
        params |= {"members": settings.members if several else 1}
    else:
        predictions = [
            fit(project, name, data.rows(train), params).predict(data.x[valid])
            for train, valid in parts.folds
        ]
    seconds = time.perf_counter() - started
    oof = np.full((len(data.y), *predictions[0].shape[1:]), np.nan)
    for (_, valid), predicted in zip(parts.folds, predictions, strict=True):
        oof[valid] = predicted
    return CrossValidated(oof, _scores(project, data, parts, oof), seconds, params)


def blended(candidates: Sequence[str], data: Data, *, tuned: bool) -> list[str]:
    """Return what a blend is chosen from, the plan's candidates first.

    Trees split two levels alike by their codes and by their means: only a third tells these apart.
    """
    if "blend" not in candidates:
        return []
    names = [name for name in candidates if name != "blend"]
    if any(len(feature.levels) > 2 for feature in data.spec.categorical):
        names += [models.STATISTICS[name] for name in names if name in models.STATISTICS]
    return list(dict.fromkeys([*names, *(models.TUNED if tuned else ())]))


def compare(
    project: Project, data: Data, parts: Split, tuned: dict[str, dict[str, Any]]
) -> tuple[dict[str, CrossValidated], dict[str, float]]:
    """Cross-validate all models that the plan names, and blend; also return the shares of that."""
    for library in ("sklearn.ensemble", "lightgbm"):
        import_module(library)  # now, or the first model that needs it would seem slow
    facts = project.facts
    members = blended(facts.candidates, data, tuned=bool(tuned))
    boosted, kinds = tuned.get("lightgbm", {}), models.kinds(facts)
    wanted = {*facts.baselines, *facts.candidates, *members}
    found = {
        name: cross_validate(name, data, parts, project, boosted if name in kinds else {})
        for name in models.FITTERS
        if name in wanted
    }
    if len(members) < 2:
        return found, {}
    tested = known(found[members[0]].oof)
    loss = partial(models.loss, facts.primary_metric, data.y[tested])
    shares = blend_shares(loss, {name: found[name].oof[tested] for name in members})
    if len(shares) > 1 or shares.keys() - set(facts.candidates):
        oof = np.asarray(sum(share * found[name].oof for name, share in shares.items()))
        found["blend"] = CrossValidated(oof, _scores(project, data, parts, oof), 0.0, {})
    return found, shares


def run(project: Project) -> dict[str, Any]:
    """Train, choose and save a new version; return reports/training.json."""
    facts, settings = project.facts, project.config.training
    used = facts.note()
    frame, agreed, parts, data_sha256 = prepare(project)
    test, development = frame[parts.test], taken(frame, parts.development)
    tested = np.unique(np.concatenate([valid for _, valid in parts.folds]))
    kept = keep(development, test, tested, agreed, settings.seed)
    data = development_data(project, development, agreed)
    del test, development
    x, y, places = task.probed(data.x, data.y, data.spec.measured, settings.seed)
    when = None if data.time is None else data.time[places]
    data, parts = data._replace(x=x, y=y, time=when), parts.probed(places)
    tuned = _tuned(project)
    baselines, candidates = facts.baselines, facts.candidates
    found, shares = compare(project, data, parts, tuned)
    behind = paired_differences(found, candidates, facts.primary_metric)
    means = {name: float(np.mean(result.scores)) for name, result in found.items()}
    eligible = gaining(project, behind, baselines, means)
    chosen = choose(eligible, facts.selection)
    head, decided = decision.decide(project, data, found[chosen].oof)
    fitted: dict[str, Fitted] = {}
    seconds: dict[str, float] = {}
    names = [name for name in found if name in {*baselines, *candidates, *shares} - {"blend"}]
    some = data.rows(drawn(np.arange(len(data.y)), FIT_ROWS, settings.seed))
    for name in names:
        started = time.perf_counter()
        progress.tell(f"fitting {name} to {number(len(some.y))} rows", len(fitted) + 1, len(names))
        fitted[name] = fit(project, name, some, found[name].params)
        seconds[name] = found[name].seconds + time.perf_counter() - started
    seconds["blend"] = sum(seconds[name] for name in shares)
    compared = [name for name in found if name in {*baselines, *candidates}]
    alone = (name for name in compared if name in fitted)
    predictors = {name: graph.Predictor((graph.Member(*fitted[name]),)) for name in alone}
    if "blend" in found:
        blend = (graph.Member(*fitted[name], share=share) for name, share in shares.items())
        predictors["blend"] = graph.Predictor(tuple(blend))
    largest = chosen if chosen in fitted else max(shares, key=shares.__getitem__)
    final = predictors[chosen]._replace(head=head)

    validation.keep(project, "data/processed/development.parquet", kept.development)
    test_sha256 = validation.keep(project, "data/processed/test.parquet", kept.test)
    version = registry.next_version(project)
    run_id = storage.sha256_text(f"{version} {data_sha256} {chosen}")[:12]
    report = {
        "version": version,
        "run": run_id,
        "plan": used,
        "primary_metric": facts.primary_metric,
        "made_up": validation.made_up(project),
        "split": {
            "scheme": facts.split,
            "development_rows": len(parts.development),
            "test_rows": len(parts.test),
            **told("development", data.y),
            **kept.told,
            "notes": parts.notes,
            "test_sha256": test_sha256,
        },
        "cv": {
            "scheme": facts.cv,
            "folds": len(parts.folds),
            "scores": {name: found[name].scores for name in compared},
        },
        "baselines": baselines,
        "candidates": {
            name: {
                "score": float(np.mean(result.scores)),
                "std": float(np.std(result.scores)),
                "fit_seconds": seconds[name],
                "rounds": result.params.get("rounds"),
                "parts": len(shares) if name == "blend" else 1,
            }
            for name, result in found.items()
            if name in compared
        },
        "chosen": chosen,
        "selection": {
            "rule": facts.selection,
            "behind": {name: gap._asdict() for name, gap in behind.items()},
            "gains_too_little": [name for name in behind if name not in eligible],
        },
        "blend": shares if chosen == "blend" else {},
        **decided,
        "gap_train_valid": _seen_score(project, data, predictors[chosen])
        - float(np.mean(found[chosen].scores)),
        "learning_curve": _learning_curve(project, data, parts, largest, found),
        "features": data.spec.names,
        "made": made.described(history.known(features.FEATURES, data.spec)),
        "add_up": [name for name in shares if view_of(name) == "linear"]
        if chosen == "blend"
        else [chosen] * (view_of(chosen) == "linear"),
        "tuned": sorted(tuned),
    }
    scores = head.apply(found[chosen].oof[tested])
    reference = monitoring.reference(kept.served, agreed, scores, data.y[tested])
    progress.tell("proving the graph and saving the bundle")
    bundle.save(
        project.path(f"models/{version}"),
        final,
        data.spec,
        agreed,
        kept.parity,
        contract_text=agreed.text,
        rivals={name: rival for name, rival in predictors.items() if name != chosen},
        facts={
            "version": version,
            "task": facts.task_type,
            "champion": chosen,
            "primary_metric": facts.primary_metric,
            "target": agreed.target.name,
            "outputs": targets.outputs(agreed.target, data.y),
            "data_sha256": data_sha256,
            "run": run_id,
        },
        reports={"profile.json": reference, "training.json": report},
        state=state_of(project, agreed),
    )
    registry.register(project, version, run=run_id)
    storage.write_json(project.path("reports/training.json"), report)
    return report


def paired_differences(
    found: dict[str, CrossValidated], candidates: Sequence[str], metric: str
) -> dict[str, Behind]:
    """Return by how much each candidate's score is behind the best, simplest first.

    Both are scored on the same folds, so that what makes a fold hard is in no difference. Without
    two folds the standard error is 0: nothing tells a difference from chance.
    """
    names = found.keys() & set(candidates)
    sign = metrics.sign(metric)
    scores = {n: sign * np.array(found[n].scores) for n in models.LADDER if n in names}
    best = max(scores.values(), key=lambda values: float(values.mean()))
    result = {}
    for name, values in scores.items():
        gaps = best - values
        se = float(gaps.std(ddof=1)) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0
        result[name] = Behind(float(gaps.mean()), se)
    return result


def gaining(
    project: Project,
    behind: dict[str, Behind],
    baselines: Sequence[str],
    scores: Mapping[str, float],
) -> dict[str, Behind]:
    """Return the candidates that the gate could let pass, each behind the best of these.

    Where a baseline is a candidate too, a more complex one that gains less over it would be
    refused, and the simpler model would stand unused. All are left where none gains enough.
    """
    asked = baselines, scores, project.facts.primary_metric
    left = {n: gap for n, gap in behind.items() if gains_enough(project, n, *asked)} or behind
    best = min(gap.mean for gap in left.values())
    return {name: gap._replace(mean=gap.mean - best) for name, gap in left.items()}


def gains_enough(
    project: Project,
    name: str,
    baselines: Sequence[str],
    scores: Mapping[str, float],
    metric: str,
) -> bool:
    """Whether a model gains what the gate asks for over the best baseline but itself."""
    sign = metrics.sign(metric)
    others = [scores[other] for other in baselines if other != name]
    best = max(others, key=lambda score: sign * score, default=float("nan"))
    return sign * (scores[name] - best) >= decision.needed_gain(project, best)


def choose(behind: dict[str, Behind], rule: str) -> str:
    """Return the candidate that decision MOD-04 prefers; `behind` is sorted from simple to complex.

    one_standard_error: the simplest that is behind the best by at most one standard error of the
    difference (Breiman et al. 1984, 3.4.3); best_score: the best.
    """
    slack = 1.0 if rule == "one_standard_error" else 0.0
    return next(name for name, gap in behind.items() if gap.mean <= slack * gap.se)


def _tuned(project: Project) -> dict[str, dict[str, Any]]:
    path = project.path("data/processed/tuned.json")
    if project.facts.tuning == "none" or not path.exists():
        return {}
    return storage.read_json(path, dict[str, dict[str, Any]])


def _scores(project: Project, data: Data, parts: Split, oof: Floats) -> list[float]:
    """Score each fold, or parts of a single one, so that a difference has a standard error."""
    rows = [valid for _, valid in parts.folds]
    if len(rows) == 1:
        split = [rows[0][part::HOLDOUT_PARTS] for part in range(HOLDOUT_PARTS)]
        scores = [_score(project, data.y[part], oof[part]) for part in split if len(part)]
        if np.isfinite(scores).all():
            return scores
    return [_score(project, data.y[valid], oof[valid]) for valid in rows]


def _score(project: Project, y: NDArray[Any], p: Floats) -> float:
    return metrics.score(project.facts.primary_metric, y, p)


def _seen_score(project: Project, data: Data, predictor: graph.Predictor) -> float:
    """Score training rows, or GAP_ROWS of more."""
    data = data.rows(drawn(np.arange(len(data.y)), GAP_ROWS, project.config.training.seed))
    return _score(project, data.y, predictor.predict(data.x))


def _learning_curve(
    project: Project,
    data: Data,
    parts: Split,
    name: str,
    found: dict[str, CrossValidated],
) -> list[dict[str, float]]:
    """Fit one kind of model on growing parts of CURVE_ROWS of the last fold's rows."""
    train, valid = parts.folds[-1]
    params = dict(found[name].params)
    if "members" in params:
        params["members"] = 1
    order = np.random.default_rng(project.config.training.seed).permutation(train)[:CURVE_ROWS]
    points: list[dict[str, float]] = []
    for share in CURVE_SHARES:
        progress.tell(f"learning curve of {name}", len(points) + 1, len(CURVE_SHARES))
        rows = order[: max(2, int(share * len(order)))]
        part = data.rows(rows)
        if part.y.min() == part.y.max():
            continue
        one = fit(project, name, part, params)
        points.append(
            {
                "rows": len(rows),
                "train": _score(project, part.y, one.predict(part.x)),
                "valid": _score(project, data.y[valid], one.predict(data.x[valid])),
            }
        )
    return points
