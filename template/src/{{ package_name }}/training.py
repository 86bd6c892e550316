"""Fit baselines and candidates on the development part, choose one, and save it as a bundle."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import decision, features, models
from .engine import history, metrics, monitoring, progress, reweighing, slices, storage, task, use
from .engine.data import contract, validation
from .engine.data import target as targets
from .engine.data.kept import asking, besides, keep, remembered, taken, told
from .engine.errors import ProjectError
from .engine.features import encode, moments
from .engine.folds import Split
from .engine.formats import number
from .engine.model import bundle, made, registry, stacking
from .engine.model.derived import brought, calendar_of, declared, view_of
from .engine.model.fitting import (
    FIT_ROWS,
    HOLDOUT_ROWS,
    Data,
    Fitted,
    blend_shares,
    drawn,
    eased,
    known,
    warmed,
)
from .engine.model.history import State
from .engine.model.outcome import (
    Behind,
    Compared,
    CrossValidated,
    choose,
    learning_curve,
    paired_differences,
    seen_score,
    spread,
    tuned_settings,
    validated,
)
from .engine.model.output import levels
from .engine.settings import Project
from .splitting import require_role, split

Floats = NDArray[np.float64]


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


def prepare(project: Project) -> tuple[pl.DataFrame, contract.Contract, Split, str, State | None]:
    """Read the valid table, split as the plan says; return its SHA-256 and its history's state."""
    agreed = contract.read(project.contract_path)
    name, mend = "data/processed/valid.parquet", "run `ml validate`"
    frame, digest = validation.stored_hashed(project, name, mend, agreed)
    settings, scheme = project.config.training, project.facts.split
    check(project, agreed)
    frame, state = history.prepared(project, agreed, frame, features.FEATURES)
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
    return frame, agreed, parts, digest, state


def development_data(project: Project, rows: pl.DataFrame, agreed: contract.Contract) -> Data:
    """Return the development rows as a matrix; features are learnt from these rows only."""
    recipe = declared(features.FEATURES, features.SELECTION, project, agreed)
    spec = features.fit(rows, agreed, calendar_of(features.FEATURES, project, agreed))
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
        return kind.fit(rows, seed, params).of_columns(sees)
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
        seed, most, folds = settings.seed, settings.max_rounds, parts.folds
        params, predictions = kind.cross_validate(data, folds, seed, params, most, name)
        several = len(folds) > 1 and len(data.y) < HOLDOUT_ROWS
        params |= {"members": settings.members if several else 1}
        if nested:
            predictions = [
                kind.without(data, fold, parts.within(n), seed, found, most)
                for n, (fold, found) in enumerate(zip(folds, nested, strict=True))
            ]
    else:
        predictions = [
            fit(project, name, data.rows(train), params).told(data.rows(valid))
            for train, valid in parts.folds
        ]
    seconds = time.perf_counter() - started
    return validated(project, data, parts, predictions, seconds, params)


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


def compare(
    project: Project, data: Data, parts: Split, tuned: dict[str, dict[str, Any]]
) -> Compared:
    """Cross-validate all models that the plan names, blend and stack among them."""
    facts, kinds = project.facts, models.kinds(project.facts)
    members = blended(facts.candidates, data, tuned=bool(tuned))
    wanted = {*facts.baselines, *facts.candidates, *members}
    for name in wanted & kinds.keys():
        kinds[name].require()
    warmed(data, *(train for train, _ in parts.folds))
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
            found["blend"] = validated(project, data, parts, [np.asarray(fold) for fold in mixed])
    if "stack" in facts.candidates:
        predictions = [found[name].predictions for name in members]
        second, stacked = stacking.out_of_fold(data, parts.folds, parts.repeats, predictions)
        found["stack"] = validated(project, data, parts, stacked)
        compared = compared._replace(second=second)
    return compared


def run(project: Project) -> dict[str, Any]:
    """Train, choose and save a new version; return reports/training.json."""
    facts, settings = project.facts, project.config.training
    used = facts.note()
    frame, agreed, parts, data_sha256, state = prepare(project)
    test, development = frame[parts.test], taken(frame, parts.development)
    tested = parts.nearly_all()
    kept = keep(development, test, tested, agreed, settings.seed)
    data = asking(development_data(project, development, agreed), state, agreed, development)
    again = reweighing.of(project, agreed, development, data.y, parts)
    del test, development
    x, y, places = task.probed(data.x, data.y, data.spec.measured, settings.seed)
    when = None if data.time is None else data.time[places]
    data, parts = data._replace(x=x, y=y, time=when), again.parts.probed(places)
    tuned = tuned_settings(project, parts)
    baselines, candidates = facts.baselines, facts.candidates
    compared = compare(project, data, parts, tuned)
    found = compared.found
    ordered = [name for name in models.LADDER if name in candidates]
    behind = paired_differences(found, ordered, facts.primary_metric, parts.repeats)
    means = {name: float(np.mean(result.scores)) for name, result in found.items()}
    eligible = gaining(project, behind, baselines, means)
    chosen = choose(eligible, facts.selection)
    head, decided = decision.decide(project, data, remembered(project, found[chosen].oof))
    fitted: dict[str, Fitted] = {}
    seconds: dict[str, float] = {}
    shown = [name for name in found if name in {*baselines, *candidates}]
    names, given = compared.needed(shown), compared.settings(chosen)
    some = warmed(data, drawn(again.every(len(data.y)), FIT_ROWS, settings.seed))
    for name in names:
        started = time.perf_counter()
        progress.tell(f"fitting {name} to {number(len(some.y))} rows", len(fitted) + 1, len(names))
        fitted[name] = fit(project, name, some, given[name])
        seconds[name] = found[name].seconds + time.perf_counter() - started
    for name in {*shown} - fitted.keys():
        seconds[name] = sum(seconds[part] for part in compared.parts(name))
    predictors = {name: compared.predictor(name, fitted) for name in shown}
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
            "valid_rows": validation.counted(project),
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
                "rounds": given[name].get("rounds"),
                "params": given[name],
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
        "gap_train_valid": seen_score(project, data, predictors[chosen])
        - float(np.mean(found[chosen].scores)),
        "learning_curve": learning_curve(
            partial(fit, project, largest), project, data, parts, largest, found[largest].params
        ),
        "features": data.spec.names,
        "reweighed": again.told(
            {name: found[name] for name in compared.parts(chosen)},
            partial(cross_validate, data=data, project=project),
            partial(decision.decide, project, data),
            facts.primary_metric,
        ),
        "made": made.described(
            history.known(features.FEATURES, data.spec),
            features.FEATURES,
            brought(project, data.spec),
        ),
        "add_up": [name for name in compared.parts(chosen) if view_of(name) == "linear"],
        "tuned": sorted(tuned),
        "settings": project.config.of_training,
        "use": use.so_far(len(parts.development) + len(parts.test)),
    }
    scores = found[chosen].watched(final, data.x, tested)
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
            **validation.origin(project, data_sha256),
            "run": run_id,
        },
        reports={"profile.json": reference, "training.json": report} | besides(project, head),
        state=state,
    )
    registry.register(project, version, run=run_id)
    storage.write_json(project.path("reports/training.json"), report)
    return report


def gaining(
    project: Project,
    behind: dict[str, Behind],
    baselines: Sequence[str],
    scores: Mapping[str, float],
) -> dict[str, Behind]:
    """Return the candidates that the gate could let pass, each behind the best of these.

    Where a baseline is a candidate too, a more complex one that gains less over it would be
    refused, and the simpler model would stand unused. All are left where none gains enough, or
    where the plan says that no score tells which is better.
    """
    if project.facts.selection == "last_candidate":
        return behind
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
