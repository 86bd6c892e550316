"""What the experiment of EVAL-08 brought, read by a rule that was fixed before it began.

With two arms or pairs the rule is a group sequential one: four looks, when a quarter, a half, three
quarters and all of the planned rows are known, each with the bound of O'Brien and Fleming (1979,
Biometrics 35, 549-556) for 5 % of false alarms over all four. Between looks only counts are told,
because whoever looks each day at p < 0.05 is fooled far more often than in 5 % of cases. Intervals
are the repeated ones of Jennison and Turnbull (1989, JRSS B 51, 305-361): they fit the rule.
Before any look the arms are held against the shares in which they were drawn (Fabijan et al. 2019,
KDD, on sample ratio mismatch): other shares than those make each difference worthless.
"""

import math
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl

from ..engine import storage
from ..engine.data import reading
from ..engine.errors import CheckFailed, ProjectError
from ..engine.formats import count, number, percent
from ..engine.settings import Plan, Project
from .blocks import code, escape
from .compared import share_interval

REPORT = "reports/experiment.json"
LOOKS = 4
BOUND = 2.0243  # of O'Brien and Fleming for the last of four looks; look k has it times sqrt(4 / k)
MISMATCH = 0.001  # arms drawn as planned are called mismatched so rarely
WORDS = {
    "go_on": "go on",
    "win": "stop: the new way is better",
    "harm": "stop: the new way does harm",
    "no_difference": "end: no difference was shown",
    "mismatch": "stop: arms are not as they were drawn, so no difference counts",
}
# What a column of arms is called, in a part of its name, and what its values are.
ARM_NAMES = {
    *("arm", "arms", "variant", "variante", "variation", "group", "gruppe", "treatment", "treated"),
    *("bucket", "cohort", "branch", "assignment", "experiment", "test"),
}
ARM_VALUES = {
    *("a", "b", "control", "treatment", "treated", "test", "model", "today", "old", "new"),
    *("before", "after", "baseline", "champion", "challenger", "holdout", "kontrolle"),
}
Better = Literal["lower", "higher"]


class Found(NamedTuple):
    """What rows tell: `effect` is new less old, or one share; `z` fits its two-sided p."""

    said: str
    known: int  # of the smaller arm
    effect: float
    error: float
    z: float
    p: float


def run(
    project: Project,
    path: Path,
    *,
    control: str = "control",
    better: Better | None = None,
    control_share: float = 0.5,
    restart: bool = False,
) -> dict[str, Any]:
    """Read a file of the experiment; write and return reports/experiment.json.

    The file has columns `arm` and `outcome`, or `today` and `model` of the same rows, or `outcome`
    alone, as of judged alerts. An outcome that is not known yet is empty. ProjectError for what
    cannot be read, CheckFailed where the arms are not as they were drawn.
    """
    plan = project.plan
    if not 0 < control_share < 1:
        raise ProjectError("--control-share lies between 0 and 1, such as 0.5")
    frame = _table(path, project.config.data.encoding, control)
    digest = storage.sha256(path)
    old = _earlier(project, restart=restart)
    better = better or _better(plan)
    looks: list[dict[str, Any]] = old.get("looks", [])
    again = next((look for look in looks if look["sha256"] == digest), None)
    report: dict[str, Any] = {
        "run": digest[:12],
        "file": path.name,
        "planned": _planned(plan),
        "better": better,
        "looks": looks,
    }
    if "arm" in frame.columns:
        arms, control = _arms(path, frame, control)
        report["arms"] = {name: len(rows) for name, rows in arms.items()}
        if (p := mismatch(len(arms[control]), frame.height, control_share)) < MISMATCH:
            return _mismatched(project, report, control, control_share, p)
        found = _two(arms, control)
    elif {"today", "model"} <= set(frame.columns):
        found = _pairs(frame)
    else:
        return _share(project, report, frame["outcome"].drop_nulls(), plan)
    stage = _stage(found.known, report["planned"])
    last = looks[-1] if looks else None
    if again is None and last and last["verdict"] != "go_on":
        message = f"the experiment ended at look {last['look']}: {WORDS[last['verdict']]}"
        raise ProjectError(f"{message}; `--restart` begins another one")
    if again is None and (not stage or (last and stage <= last["look"])):
        report |= {"verdict": "go_on", "told": _waiting(found, report["planned"], looks)}
        return _kept(project, report)
    look = again or _look(found, stage, better, digest)
    report["looks"] = looks if again else [*looks, look]
    report |= {"verdict": look["verdict"], "told": _told(found, look, report, plan)}
    return _kept(project, report)


def mismatch(rows: int, total: int, share: float) -> float:
    """Return the two-sided p of `rows` of `total` in an arm that was drawn with `share`."""
    z = (rows - total * share) / math.sqrt(total * share * (1 - share))
    return 2 * _tail(abs(z))


def two_shares(new: int, n_new: int, old: int, n_old: int) -> tuple[float, float]:
    """Return z and two-sided p of two shares, pooled: the square of z is Pearson's chi-square.

    Source: Fleiss, Statistical Methods for Rates and Proportions, section 2.
    """
    pooled = (new + old) / (n_new + n_old)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_new + 1 / n_old))
    z = (new / n_new - old / n_old) / error if error else 0.0
    return z, 2 * _tail(abs(z))


def welch(new: tuple[float, float, int], old: tuple[float, float, int]) -> tuple[float, float]:
    """Return t and two-sided p of two means with their variances and rows (Welch 1947)."""
    from scipy.special import stdtr

    (mean_a, var_a, n_a), (mean_b, var_b, n_b) = new, old
    part_a, part_b = var_a / n_a, var_b / n_b
    if not part_a + part_b:
        return 0.0, 1.0 if mean_a == mean_b else 0.0
    t = (mean_a - mean_b) / math.sqrt(part_a + part_b)
    free = (part_a + part_b) ** 2 / (part_a**2 / (n_a - 1) + part_b**2 / (n_b - 1))
    return t, float(2 * stdtr(free, -abs(t)))


def bound(look: int) -> float:
    """Return how far from 0 z has to be at a look, 1 to 4."""
    return BOUND * math.sqrt(LOOKS / look)


def _tail(z: float) -> float:
    return math.erfc(z / math.sqrt(2)) / 2


def _z_of(p: float, sign: float) -> float:
    """Return the normal quantile that has this two-sided p: looks are held against it."""
    from scipy.special import ndtri

    return math.copysign(float(-ndtri(max(p, 1e-300) / 2)), sign)


def _table(path: Path, encoding: str, control: str) -> pl.DataFrame:
    """Read the file; what is not a number becomes an error that names its row."""
    table = reading.opened(path, encoding)
    frame = reading.joined(path, list(table.stretches(None)))
    shapes = ({"arm", "outcome"}, {"today", "model"}, {"outcome"})
    names = next((shape for shape in shapes if shape <= set(frame.columns)), None)
    if names is None or not frame.height:
        raise ProjectError(
            f"{path.name}: give rows with columns arm and outcome, or today and model, or outcome "
            "alone, as of judged alerts"
        )
    if names == {"outcome"} and (arms := _arms_in(frame, control)):
        raise ProjectError(
            f"{path.name}: {arms!r} looks like arms: call it arm, and say which is today's by "
            "`--control NAME`; without arms give outcome alone"
        )
    columns = []
    for name in sorted(names):
        raw = frame[name]
        if name == "arm":
            columns.append(raw.cast(pl.String).str.strip_chars())
            continue
        value = raw.cast(pl.Float64, strict=False)
        wrong = value.is_null() & raw.is_not_null() | value.is_infinite() | value.is_nan()
        if wrong.any():
            row = wrong.arg_true()[0]
            raise ProjectError(
                f"{path.name}: row {row + 1}: {name} is {str(raw[row])!r}: give a number, or 0 "
                "and 1, or nothing while it is not known"
            )
        columns.append(value)
    return pl.DataFrame(columns)


def _arms_in(frame: pl.DataFrame, control: str) -> str:
    """Return the column that tells arms under another name, which would be read as one share."""
    for column in frame.drop("outcome"):
        values = {str(value).strip().casefold() for value in column.drop_nulls().unique()}
        is_named = not ARM_NAMES.isdisjoint(re.split(r"[\W_]+", column.name.casefold()))
        is_told = control.casefold() in values or values <= ARM_VALUES
        if 2 <= len(values) <= 5 and (is_named or is_told):
            return column.name
    return ""


def _arms(path: Path, frame: pl.DataFrame, control: str) -> tuple[dict[str, pl.Series], str]:
    """Return the outcomes of each arm, and the control as the file writes it."""
    if frame["arm"].null_count():
        row = frame["arm"].is_null().arg_true()[0] + 1
        raise ProjectError(f"{path.name}: row {row} has no arm: each row needs one")
    arms = {
        str(name): rows["outcome"] for (name,), rows in frame.group_by("arm", maintain_order=True)
    }
    controls = [name for name in arms if name.casefold() == control.casefold()]
    if len(arms) != 2 or len(controls) != 1:
        named = ", ".join(sorted(arms)[:5])
        raise ProjectError(
            f"{path.name}: two arms are compared, one of them {control!r} (`--control NAME`); "
            f"it has {named}"
        )
    return arms, controls[0]


def _two(arms: dict[str, pl.Series], control: str) -> Found:
    (name,) = (arm for arm in arms if arm != control)
    new, old = arms[name].drop_nulls(), arms[control].drop_nulls()
    known = min(len(new), len(old))
    if known < 2:
        return Found("", known, 0.0, math.inf, 0.0, 1.0)
    effect = _mean(new) - _mean(old)
    error = math.sqrt(_variance(new) / len(new) + _variance(old) / len(old))
    if set(new.unique()) | set(old.unique()) <= {0.0, 1.0}:
        z, p = two_shares(int(new.sum()), len(new), int(old.sum()), len(old))
        shown = [percent(_mean(side)) for side in (new, old)]
    else:
        t, p = welch((_mean(new), _variance(new), len(new)), (_mean(old), _variance(old), len(old)))
        z, shown = _z_of(p, t), [number(_mean(side), 4) for side in (new, old)]
    sides = f"{code(name)} {shown[0]} of {count(len(new), 'row')}"
    said = f"{sides} against {code(control)} {shown[1]} of {number(len(old))}"
    return Found(said, known, effect, error, z, p)


def _pairs(frame: pl.DataFrame) -> Found:
    """Compare today's process and the model on the same rows: a t test of the differences."""
    both = frame.drop_nulls()
    gaps = both["model"] - both["today"]
    if both.height < 2:
        return Found("", both.height, 0.0, math.inf, 0.0, 1.0)
    error = math.sqrt(_variance(gaps) / both.height)
    t, p = welch((_mean(gaps), _variance(gaps), both.height), (0.0, 0.0, both.height))
    shown = [number(_mean(both[name]), 4) for name in ("model", "today")]
    said = f"model {shown[0]} against today {shown[1]} on the same {count(both.height, 'row')}"
    return Found(said, both.height, _mean(gaps), error, _z_of(p, t), p)


def _share(
    project: Project, report: dict[str, Any], known: pl.Series, plan: Plan
) -> dict[str, Any]:
    """Tell one share, such as that of true alerts, once as many as planned are judged."""
    planned, pays = report["planned"], _pays(plan)
    if not set(known.unique()) <= {0.0, 1.0}:
        raise ProjectError(f"{report['file']}: an outcome without arms is 0 or 1")
    if not len(known) or (planned and len(known) < planned):
        left = f"{number(len(known))} of {number(planned or 1)} rows are judged"
        return _kept(project, report | {"verdict": "go_on", "told": f"{WORDS['go_on']}: {left}"})
    low, high = share_interval(int(known.sum()), len(known))
    verdict = "no_difference"
    against = ""
    if pays is not None:
        verdict = "win" if low > pays else "harm" if high < pays else verdict
        against = f", and acting pays from {percent(pays)} on"
    words = {
        "win": "it pays",
        "harm": "it costs more than it brings",
        "no_difference": "whether it pays is not shown",
    }
    share = f"{percent(_mean(known))} ({percent(low)} to {percent(high)})"
    told = f"{share} of {count(len(known), 'judged row')} are positive{against}: {words[verdict]}"
    found = {"value": _mean(known), "low": low, "high": high}
    return _kept(project, report | {"verdict": verdict, "share": found, "told": told})


def _look(found: Found, stage: int, better: Better, digest: str) -> dict[str, Any]:
    limit = bound(stage)
    verdict = "go_on"
    if abs(found.z) >= limit:
        verdict = "win" if (found.z > 0) == (better == "higher") else "harm"
    elif stage == LOOKS:
        verdict = "no_difference"
    return {
        "look": stage,
        "known": found.known,
        "effect": found.effect,
        "low": found.effect - limit * found.error,
        "high": found.effect + limit * found.error,
        "z": found.z,
        "p": found.p,
        "bound": limit,
        "verdict": verdict,
        "sha256": digest,
    }


def _told(found: Found, look: dict[str, Any], report: dict[str, Any], plan: Plan) -> str:
    decision = plan.decisions.get("EVAL-08")
    kind = decision.said(decision.value) if decision else "experiment"
    gap = f"{number(look['effect'], 4)} ({number(look['low'], 4)} to {number(look['high'], 4)})"
    told = (
        f"{escape(kind)}, {report['better']} is better: {found.said}; difference {gap}, "
        f"z {number(look['z'], 2)} against a bound of {number(look['bound'], 2)} at look "
        f"{look['look']} of {LOOKS}: {WORDS[look['verdict']]}"
    )
    timed = decision is not None and decision.value in ("before_and_after", "compare_months")
    return told + "; other things changed in that time too, so no cause is shown" * timed


def _waiting(found: Found, planned: int | None, looks: list[dict[str, Any]]) -> str:
    """Say counts alone: what is seen between looks is no result."""
    after = looks[-1]["look"] if looks else 0
    need = math.ceil((planned or 0) * (after + 1) / LOOKS)
    rows = f"{count(found.known, 'known row')} in the smaller arm"
    return f"{WORDS['go_on']}: {rows}, look {after + 1} of {LOOKS} comes at {number(need)}"


def _mismatched(
    project: Project, report: dict[str, Any], control: str, share: float, p: float
) -> dict[str, Any]:
    rows = report["arms"][control]
    seen = rows / sum(report["arms"].values())
    told = f"{WORDS['mismatch']}: {code(control)} has {percent(seen)} of the rows in place of "
    told += f"{percent(share)} (p {number(p)})"
    _kept(project, report | {"verdict": "mismatch", "told": told})
    raise CheckFailed(f"{told}: find out how rows got their arm, and begin anew")


def _stage(known: int, planned: int | None) -> int:
    """Return the look that so many known rows allow, 0 to 4; a plan without a size has one look."""
    if known < 2:
        return 0
    return LOOKS if not planned else min(LOOKS, LOOKS * known // planned)


def _planned(plan: Plan) -> int | None:
    for identifier, name in (
        ("EVAL-08", "rows_per_arm"),
        ("EVAL-08", "rows_let_through"),
        ("EVAL-05", "alerts_to_judge"),
    ):
        found = plan.computed.get(identifier, {}).get(name)
        if found is not None and found.value:
            return int(found.value)
    return None


def _pays(plan: Plan) -> float | None:
    """Return the share of positives from which on acting pays, where the plan knows one."""
    for identifier, name in (("VAL-02", "break_even_precision"), ("EVAL-05", "p_star")):
        found = plan.computed.get(identifier, {}).get(name)
        if found is not None and found.value is not None:
            return float(found.value)
    return None


def _better(plan: Plan) -> Better:
    """Say whether outcomes should grow: where the plan sizes a share of people who answer."""
    answers = any(name.startswith("response_") for name in plan.answers)
    return "higher" if answers else "lower"


def _earlier(project: Project, *, restart: bool) -> dict[str, Any]:
    path = project.path(REPORT)
    return storage.read_json(path, dict[str, Any]) if path.exists() and not restart else {}


def _kept(project: Project, report: dict[str, Any]) -> dict[str, Any]:
    storage.write_json(project.path(REPORT), report)
    return report


def _mean(values: pl.Series) -> float:
    return float(values.mean())  # type: ignore[arg-type]  # numbers, and at least one


def _variance(values: pl.Series) -> float:
    return float(values.var())  # type: ignore[arg-type]  # numbers, and at least two
