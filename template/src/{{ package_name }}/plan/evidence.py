"""Hold what was planned against what was measured: one table, one verdict, one list of findings."""

from typing import Any, NamedTuple

from .. import storage
from ..errors import ProjectError
from ..settings import Project
from .blocks import escape, number

Report = dict[str, Any]
MISSING = "not measured"
REPORTS = ("metrics", "data_quality", "training", "bench", "drift")


class Row(NamedTuple):
    """One quantity: what was planned, what was measured with its 95 % interval, what that says."""

    id: str
    quantity: str
    planned: str
    measured: str = MISSING
    says: str = "open"


class Contradiction(NamedTuple):
    """A measurement that the plan cannot stand beside; one that `closes` shuts the block's gate."""

    rule: str
    id: str
    message: str
    closes: bool


def table(project: Project) -> list[Row]:
    """Return a row for each quantity that is planned and can be measured."""
    plan, answers = project.plan, project.plan.answers
    metrics, quality, training, bench, drift = (_report(project, name) for name in REPORTS)
    money = f" {escape(answers['currency'])}"
    against = {item.id + item.rule: item for item in contradictions(project)}
    # Made-up data prove the pipeline; what they say of the case is no evidence.
    made_up = metrics.get("made_up") or quality.get("made_up")
    agrees = "says nothing" if made_up else "agrees"

    def says(identifier: str, rule: str, there: object) -> str:
        if not there:
            return "open"
        if identifier + rule in against:
            return "**contradicts**"
        return agrees

    rows = [Row("DATA-02", "Rows", _number(answers["n_rows"]))]
    if quality:
        found = _number(quality["rows"])
        rows[0] = rows[0]._replace(measured=found, says=says("DATA-02", "ev.rows", quality))
    share = _positive_share(training)
    shown = MISSING if share is None else _share(share)
    verdict = says("DATA-02", "ev.prevalence", share is not None)
    rows.append(Row("DATA-02", "Positive share", _share(answers["pos_rate"]), shown, verdict))
    rows.append(Row("DATA-01", "Label delay", f"{_number(answers['label_delay_days'])} days"))
    gate, champion = metrics.get("gate", {}), metrics.get("champion", {})
    best = champion.get("metrics", {}).get(metrics.get("primary_metric"), {})
    passed = says("EVAL-03", "ev.gate", gate)
    limit = plan.metric_limit
    least = "no limit" if limit is None else f"at least {_number(limit, 4)}"
    rows.append(Row("EVAL-03", "Primary metric", least, _interval(best, 4), passed))
    rows.append(_gain(gate, answers, agrees))
    worth = _worth(metrics)
    refuted = any(item.id == "VAL-02" for item in against.values())
    verdict = "**contradicts**" if refuted else agrees
    hoped = _number(_hoped(project)) + money
    found = _interval(worth, 0)
    rows.append(Row("VAL-02", "Value a year", hoped, found, verdict if worth else "open"))
    cut = plan.computed["EVAL-05"]["p_star"].value
    threshold = champion.get("threshold")
    if cut is not None:
        moved = threshold is not None and abs(threshold - cut) > 0.005
        said = "open" if threshold is None else "moved" if moved else "agrees"
        rows.append(Row("EVAL-05", "Threshold", _number(cut, 4), _number(threshold, 4), said))
    limit = f"p95 at most {_number(answers['latency_ms'])} ms" if "latency_ms" in answers else ""
    if limit:
        p95 = bench.get("single_row_ms", {}).get("p95")
        late = p95 is not None and p95 > answers["latency_ms"]
        said = "open" if p95 is None else "**contradicts**" if late else "agrees"
        found = MISSING if p95 is None else f"{_number(p95, 2)} ms"
        rows.append(Row("DEP-02", "Latency", limit, found, said))
    level = drift.get("level")
    said = "open" if level is None else "agrees" if level == "ok" else "**look at it**"
    rows.append(Row("MON-01", "Drift", "ok", level or MISSING, said))
    cost = f"{_number(answers['run_cost'])}{money}"
    rows.append(Row("VAL-01", "Run cost a month", cost))
    return rows


def contradictions(project: Project) -> list[Contradiction]:
    """Return what the reports say against the plan, each with the id of the rule that says so."""
    answers = project.plan.answers
    metrics, quality, training = (
        _report(project, name) for name in ("metrics", "data_quality", "training")
    )
    found = []
    gate, worth = metrics.get("gate"), _worth(metrics)
    if gate and not gate["passed"]:
        why = "; ".join(map(str, gate["reasons"])) or "no reason given"
        message = f"the gate of the model failed: {why}"
        found.append(Contradiction("ev.gate", "EVAL-03", message, closes=True))
    if worth and (message := loss(worth)):
        found.append(Contradiction("ev.loss", "VAL-02", message, closes=True))
    if metrics.get("made_up") or quality.get("made_up"):
        return found  # they prove the pipeline; what they say of the case is no evidence
    hoped = _hoped(project)
    if worth and worth["high"] is not None and worth["high"] < hoped:
        message = f"{_number(hoped)} a year are planned, measured are {_interval(worth, 0)}"
        found.append(Contradiction("ev.value", "VAL-02", message, closes=False))
    rows, planned = quality.get("rows"), answers["n_rows"]
    if rows is not None and not planned / 2 <= rows <= planned * 2:
        message = f"{_number(planned)} rows are planned, {_number(rows)} were read"
        found.append(Contradiction("ev.rows", "DATA-02", message, closes=False))
    share, rate = _positive_share(training), answers["pos_rate"]
    if share is not None and not 2 / 3 < share / rate < 1.5:
        message = f"{_share(rate)} positives are planned, {_share(share)} were measured"
        found.append(Contradiction("ev.prevalence", "DATA-02", message, closes=False))
    return found


def loss(worth: Report) -> str:
    """Say that the measured value a year may be zero or a loss, "" when its interval lies above 0.

    `worth` has value, low and high. The model's gate and the plan's verdict both judge by this.
    """
    if all((worth[name] or 0) > 0 for name in ("value", "low")):
        return ""
    return f"the measured value a year may be zero or a loss: {_interval(worth, 0)}"


def verdict(project: Project) -> str:
    """Return go or stop in one line: by the evidence once there is some, else by the answers."""
    plan = project.plan
    npv = plan.computed["VAL-01"]["npv"].value
    figure = f"NPV {_number(npv)} {escape(plan.answers['currency'])} by the answers"
    if plan.value("verdict") == "stop":
        return f"**stop**: {escape(plan.decisions['VAL-01'].why)} ({figure})"
    metrics = _report(project, "metrics")
    if not metrics:
        return f"worth it on paper, not measured yet ({figure})"
    against = contradictions(project)  # a waiver opens a gate; it makes no evidence
    closing = [escape(item.message) for item in against if item.closes]
    # The model's gate names a loss among its reasons: once is enough.
    closing = [text for text in closing if not any(text in other != text for other in closing)]
    if closing:
        return f"**stop**: {'; '.join(closing)} ({figure})"
    if metrics.get("made_up"):
        return f"worth it on paper; made-up data prove the pipeline, not the case ({figure})"
    if against:
        doubts = "; ".join(escape(item.message) for item in against)
        return f"in doubt: {doubts} ({figure})"
    return f"**go**: measured, and nothing contradicts the plan ({figure})"


def lines(project: Project) -> list[str]:
    """Return the verdict, a table of what was measured, and the names of what was not."""
    rows = table(project)
    there = [row for row in rows if row.measured != MISSING]
    missing = ", ".join(row.quantity.lower() for row in rows if row.measured == MISSING)
    found = [f"- verdict: {verdict(project)}."]
    if missing:
        found.append(f"- {MISSING}: {missing}")
    if not there:
        return found
    made_up = any(_report(project, name).get("made_up") for name in ("metrics", "data_quality"))
    head = "Measured on made-up data" if made_up else "Measured (95 %)"
    cells = [(row.quantity, row.planned, row.measured, row.says, row.id) for row in there]
    shown = [("Quantity", "Planned", head, "Says", "Block"), ("---",) * 5, *cells]
    return [*found, "", *(f"| {' | '.join(row)} |" for row in shown)]


def _gain(gate: Report, answers: Report, agrees: str) -> Row:
    least = f"at least {_number(answers['min_gain'], 4)}"
    enough = agrees
    if not gate:
        enough = "open"
    elif gate["gain"] < answers["min_gain"] or gate["gain_low"] <= 0:
        enough = "**contradicts**"
    gain = {"value": gate.get("gain"), "low": gate.get("gain_low"), "high": gate.get("gain_high")}
    return Row("EVAL-03", "Gain over best baseline", least, _interval(gain, 4), enough)


def _report(project: Project, name: str) -> Report:
    path = project.path(f"reports/{name}.json")
    return storage.read_json(path, Report) if path.exists() else {}


def _worth(metrics: Report) -> Report:
    """Return the measured value a year with its interval; empty without a report."""
    business = metrics.get("business")
    if not business:
        return {}
    try:
        names = {"value": "value_per_year", "low": "value_low", "high": "value_high"}
        return {name: business[key] for name, key in names.items()}
    except KeyError as error:
        raise ProjectError(f"reports/metrics.json lacks {error}: run `ml evaluate`") from None


def _positive_share(training: Report) -> float | None:
    split = training.get("split", {})
    parts = ("development", "test")
    rows = sum(split.get(f"{part}_rows", 0) for part in parts)
    positives = sum(split.get(f"{part}_positives", 0) for part in parts)
    return positives / rows if rows else None


def _hoped(project: Project) -> float:
    """Return the planned benefit of a year at full use."""
    return 12 * project.plan.number("VAL-01", "benefit")


def _interval(value: Report, digits: int) -> str:
    if value.get("value") is None:
        return MISSING
    shown = _number(value["value"], digits)
    low, high = value.get("low"), value.get("high")
    if low is None:
        return shown
    end = f"at least {_number(low, digits)}"
    return (
        f"{shown} ({end if high is None else f'{_number(low, digits)} to {_number(high, digits)}'})"
    )


def _share(value: float) -> str:
    return f"{value * 100:.3g} %"


def _number(value: float | None, digits: int = 0) -> str:
    return MISSING if value is None else number(value, digits)
