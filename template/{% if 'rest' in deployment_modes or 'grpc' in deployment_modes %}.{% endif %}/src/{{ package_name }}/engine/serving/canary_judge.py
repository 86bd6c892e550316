"""Whether a version on trial goes on, waits or goes back: stated tests, and why.

The stages are those of the plan's DEP-03. Each look judges errors and late answers by exact
one-sided 95 % bounds of a share (Clopper & Pearson 1934): beyond doubt too many, beyond doubt few
enough, or not yet known. Scores are held against what the version gave in its own test, and, where
labels are known, its metric against the champion's.
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from .. import metrics, monitoring, prediction_log, resampling, storage, task
from ..data import contract as contracts
from ..errors import CheckFailed, ProjectError
from ..formats import number
from ..model import registry
from ..model.scorer import Scorer
from ..settings import Project
from ..severity import MIN_TEST_ROWS
from . import canary
from .canary import CHALLENGER, CHAMPION, Count, Decided, Trial
from .requests import Model

PASS, WAIT, FAIL = "pass", "wait", "fail"
ON, HOLD, BACK = "go on", "hold", "roll back"
LATE_SHARE = 0.01  # the plan's limit is for 99 % of the requests
ALPHA = 0.05
STEP_DAYS = 1  # of each share at least: a whole day of callers


class Stages(NamedTuple):
    """How long a version is unseen, and the shares after that; the whole is the promotion."""

    days: float
    shares: tuple[float, ...]
    signed: bool = False


STAGES = {  # by the value of DEP-03, in its words
    "shadow_then_canary": Stages(3, (0.05, 0.25)),
    "shadow_then_canary_with_rollback_limits": Stages(7, (0.01, 0.05, 0.25, 0.5)),
    "shadow_then_signature_then_canary": Stages(28, (0.05, 0.25, 0.5), signed=True),
}


class Test(NamedTuple):
    """What was looked at, whether it holds, and in words what was found."""

    name: str
    verdict: str
    found: str


def start(project: Project, version: str) -> Trial:
    """Put a version on trial, unseen; CheckFailed when it could not be promoted either."""
    running = canary.read(project)
    if running and not running.ended and running.champion == registry.read(project).champion:
        raise ProjectError(
            f"{running.version} is on trial already: `ml canary decide`, or `ml canary stop REASON`"
        )
    if not project.config.serving.log_predictions:
        raise ProjectError("serving.log_predictions is off: nothing could be compared")
    champion = Model(registry.champion_folder(project))
    if version == champion.scorer.version:
        raise ProjectError(f"{version} is the champion itself")
    if objections := registry.objections(project, version):
        raise CheckFailed(f"{version} is put on no trial: {' and '.join(objections)}")
    canary.check_rows(champion, Model(registry.folder(project, version)))
    canary.counts_path(project, version).unlink(missing_ok=True)
    now = _now().isoformat()
    trial = Trial(version=version, champion=champion.scorer.version, since=now, stage_since=now)
    storage.write_json(canary.path(project), trial)
    return trial


def stop(project: Project, reason: str) -> Trial:
    """End a trial by hand: the champion answers everything again."""
    trial = running(project)
    _end(project, trial, Decided(at=_at(), outcome=BACK, share=trial.share, reason=reason))
    return trial


def running(project: Project) -> Trial:
    """Return the trial that goes on; ProjectError without one."""
    trial, champion = canary.read(project), registry.read(project).champion
    if trial is None or trial.ended:
        raise ProjectError("no version is on trial: `ml canary start VERSION`")
    if trial.champion != champion:
        raise ProjectError(
            f"the champion is {champion} now, and {trial.version} was held against "
            f"{trial.champion}: `ml canary start VERSION` begins anew"
        )
    return trial


def decide(
    project: Project,
    *,
    labels: Path | None = None,
    signed: str = "",
    early: str = "",
    dry: bool = False,
) -> dict[str, Any]:
    """Judge a trial, do what follows unless `dry`, and write reports/canary.json.

    Beyond doubt worse: it goes back to the champion. All tests hold: it gets the next share, after
    the last one it is promoted. Else it holds. `signed` is who answers for leaving the unseen
    stage; `early` why the days of the stage need not pass.
    """
    trial, stages = running(project), _stages(project)
    trial.signed = signed or trial.signed
    tests = _judged(project, trial, stages, labels, early)
    verdicts = {test.verdict for test in tests}
    outcome = BACK if FAIL in verdicts else HOLD if WAIT in verdicts else ON
    following = next((share for share in stages.shares if share > trial.share), 1.0)
    told = [test for test in tests if test.verdict == {BACK: FAIL, HOLD: WAIT}.get(outcome, PASS)]
    reason = "; ".join(f"{test.name}: {test.found}" for test in told)
    if early and outcome == ON:
        reason += f"; before its time: {early}"
    decided = Decided(
        at=_at(),
        outcome=outcome,
        share=trial.share,
        reason=reason,
        tests=[test._asdict() for test in tests],
    )
    report = {
        "version": trial.version,
        "champion": trial.champion,
        "share": trial.share,
        "outcome": outcome,
        "next_share": following if outcome == ON else 0.0 if outcome == BACK else trial.share,
        "reason": reason,
        "tests": [test._asdict() for test in tests],
        "done": not dry,
    }
    if dry:
        return report
    if outcome == ON and following == 1:
        registry.promote(project, trial.version, by="canary")
    if outcome == ON and following < 1:
        trial.share, trial.stage_since = following, decided.at
        trial.decisions.append(decided)
        storage.write_json(canary.path(project), trial)
    elif outcome == HOLD:
        held = trial.decisions and trial.decisions[-1].outcome == HOLD
        trial.decisions[-1 if held else len(trial.decisions) :] = [decided]
        storage.write_json(canary.path(project), trial)
    else:
        _end(project, trial, decided)
    storage.write_json(project.path("reports/canary.json"), report)
    return report


def _end(project: Project, trial: Trial, decided: Decided) -> None:
    trial.decisions.append(decided)
    trial.share, trial.ended = 0.0, True
    storage.write_json(canary.path(project), trial)


def _stages(project: Project) -> Stages:
    return STAGES[str(project.plan.value("rollout"))]


def _judged(
    project: Project, trial: Trial, stages: Stages, labels: Path | None, early: str
) -> list[Test]:
    counts = _counts(project, trial)
    mine = counts[CHALLENGER]
    allowed = 1 - float(project.plan.answers["availability"])
    found = [
        _time(trial, stages, early),
        _share("errors", mine.errors, mine.requests, allowed, "requests failed"),
    ]
    if trial.share:
        slow = _share("late answers", mine.slow, mine.requests, LATE_SHARE, "answers were late")
        found.append(slow)
    elif stages.signed:
        verdict = PASS if trial.signed else WAIT
        found.append(Test("signature", verdict, trial.signed or "nobody signed: --signed NAME"))
    if mine.dropped:
        text = f"{mine.dropped} requests were not scored, because too many waited"
        found.append(Test("left out", PASS, text))
    return [*found, *_scores(project, trial, labels)]


def _time(trial: Trial, stages: Stages, early: str) -> Test:
    days = (_now() - dt.datetime.fromisoformat(trial.stage_since)).total_seconds() / 86_400
    needed = STEP_DAYS if trial.share else stages.days
    stage = f"with {trial.share:.0%} of the keys" if trial.share else "unseen"
    verdict = PASS if early or days >= needed else WAIT
    return Test("time", verdict, f"{number(days, 1)} of {number(needed)} days {stage}")


def _share(name: str, hits: int, rows: int, allowed: float, what: str) -> Test:
    """Judge a share by its one-sided bounds, at 95 % each."""
    low, high = bounds(hits, rows)
    verdict = FAIL if low > allowed else PASS if high <= allowed else WAIT
    text = f"{hits} of {rows} {what}, {number(allowed * 100, 2)} % are allowed"
    if verdict == WAIT:
        text += f": with so many it may be {number(high * 100, 2)} %"
    return Test(name, verdict, text)


def bounds(hits: int, rows: int) -> tuple[float, float]:
    """Return the lower and the upper one-sided 95 % bound of a share (Clopper & Pearson 1934)."""
    from scipy.special import betaincinv

    low = betaincinv(hits, rows - hits + 1, ALPHA) if hits else 0.0
    high = betaincinv(hits + 1, rows - hits, 1 - ALPHA) if hits < rows else 1.0
    return float(low), float(high)


def _counts(project: Project, trial: Trial) -> dict[str, Count]:
    """Add up what all services counted in this stage; a damaged line is left out."""
    added = {CHAMPION: Count(), CHALLENGER: Count()}
    file = canary.counts_path(project, trial.version)
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            told = msgspec.json.decode(line, type=dict[str, Any])
            is_of_stage = told["time"] >= trial.stage_since and told["share"] == trial.share
            count = added[told["arm"]]
            numbers = {name: int(told[name]) for name in Count.__struct_fields__}
        except (msgspec.MsgspecError, KeyError, ValueError, TypeError):
            continue
        for name, value in numbers.items() if is_of_stage else ():
            setattr(count, name, getattr(count, name) + value)
    return added


def _scores(project: Project, trial: Trial, labels: Path | None) -> list[Test]:
    """Judge what both answered: scores against each one's own test, metrics by labels."""
    since = dt.datetime.fromisoformat(trial.since)
    days = (_now().date() - since.date()).days + 1
    levels: dict[str, str] = {}
    logged: dict[str, Sequence[Any]] = {}
    scorers: dict[str, Scorer] = {}
    for arm, version in ((CHALLENGER, trial.version), (CHAMPION, trial.champion)):
        folder = registry.folder(project, version)
        scorer = scorers[arm] = Scorer.load(folder)
        rows = logged[arm] = prediction_log.read(project, scorer, days)[0]
        known = storage.read_json(folder / "profile.json", dict[str, Any])
        scores = np.array([getattr(row, scorer.score) for row in rows])
        if len(rows) < MIN_TEST_ROWS:
            levels[arm] = "too_few_rows"
            continue
        judged = (known, pl.DataFrame(), scores, project.config.monitoring)
        levels[arm] = monitoring.drift(*judged, project.facts.drift_test)["prediction"]["level"]
    mine, other = levels[CHALLENGER], levels[CHAMPION]
    verdict = WAIT if mine == "too_few_rows" else FAIL if mine == "act" != other else PASS
    text = f"{number(len(logged[CHALLENGER]))} rows, moved since its test: {mine}"
    found = [Test("scores", verdict, f"{text}; the champion's: {other}")]
    kinds = ("number", "list", "numbers")  # of these no two are the same
    names = [o.name for o in scorer.outputs if o.role == "decision" and o.kind not in kinds]
    if names and (alike := _apart(logged, names)):
        found.append(Test("decisions", PASS, alike))
    return found + ([_by_labels(project, scorers, logged, labels)] if labels else [])


def _apart(logged: dict[str, Sequence[Any]], names: Sequence[str]) -> str:
    """Say how often both decide otherwise where both scored the same event; "" without any."""
    before = {row.event_id: row for row in logged[CHAMPION]}
    pairs = [(row, before[row.event_id]) for row in logged[CHALLENGER] if row.event_id in before]
    if not pairs:
        return ""
    others = sum(any(getattr(a, n) != getattr(b, n) for n in names) for a, b in pairs)
    return f"{number(others / len(pairs) * 100, 1)} % of {number(len(pairs))} events otherwise"


def _by_labels(
    project: Project,
    scorers: dict[str, Scorer],
    logged: dict[str, Sequence[Any]],
    labels: Path,
) -> Test:
    """Compare metrics on labelled rows; both intervals combined as in Zou & Donner 2008."""
    found = {}
    for arm, rows in logged.items():
        scorer = scorers[arm]
        manifest = scorer.manifest
        agreed = contracts.read(registry.folder(project, scorer.version) / "contract.odcs.yaml")
        if not rows:
            return Test("labels", WAIT, f"the {arm} has no logged row")
        y = prediction_log.labelled(project, agreed, rows, labels)
        p = np.array([getattr(row, scorer.score) for row in rows])
        y, p = y[here := ~np.isnan(y)], p[here]
        if len(y) < MIN_TEST_ROWS or y.min() == y.max():
            return Test("labels", WAIT, f"{len(y)} labelled rows of the {arm} tell too little")
        primary, at = manifest.primary_metric, task.level(manifest.decision)
        found[arm] = resampling.bootstrap(y, p, at, [primary], draws=200, seed=0)[primary]
    sign = metrics.sign(scorers[CHAMPION].manifest.primary_metric)
    mine, other = found[CHALLENGER], found[CHAMPION]
    mine_up, other_down = mine.high - mine.value, other.value - other.low
    if sign < 0:
        mine_up, other_down = mine.value - mine.low, other.high - other.value
    reach = float(np.hypot(mine_up, other_down))
    worse = sign * (other.value - mine.value)
    name = project.plan.named(scorers[CHAMPION].manifest.primary_metric)
    text = f"{name} {number(mine.value, 4)}, the champion's {number(other.value, 4)}"
    return Test("labels", FAIL if worse > reach else PASS, text)


def told(report: dict[str, Any]) -> str:
    """Return a judgement as a table for people."""
    signs = {PASS: "ok", WAIT: "wait", FAIL: "no"}
    lines = [f"{signs[t['verdict']]:<5}{t['name']:<13} {t['found']}" for t in report["tests"]]
    after = report["next_share"]
    if report["outcome"] == ON:
        follows = "is the champion" if after == 1 else f"answers {after:.0%} of the keys"
        follows = follows if report["done"] else f"next: {follows}"
    else:
        follows = "waits" if report["outcome"] == HOLD else "answers nobody any more"
    return "\n".join([*lines, f"{report['outcome']}: {report['version']} {follows}"])


def state(trial: Trial) -> str:
    """Return where a trial is, with its decisions."""
    now = "ended" if trial.ended else f"{trial.share:.0%} of the keys" if trial.share else "unseen"
    lines = [f"{trial.version} beside {trial.champion} since {trial.since[:16]}: {now}"]
    for one in trial.decisions:
        lines.append(f"{one.at[:16]} at {one.share:.0%}: {one.outcome}: {one.reason}")
    return "\n".join(lines)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _at() -> str:
    return _now().isoformat()
