"""Judge a version on the test set, which nothing before has seen, and open or close its gate."""

from typing import Any

import msgspec
import numpy as np

from . import decision, value
from .engine import metrics, progress, resampling, slices, storage, task
from .engine.data import contract
from .engine.errors import CheckFailed, ProjectError
from .engine.formats import apart, number, signed
from .engine.model import registry, succession, trial
from .engine.model.scorer import Scorer
from .engine.report import evaluation_page
from .engine.resampling import Interval
from .engine.settings import Project
from .planner import evidence
from .training import gains_enough


def run(project: Project, version: str | None = None) -> dict[str, Any]:
    """Evaluate a version (default: the newest); write metrics.json and evaluation.html.

    CheckFailed, after everything is written, when the gate stays closed.
    """
    version = version or registry.newest(project)
    folder = project.path(f"models/{version}")
    if not folder.is_dir():
        raise ProjectError(f"no version {version}: `ml models` lists what is there")
    used = project.facts.note()
    scorer = Scorer.load(registry.folder(project, version), threads=project.config.training.threads)
    trained = storage.read_json(folder / "training.json", dict[str, Any])
    agreed = contract.read(folder / "contract.odcs.yaml")
    tested = trial.score(project, folder, scorer, agreed, trained)
    champion, scores = scorer.manifest.champion, tested.score
    y, p = tested.y, scores[champion]
    level = task.level(scorer.manifest.decision)
    primary, settings = scorer.manifest.primary_metric, project.config.evaluation
    draws = resampling.resamples(settings.bootstrap, len(y))
    drawn: dict[str, Any] = {"draws": draws, "seed": project.config.training.seed}
    drawn["groups"] = tested.groups
    progress.tell(f"{number(draws)} resamples of {number(len(y))} test rows")
    intervals = resampling.measure(y, p, tested.answers, level, **drawn)
    among = task.compared(level)
    plain = {name: metrics.evaluate(y, other, among) for name, other in scores.items()}
    progress.tell(f"{draws} resamples of the gain over {len(scores) - 1} models")
    gains = {
        name: resampling.paired_gain(y, p, other, primary, among, **drawn)
        for name, other in scores.items()
        if name != champion
    }
    rivals = [name for name in trained["baselines"] if name != champion]
    chosen_by = {name: values[primary] for name, values in plain.items()}
    best = max(rivals, key=lambda name: metrics.sign(primary) * chosen_by[name])
    made_up = trained.get("made_up", False)
    least = decision.needed_gain(project, chosen_by[best])
    gate = _gate(project, primary, best, gains[best], intervals[primary], least)
    if gate["gains_too_little"] and _would_pass(project, best, rivals, chosen_by, primary):
        named = project.plan.named(best)
        gate["reasons"].append(f"{named} would pass: [{best}] for MOD-02 in plan/overrides.yaml")
    parts = slices.judge(project, agreed, tested, scorer, trained["baselines"][0], gate)
    judged = value.judge(project, y, tested.answers, level, tested.groups, made_up=made_up)
    gate["reasons"] += judged.reasons
    gate["warnings"] += judged.warnings
    gate["passed"] = not gate["reasons"]
    report = {
        "task": scorer.manifest.task,
        "primary_metric": primary,
        "version": version,
        "run": scorer.manifest.run,
        "made_up": made_up,
        "plan": used,
        "baselines": {name: plain[name] for name in trained["baselines"] if name in plain},
        "candidates": {
            name: {**values, "fit_seconds": trained["candidates"].get(name, {}).get("fit_seconds")}
            for name, values in plain.items()
            if name not in trained["baselines"] or name in trained["selection"]["behind"]
        },
        "champion": {
            "name": champion,
            "version": version,
            "metrics": {name: found._asdict() for name, found in intervals.items()},
            **scorer.manifest.decision,
        },
        "gains": {name: gain._asdict() for name, gain in gains.items()},
        "gate": gate,
        "before": succession.judged(project, scorer, agreed, tested, drawn, gate["warnings"]),
        "data": {
            "rows": trained["split"]["development_rows"] + tested.frame.height,
            "test_rows": tested.frame.height,
            **task.summary(y),
            "hash": scorer.manifest.data_sha256,
            "test_set_used": trial.log_access(project, version, tested.sha256),
        },
        **parts,
        "reweighed": trained.get("reweighed"),
        **judged.report,
    }
    # What reports and the plan read back is what JSON holds: NaN has become null.
    report = msgspec.json.decode(storage.json_bytes(report), type=dict[str, Any])
    storage.write_json(project.path("reports/metrics.json"), report)
    if gate["passed"]:  # the model may be good where the case is not
        report["gate"]["warnings"] += [f"the plan says stop: {why}" for why in _stops(project)]
        report["plan"] = used  # which the verdict is of
        storage.write_json(project.path("reports/metrics.json"), report)
    registry.set_evaluated(
        project, version, report, gate_passed=gate["passed"], metric=intervals[primary].value
    )
    evaluation_page(project)
    if not gate["passed"]:
        known = registry.read(project).champion == version
        role = ", the champion (`ml rollback` takes it back)," if known else ""
        raise CheckFailed(f"version {version}{role} fails its gate: " + "; ".join(gate["reasons"]))
    return report


def _would_pass(
    project: Project, name: str, baselines: list[str], scores: dict[str, float], metric: str
) -> bool:
    """Whether a baseline could be the model: a candidate that gains enough itself."""
    sign, limit = metrics.sign(metric), project.facts.metric_limit
    reaches = limit is None or sign * scores[name] >= sign * limit
    candidate = name in project.facts.candidates
    return candidate and reaches and gains_enough(project, name, baselines, scores, metric)


def _stops(project: Project) -> list[str]:
    """Return why the verdict of PLAN.md is stop; it has just been measured anew."""
    found = [item.message for item in evidence.contradictions(project) if item.closes]
    if project.facts.verdict == "stop" and not evidence.on_defaults(project):
        found.append(project.plan.decisions[project.plan.decision_id("verdict")].why)
    return found


def _gate(
    project: Project,
    primary: str,
    best: str,
    gain: Interval,
    measured: Interval,
    min_gain: float,
) -> dict[str, Any]:
    """Judge the champion by the metric it was chosen by: its value, and its gain over `best`."""
    facts, asked = project.facts, project.facts.primary_metric
    limit, sign = facts.metric_limit, metrics.sign(primary)
    metric, wanted, other = map(project.plan.named, (primary, asked, best))
    reasons = []
    if primary != asked:
        reasons.append(f"it was chosen by {metric}, the plan asks for {wanted}: run `ml train`")
    if not np.isfinite(gain.value):
        reasons.append(f"{metric} has no value on this test set: it needs {task.NEEDS}")
    elif gain.value < min_gain:
        reasons.append(
            f"the gain over {other} is {signed(gain.value, 4)} {metric}; "
            f"the smallest useful gain is {number(min_gain, 4)}"
        )
    elif not gain.low > min(0.0, min_gain):
        reasons.append(
            f"the gain over {other} may be chance: "
            f"its 95 % interval starts at {signed(gain.low, 4)}"
        )
    if limit is None:
        reasons.append(
            f"the limit {project.plan.answers[task.LIMIT]} (OBJ-01) is one of another metric: "
            f"write the limit of {wanted} as `limit:` below EVAL-01 in plan/overrides.yaml"
        )
    elif primary == asked and sign * measured.value < sign * limit:
        found, least = apart(measured.value, limit, 4)
        reasons.append(f"{metric} is {found}; the plan asks for {least}")
    return {
        "reasons": reasons,
        "against": best,
        "gains_too_little": bool(gain.value < min_gain),
        "gain": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "min_gain": min_gain,
        "limit": limit,
    }
