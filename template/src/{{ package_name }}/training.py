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
from .engine.model import boosting, bundle, graph, libraries, made, registry, search, stacking
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
    """A candidate's predictions by fold, their mean by row (NaN where no fold tested it), costs."""

    predictions: list[Floats]
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
        cv=project.facts.cv,
        test_share=settings.test_share,
        folds=settings.folds,
        embargo_days=project.facts.label_delay_days,
        seed=settings.seed,
    )
    told_by = y[parts.development]
    folds, notes = eased(parts.folds, told_by, settings.seed, by_time=scheme == "time")
    repeats = parts.repeats if len(folds) == len(parts.folds) else 1
    parts = parts._replace(folds=folds, notes=[*parts.notes, *notes], repeats=repeats)
    return frame, agreed, parts, digest


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
    params = params | task.asked(project.facts)
    return models.FITTERS[name](rows, seed, params).of_columns(sees)


def cross_validate(
    name: str,
    data: Data,
    parts: Split,
    project: Project,
    params: dict[str, Any],
    nested: Sequence[dict[str, Any]] = (),
) -> CrossValidated:
    """Fit `name` on each fold's training rows and predict its other rows.

    `nested` are settings that were searched without the rows of each fold: what is predicted of
    these comes from such settings then, while `params` are those that the model is fitted with.
    """
    settings = project.config.training
    started = time.perf_counter()
    progress.tell(f"cross-validating {name} on {len(parts.folds)} folds")
    if kind := models.kinds(project.facts).get(name):
        asked = settings.seed, params, settings.max_rounds, name
        params, predictions = boosting.cross_validate(kind, data, parts.folds, *asked)
        several = len(parts.folds) > 1 and len(data.y) < HOLDOUT_ROWS
        params |= {"members": settings.members if several else 1}
        if nested:
            predictions = [
                _without(project, kind, data, parts, fold, found)
                for fold, found in enumerate(nested)
            ]
    else:
        predictions = [
            fit(project, name, data.rows(train), params).predict(data.x[valid])
            for train, valid in parts.folds
        ]
    seconds = time.perf_counter() - started
    return _validated(project, data, parts, predictions, seconds, params)


def _without(
    project: Project,
    kind: boosting.Kind,
    data: Data,
    parts: Split,
    fold: int,
    params: dict[str, Any],
) -> Floats:
    """Predict the rows of a fold by a model of which they decided nothing, not even its rounds."""
    settings = project.config.training
    train, valid = parts.folds[fold]
    asked = settings.seed, params, settings.max_rounds, "nested"
    found, _ = boosting.cross_validate(kind, data, parts.within(fold), *asked)
    rows, sees = data.rows(train).learnt("trees")
    fitted = boosting.fit(kind, rows, settings.seed, found).of_columns(sees)
    return fitted.predict(data.x[valid])


def _validated(
    project: Project,
    data: Data,
    parts: Split,
    predictions: list[Floats],
    seconds: float = 0.0,
    params: dict[str, Any] | None = None,
) -> CrossValidated:
    total = np.zeros((len(data.y), *predictions[0].shape[1:]))
    times = np.zeros(len(data.y))
    for (_, valid), predicted in zip(parts.folds, predictions, strict=True):
        total[valid] += predicted
        times[valid] += 1
    times[times == 0] = np.nan
    oof = total / times.reshape(-1, *[1] * (total.ndim - 1))
    scores = _scores(project, data, parts, predictions)
    return CrossValidated(predictions, oof, scores, seconds, params or {})


def blended(candidates: Sequence[str], data: Data, *, tuned: bool) -> list[str]:
    """Return what a blend is chosen from and a stack made of, the plan's candidates first.

    Trees split two levels alike by their codes and by their means: only a third tells these apart.
    """
    if not {"blend", "stack"} & set(candidates):
        return []
    names = [name for name in candidates if name not in ("blend", "stack")]
    if any(len(feature.levels) > 2 for feature in data.spec.categorical):
        names += [models.STATISTICS[name] for name in names if name in models.STATISTICS]
    return list(dict.fromkeys([*names, *(models.TUNED if tuned else ())]))


class Compared(NamedTuple):
    """All models by name; the shares of the blend, the members and the model of the stack."""

    found: dict[str, CrossValidated]
    shares: dict[str, float]
    members: list[str]
    second: stacking.Second | None

    def parts(self, name: str) -> list[str]:
        """Return the models that one is made of."""
        return {"blend": list(self.shares), "stack": self.members}.get(name, [name])


def compare(
    project: Project, data: Data, parts: Split, tuned: dict[str, dict[str, Any]]
) -> Compared:
    """Cross-validate all models that the plan names, blend and stack among them."""
    facts, kinds = project.facts, models.kinds(project.facts)
    members = blended(facts.candidates, data, tuned=bool(tuned))
    wanted = {*facts.baselines, *facts.candidates, *members}
    for name in wanted & kinds.keys():
        libraries.require(kinds[name].library)
    for library in ("sklearn.ensemble", "lightgbm"):
        import_module(library)  # now, or the first model that needs it would seem slow
    found = {}
    for name in models.FITTERS:
        if name in wanted:
            searched = tuned.get(kinds[name].library, {}) if name in kinds else {}
            given = searched.get("params", {}), searched.get("nested", ())
            found[name] = cross_validate(name, data, parts, project, *given)
    compared = Compared(found, {}, members, None)
    if len(members) < 2:
        return compared
    tested = known(found[members[0]].oof)
    loss = partial(models.loss, facts.primary_metric, data.y[tested])
    if "blend" in facts.candidates:
        shares = blend_shares(loss, {name: found[name].oof[tested] for name in members})
        compared = compared._replace(shares=shares)
        if len(shares) > 1 or shares.keys() - set(facts.candidates):
            folds = zip(*(found[name].predictions for name in shares), strict=True)
            weights = list(shares.values())
            mixed = [sum(w * p for w, p in zip(weights, fold, strict=True)) for fold in folds]
            found["blend"] = _validated(project, data, parts, [np.asarray(fold) for fold in mixed])
    if "stack" in facts.candidates:
        predictions = [found[name].predictions for name in members]
        second, stacked = stacking.out_of_fold(data, parts.folds, parts.repeats, predictions)
        found["stack"] = _validated(project, data, parts, stacked)
        compared = compared._replace(second=second)
    return compared


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
    tuned = _tuned(project, parts)
    baselines, candidates = facts.baselines, facts.candidates
    compared = compare(project, data, parts, tuned)
    found = compared.found
    behind = paired_differences(found, candidates, facts.primary_metric, parts.repeats)
    means = {name: float(np.mean(result.scores)) for name, result in found.items()}
    eligible = gaining(project, behind, baselines, means)
    chosen = choose(eligible, facts.selection)
    head, decided = decision.decide(project, data, found[chosen].oof)
    fitted: dict[str, Fitted] = {}
    seconds: dict[str, float] = {}
    used_by = {part for name in found for part in compared.parts(name)}
    names = [
        name for name in found if name in {*baselines, *candidates, *used_by} & {*models.FITTERS}
    ]
    some = data.rows(drawn(np.arange(len(data.y)), FIT_ROWS, settings.seed))
    for name in names:
        started = time.perf_counter()
        progress.tell(f"fitting {name} to {number(len(some.y))} rows", len(fitted) + 1, len(names))
        fitted[name] = fit(project, name, some, found[name].params)
        seconds[name] = found[name].seconds + time.perf_counter() - started
    for name in found.keys() - fitted.keys():
        seconds[name] = sum(seconds[part] for part in compared.parts(name))
    shown = [name for name in found if name in {*baselines, *candidates}]
    predictors = {name: predictor(compared, name, fitted) for name in shown}
    weights = compared.shares or dict.fromkeys(compared.members, 1.0)
    largest = chosen if chosen in fitted else max(weights, key=weights.__getitem__)
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
            "folds": len(parts.folds) // parts.repeats,
            "repeats": parts.repeats,
            "scores": {name: found[name].scores for name in shown},
            "spread": {name: spread(found[name], parts) for name in shown},
        },
        "baselines": baselines,
        "candidates": {
            name: {
                "score": float(np.mean(result.scores)),
                "std": float(np.std(result.scores)),
                "fit_seconds": seconds[name],
                "rounds": result.params.get("rounds"),
                "parts": len(compared.parts(name)),
            }
            for name, result in found.items()
            if name in shown
        },
        "chosen": chosen,
        "selection": {
            "rule": facts.selection,
            "behind": {name: gap._asdict() for name, gap in behind.items()},
            "gains_too_little": [name for name in behind if name not in eligible],
        },
        "blend": compared.shares if chosen == "blend" else {},
        **decided,
        "gap_train_valid": _seen_score(project, data, predictors[chosen])
        - float(np.mean(found[chosen].scores)),
        "learning_curve": _learning_curve(project, data, parts, largest, found),
        "features": data.spec.names,
        "made": made.described(history.known(features.FEATURES, data.spec)),
        "add_up": [name for name in compared.parts(chosen) if view_of(name) == "linear"],
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


def predictor(compared: Compared, name: str, fitted: Mapping[str, Fitted]) -> graph.Predictor:
    """Return a model, a blend or a stack of fitted ones."""
    parts = compared.parts(name)
    shares = compared.shares if name == "blend" else {}
    members = tuple(graph.Member(*fitted[part], share=shares.get(part, 1.0)) for part in parts)
    return graph.Predictor(members, second=compared.second if name == "stack" else None)


def spread(result: CrossValidated, parts: Split) -> float:
    """Return the standard deviation of the mean score over repeats, or of the score over folds."""
    scores = np.array(result.scores)
    if parts.repeats > 1:
        scores = scores.reshape(parts.repeats, -1).mean(axis=1)
    return float(scores.std(ddof=1)) if len(scores) > 1 else 0.0


def paired_differences(
    found: dict[str, CrossValidated], candidates: Sequence[str], metric: str, repeats: int = 1
) -> dict[str, Behind]:
    """Return by how much each candidate's score is behind the best, simplest first.

    Both are scored on the same folds, so that what makes a fold hard is in no difference. Without
    two folds the standard error is 0: nothing tells a difference from chance. Repeated folds share
    most training rows: their variance is corrected (Nadeau & Bengio 2003).
    """
    names = found.keys() & set(candidates)
    sign = metrics.sign(metric)
    scores = {n: sign * np.array(found[n].scores) for n in models.LADDER if n in names}
    best = max(scores.values(), key=lambda values: float(values.mean()))
    result = {}
    for name, values in scores.items():
        gaps = best - values
        tested = 1 / (len(gaps) / repeats - 1) if repeats > 1 else 0.0  # to training rows
        se = float(gaps.std(ddof=1)) * (1 / len(gaps) + tested) ** 0.5 if len(gaps) > 1 else 0.0
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


def _tuned(project: Project, parts: Split) -> dict[str, dict[str, Any]]:
    """Return what `ml tune` has found, but for settings that were searched on other folds."""
    path = project.path("data/processed/tuned.json")
    if project.facts.tuning == "none" or not path.exists():
        return {}
    found = storage.read_json(path, dict[str, dict[str, Any]])
    known = {len(parts.folds)} | (set() if search.is_nested(project.facts.tuning) else {0})
    fit = {name: one for name, one in found.items() if len(one["nested"]) in known}
    if fit.keys() != found.keys():
        parts.notes.append("tuned settings are of other folds and left out: run `ml tune` again")
    return fit


def _scores(
    project: Project, data: Data, parts: Split, predictions: Sequence[Floats]
) -> list[float]:
    """Score each fold, or parts of a single one, so that a difference has a standard error.

    So are the rows of folds that tell together.
    """
    rows, values = [valid for _, valid in parts.folds], list(predictions)
    if parts.pooled:
        rows, values = [np.concatenate(rows)], [np.concatenate(values)]
    if len(rows) == 1:
        places = [slice(part, None, HOLDOUT_PARTS) for part in range(HOLDOUT_PARTS)]
        split = [(rows[0][part], values[0][part]) for part in places]
        scores = [_score(project, data.y[part], found) for part, found in split if len(part)]
        if np.isfinite(scores).all():
            return scores
    pairs = zip(rows, values, strict=True)
    return [_score(project, data.y[valid], found) for valid, found in pairs]


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
