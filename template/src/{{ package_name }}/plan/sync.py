"""Copy measured values from reports/*.json into the measured parts of PLAN.md."""

import math
import re
from collections.abc import Callable
from typing import Any

from .. import storage
from ..errors import ProjectError
from ..settings import Project
from .blocks import code, escape, parse, read, rewrite, short_hash

Report = dict[str, Any]
SEAL = re.compile(r"_(\S+) measured by run \S+, \S+ [0-9a-f]{6}, seal ([0-9a-f]{6})_")
NO_OVERRIDES = "_OVERRIDES none: every decision is the one its rule gives_"


def run(project: Project) -> list[str]:
    """Write what the reports hold; return the ids whose block changed. Other lines stay."""
    path = project.path("PLAN.md")
    text = read(path)
    changed = []
    for identifier, lines in measured(project).items():
        part = parse(text).get(("measured", identifier))
        if part is None:
            raise ProjectError(f"PLAN.md: block plan:measured {identifier} is missing: restore it")
        if part.lines != lines:
            text = rewrite(text, part, lines)
            changed.append(identifier)
    if changed:
        storage.write_bytes(path, text.encode("utf-8"))
    return changed


def measured(project: Project) -> dict[str, list[str]]:
    """Return the lines of each measured block whose report is there."""
    found: dict[str, tuple[Report, str]] = {}
    result = {"OVERRIDES": _overrides(project)}
    for identifier, (name, describe) in SOURCES.items():
        path = project.path(f"reports/{name}.json")
        block = project.plan.blocks.get(identifier)
        if block is None or not block.measured or not path.exists():
            continue
        if name not in found:
            found[name] = storage.read_json(path, Report), storage.sha256(path)[:6]
        report, file_hash = found[name]
        try:
            lines = [f"- {identifier} {line}" for line in describe(project, report)]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ProjectError(
                f"reports/{name}.json lacks what {identifier} needs ({error!r}): make it again"
            ) from None
        origin = f"measured by run {report.get('run') or 'none'}, {name}.json {file_hash}"
        seal = short_hash([*lines, origin])
        result[identifier] = [*lines, f"_{identifier} {origin}, seal {seal}_"]
    return result


def sealed(identifier: str, lines: list[str]) -> bool:
    """Say whether `lines` are what `run` once wrote, or what the template did."""
    if identifier == "OVERRIDES":
        return True
    if len(lines) == 1 and lines[0].startswith(f"_{identifier} not measured yet: run `ml "):
        return True
    match = SEAL.fullmatch(lines[-1]) if lines else None
    if match is None or match[1] != identifier:
        return False
    origin = lines[-1].removeprefix(f"_{identifier} ").rpartition(", seal ")[0]
    return match[2] == short_hash([*lines[:-1], origin])


def _overrides(project: Project) -> list[str]:
    plan = project.plan
    lines = []
    for identifier, override in sorted(plan.overrides.items()):
        lines.append(
            f"- OVERRIDES {identifier} {plan.blocks[identifier].title}: {_values(override.value)} "
            f"in place of {_values(plan.decisions[identifier].value)}: {escape(override.reason)}"
        )
    return lines or [NO_OVERRIDES]


def _values(value: Any) -> str:
    return ", ".join(map(code, value if isinstance(value, list) else [value]))


def _data_quality(project: Project, report: Report) -> list[str]:
    broken = sorted(report["rules"].items(), key=lambda item: -item[1])[:1]
    missing = sorted(report["missing_share"].items(), key=lambda item: -item[1])[:1]
    return [
        f"measured: {_number(report['rows'])} rows, {_number(report['rejected'])} rejected "
        f"({_percent(report['rejected_share'])}"
        + "".join(f", most for {code(rule)}" for rule, _ in broken)
        + f"), {_number(report['duplicates'])} duplicates, score {_number(report['score'], 3)}"
        + "".join(f"; most missing: {code(c)} {_percent(s)}" for c, s in missing if s)
    ]


def _profile(project: Project, report: Report) -> list[str]:
    leaks = [f"{code(leak['column'])}: {escape(leak['reason'])}" for leak in report["leakage"]]
    more = f"; {len(leaks) - 3} more" if len(leaks) > 3 else ""
    strongest = max(report["correlations"], key=lambda item: abs(item[2]), default=None)
    return [
        f"leakage: {'; '.join(leaks[:3]) + more if leaks else 'no column is suspected'}",
        f"measured: {len(report['columns'])} columns"
        + (
            f", the strongest correlation is {_number(strongest[2], 2)} between "
            f"{code(strongest[0])} and {code(strongest[1])}"
            if strongest
            else ""
        ),
    ]


def _split(project: Project, report: Report) -> list[str]:
    split = report["split"]
    parts = " and ".join(
        f"{_number(split[f'{part}_rows'])} {part} rows "
        f"({_number(split[f'{part}_positives'])} positive)"
        for part in ("development", "test")
    )
    notes = "".join(f"; {escape(note)}" for note in split.get("notes", []))
    return [f"measured: {parts}, {report['cv']['folds']} folds{notes}"]


def _models(project: Project, report: Report) -> list[str]:
    metric = report["primary_metric"]
    candidates = ", ".join(
        f"{code(name)} {_number(values[metric], 4)} in {_number(values['fit_seconds'], 1)} s"
        for name, values in report["candidates"].items()
        if name not in report["baselines"] or name == report["champion"]["name"]
    )
    baselines = ", ".join(
        f"{code(name)} {_number(v[metric], 4)}" for name, v in report["baselines"].items()
    )
    return [f"measured: {code(metric)} of {candidates}; baselines {baselines}"]


def _result(project: Project, report: Report) -> list[str]:
    metric, champion, gate = report["primary_metric"], report["champion"], report["gate"]
    value = champion["metrics"][metric]
    verdict = "passed" if gate["passed"] else "failed: " + escape("; ".join(gate["reasons"]))
    return [
        f"measured: {code(champion['name'])} {champion['version']} has {code(metric)} "
        f"{_interval(value, 4)}, {_number(gate['gain'], 4)} more than {code(gate['against'])} "
        f"(at least {_number(gate['gain_low'], 4)}); gate {verdict}"
    ]


def _threshold(project: Project, report: Report) -> list[str]:
    champion, business = report["champion"], report["business"]
    found = champion["metrics"]
    counts = ", ".join(f"{name} {_number(n)}" for name, n in champion["confusion"].items())
    return [
        f"measured: threshold {_number(champion['threshold'], 4)} gives precision "
        f"{_interval(found['precision'], 3)} and recall {_interval(found['recall'], 3)} ({counts})",
        f"cost: {_money(business, 'cost_per_1000')} per 1 000 rows, without a model "
        f"{_money(business, 'cost_per_1000_baseline')}",
    ]


def _slices(project: Project, report: Report) -> list[str]:
    weakest = sorted(report["slices"], key=lambda item: (item["metric"] is None, item["metric"]))[
        :3
    ]
    shown = "; ".join(
        f"{code(s['column'])} = {code(s['level'])} {_interval({**s, 'value': s['metric']}, 3)}, "
        f"{_number(s['n'])} rows"
        for s in weakest
    )
    return [
        f"measured: {len(report['slices'])} slices; weakest: {shown or 'none was large enough'}"
    ]


def _calibration(project: Project, report: Report) -> list[str]:
    found = report["calibration"]
    return [
        f"measured: expected calibration error {_number(found['ece'], 4)}, "
        f"slope {_number(found['slope'], 2)} (1 is right)"
    ]


def _value(project: Project, report: Report) -> list[str]:
    found = report["business"]
    return [
        f"measured: {_money(found, 'value_per_year')} a year "
        f"({_money(found, 'value_low')} to {_money(found, 'value_high')}, 95 %) "
        "against the best decision without a model, at full use"
    ]


def _explanation(project: Project, report: Report) -> list[str]:
    top = ", ".join(
        f"{code(item['feature'])} {_number(item['importance'], 4)}" for item in report["global"][:5]
    )
    return [f"measured: most important are {top}"]


def _bench(project: Project, report: Report) -> list[str]:
    times, answers = report["single_row_ms"], project.plan.answers
    lines = [
        f"measured: one row in {_number(times['p50'], 2)} ms (p95 {_number(times['p95'], 2)}, "
        f"p99 {_number(times['p99'], 2)}), {_number(report['batch_rows_per_s'])} rows/s in batch, "
        f"model {_number(report['model_mb'], 1)} MB, memory {_number(report['memory_mb'])} MB, "
        f"start in {_number(report['cold_start_ms'])} ms"
    ]
    if "rest" in answers["deployment_modes"]:
        # Little's law as in DEP-02, with the measured time in place of the limit.
        busy = answers["peak_qps"] * times["p95"] / 1000
        lines.append(
            f"size: {max(2, math.ceil(busy / 0.6))} instances for {_number(answers['peak_qps'])} "
            "requests a second by the measured p95"
        )
    return lines


def _drift(project: Project, report: Report) -> list[str]:
    loud = [item for item in report["features"] if item["level"] in ("warn", "act")]
    names = ", ".join(f"{code(item['feature'])} ({item['level']})" for item in loud[:5])
    return [
        f"measured: level {code(report['level'])} on {_number(report['rows'])} rows of "
        f"{code(report['source'])}; drifting features: {names or 'none'}"
    ]


def _retraining(project: Project, report: Report) -> list[str]:
    reasons = "; ".join(map(escape, report["reasons"])) or "no limit is reached"
    return [f"measured: {'retrain' if report['decision'] else 'keep the model'}, {reasons}"]


def _number(value: float | None, digits: int = 0) -> str:
    if value is None:
        return "unknown"
    text = f"{value:,.{digits}f}".replace(",", " ")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share * 100:.3g} %"


def _interval(value: dict[str, Any], digits: int) -> str:
    low, high = _number(value["low"], digits), _number(value["high"], digits)
    return f"{_number(value['value'], digits)} ({low} to {high})"


def _money(business: Report, name: str) -> str:
    return f"{_number(business[name])} {escape(business['currency'])}"


SOURCES: dict[str, tuple[str, Callable[[Project, Report], list[str]]]] = {
    "VAL-02": ("metrics", _value),
    "DATA-02": ("data_quality", _data_quality),
    "DATA-03": ("profile", _profile),
    "MOD-02": ("metrics", _models),
    "TRAIN-01": ("training", _split),
    "EVAL-03": ("metrics", _result),
    "EVAL-05": ("metrics", _threshold),
    "EVAL-06": ("metrics", _slices),
    "EVAL-07": ("metrics", _calibration),
    "EXPL-01": ("explain", _explanation),
    "DEP-02": ("bench", _bench),
    "MON-01": ("drift", _drift),
    "MON-03": ("retrain", _retraining),
}
