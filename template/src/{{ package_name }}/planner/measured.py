"""What the measured parts of PLAN.md say: sentences made of reports/*.json."""

import math
import re
import string
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ..engine import storage, task
from ..engine.errors import ProjectError
from ..engine.formats import UNKNOWN, count, number, percent
from ..engine.settings import Number, Plan, Project
from . import evidence, quantities, sentences, sourced
from .blocks import (
    RESULTS,
    ROW,
    code,
    escape,
    meaning,
    meaning_hash,
    same,
)
from .compared import DRIFT, OF_TEST_SET, REPORTS, interval, more
from .compared import report as of_run

Report = dict[str, Any]
# Where a measurement comes from stands hidden behind it, in a table with the id of its block.
SEAL = re.compile(
    r"<!-- (?:([A-Z]+-\d+) )?run [^\s,]+(?:, (?:run [^\s,]+|\S+ [0-9a-f]{6}))*, "
    r"seal ([0-9a-f]{6}) -->"
)
MADE_UP = "measured on made-up data:"  # of the sample: it proves the pipeline, not the case
NO_OVERRIDES = (
    "No override: every decision is the one its rule gives."  # unseen, the same at each depth
)
INSTEAD = "The team decided otherwise than the rules:"
TABLE = ["| Choice | Measured |", "|---|---|"]
LACKING = (KeyError, TypeError, ValueError, IndexError, AttributeError)  # of another form
SHOWN, DESCRIBED = 25, 10  # features whose gain is told, and those made that are described
ALWAYS = ("OVERRIDES", "GATES")  # what they show is known without a run

# The report of each block and what is said of it. `{x:2}` is a number with at most 2 decimals,
# `{x:%}` a share, `{x:code}` a name, `{x:name}` a model or metric in words, `{x:ci3}` a value with
# its interval; names without a type are made by MADE.
OF_GROUPS = {
    "selection_rate": "share with a positive decision",
    "false_positive_rate": "share of false alarms among negatives",
}
TEXTS: dict[str, tuple[str, str]] = {
    "VAL-02": (
        "metrics",
        "{worth}",
    ),
    "DATA-02": (
        "data_quality",
        "measured: {rows:0} rows, {rejected:0} rejected ({rejected_share:%}{broken}), "
        "{duplicates:0} duplicates{kept}, score {score:3}{missing}{made}",
    ),
    "DATA-03": (
        "profile",
        "leakage: {leaks}\nmeasured: {width} columns{strongest}{far}{proxies}{together}",
    ),
    "FEAT-03": ("training", "measured: {looks_back}"),
    "PLAT-02": ("training", "measured: {machine}"),
    "MOD-04": (
        "training",
        "measured: {chosen:name}, {primary_metric:name} {own[score]:4} over {tested}, spread "
        "{spread:4}{selected}",
    ),
    "MOD-02": ("metrics", "measured: {primary_metric:name} of {tried}; baselines {plain}"),
    "MOD-06": ("bench", "measured: points of 1 over all criteria: {totals}{differs}"),
    "EVAL-03": (
        "metrics",
        "measured: {champion[name]:name} {champion[version]:code} has {primary_metric:name} "
        "{result:ci4}{unit}, {gained} {gate[against]:name} (95 % interval of the {difference}: "
        "{gate[gain_low]:4} to {gain_high:4}); gate {verdict}",
    ),
    "EVAL-06": (
        "metrics",
        "measured: {width} slices by {primary_metric:name}; weakest: {weakest}{least}{gaps}",
    ),
    "EXPL-01": ("explain", "measured: most important are {top}{every}{own}"),
    "DEP-02": (
        "bench",
        "measured: one row in {single_row_ms[p50]:2} ms (p95 {single_row_ms[p95]:2}, p99 "
        "{single_row_ms[p99]:2}), {batch_rows_per_s:0} rows/s in batch, model {model_mb:2} MB, "
        "memory {memory_mb:0} MB, start in {cold_start_ms:0} ms{size}",
    ),
    "MON-01": (
        "drift",
        "measured: drift {judged} on {rows:0} rows of {where}{loud}{overruled}",
    ),
    "MON-03": ("retrain", "measured: {verdict}, {why}"),
    "ALT-01": ("progress", "{lines[ALT-01]}"),
    "TEAM-02": ("progress", "{lines[TEAM-02]}"),
    "SCHED-01": ("progress", "{lines[SCHED-01]}"),
    "BUD-01": ("progress", "{lines[BUD-01]}"),
    "DATA-05": ("sources", "{told}"),
    "EVAL-08": ("experiment", "measured: {told}"),
    **sentences.TEXTS,
}
# What only some ways to deliver measure, a module of their own says, after the rest of a block.
OWN = [
    import_module(f".{path.stem}", __package__)
    for path in sorted(Path(__file__).parent.glob("measured_*.py"))
]


def amount(given: Number) -> str:
    """Write a computed number with its unit, in the figures that a decision needs."""
    if given.value is None:
        return "none"
    if isinstance(given.value, bool):
        return "yes" if given.value else "no"
    if given.unit.startswith("share"):
        return f"{percent(given.value)}{given.unit.removeprefix('share')}"
    written = number(given.value)
    if given.unit == "month":  # which one: how many are "months"
        return f"month {written}"
    unit = re.sub(r"^(?!times)(\w+)s\b", r"\1", given.unit) if written == "1" else given.unit
    return f"{written} {unit}".strip()


def figures(project: Project) -> Any:
    """Return the module for the team's own figures, or None: the light plan has none."""
    there = project.path("plan/progress.yaml").exists()
    return import_module(".progress", __package__) if there else None


def measured(project: Project) -> dict[str, list[str]]:
    """Return the lines of each measured block whose report is there."""
    found: dict[str, tuple[Report, str]] = {}
    old: dict[str, str] = {}
    told: dict[str, list[tuple[list[str], str]]] = {}
    texts = [*TEXTS.items(), *(item for module in OWN for item in module.TEXTS.items())]
    for identifier, (name, text) in texts:
        path = project.path(f"reports/{name}.json")
        if identifier not in project.plan.blocks or not path.exists():
            continue
        try:
            if name not in found:
                report = storage.read_json(path, Report)
                found[name] = report | MADE[name](report, project), storage.sha256(path)[:6]
            report, file_hash = found[name]
            said = Writer(project.plan).vformat(text, (), report)
        except LACKING as error:
            old.setdefault(f"reports/{name}.json", f"{identifier} needs {error}")
            continue
        if report.get("made_up"):
            said = said.replace("measured:", MADE_UP, 1)
        lines = [_sentence(line) for line in said.split("\n")]
        origin = f"run {report.get('run') or 'none'}, {name}.json {file_hash}"
        told.setdefault(identifier, []).append((lines, origin))
    if old:
        lacks = "; ".join(f"{name} ({why})" for name, why in old.items())
        raise ProjectError(
            f"made for another task or by an earlier version: {lacks}: `ml run` makes "
            f"{'them' if len(old) > 1 else 'it'} again"
        )
    blocks = {identifier: _block(project, identifier, each) for identifier, each in told.items()}
    return {"OVERRIDES": _overrides(project), **blocks, **_evidence(project)}


def _block(project: Project, identifier: str, told: list[tuple[list[str], str]]) -> list[str]:
    """Return the lines of a block, of what each report tells and of its origin."""
    block = project.plan.blocks[identifier]
    if block.row:
        words = " ".join(line for lines, _ in told for line in lines)
        origins = ", ".join(origin for _, origin in told)
        return _seal([f"| {block.title} | {words} <!-- {identifier} {origins} --> |"])
    found: list[str] = []
    for lines, origin in told:
        if lines[-1].startswith("|"):  # a table
            found += [*lines, f"<!-- {origin} -->"]
        else:
            found += [*lines[:-1], f"{lines[-1]} <!-- {origin} -->"]
    return _seal(found)


def _sentence(line: str) -> str:
    if line.startswith(("|", "<!--")):  # a table
        return line
    return line[:1].upper() + line[1:] + "." * (line[-1:] not in ".!?")


def _seal(lines: list[str]) -> list[str]:
    """Add to the origin, in the last line, a hash of what the lines say."""
    head, _, tail = lines[-1].rpartition(" -->")
    return [*lines[:-1], f"{head}, seal {meaning_hash(lines)} -->{tail}"]


def _evidence(project: Project) -> dict[str, list[str]]:
    """Return verdict and evidence; nothing where no report is, such as in a fresh clone."""
    names = [name for name in REPORTS if name != "progress"]  # people's, in every clone
    if not any(project.path(f"reports/{name}.json").exists() for name in names):
        return {}
    run = of_run(project, "metrics").get("run") or "none"
    return {"VERDICT": _seal([*evidence.lines(project), f"<!-- run {run} -->"])}


def sealed(identifier: str, lines: list[str]) -> bool:
    """Say whether `lines` are what `run` once wrote, or what the template did."""
    said = meaning(lines)
    empty = r"<em>Not measured yet: .*</em>"
    empty += rf"|\|.*\| not measured yet: run .* <!-- {identifier} --> \|"
    if identifier in ALWAYS or re.fullmatch(empty, said):
        return True
    if identifier == RESULTS:
        return same([line for line in lines if not ROW.match(line)], TABLE)
    match = SEAL.search("\n".join(lines))
    if match is None or match[1] not in (None, identifier):
        return False
    return match[2] == meaning_hash([line.replace(f", seal {match[2]}", "") for line in lines])


class Writer(string.Formatter):
    """Format strings with the types of TEXTS; what is null in a report is "unknown"."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def format_field(self, value: Any, spec: str) -> str:
        """Write one value."""
        if value is None:
            return UNKNOWN
        if spec == "code":
            return code(value)
        if spec == "name":
            return escape(self.plan.named(value))
        if spec == "%":
            return percent(value)
        if spec == "share":
            return interval(value, share=True)
        if spec.startswith("ci"):
            parts = [self.format_field(value[name], spec[2:]) for name in ("value", "low", "high")]
            return "{} ({} to {})".format(*parts)
        return number(value, int(spec)) if spec else str(value)


def overridden(plan: Plan, identifier: str) -> str:
    """Say what the team decided in place of a rule, why, and what follows; "" if it did not."""
    taken = plan.overrides.get(identifier)
    if taken is None:
        return ""
    decision = plan.decisions[identifier]
    given, chosen = (escape(decision.said(value)) for value in (decision.value, taken.value))
    text = f"{chosen} in place of {given}: {escape(taken.reason)}"
    if taken.limit is not None:
        text += f"; its limit is {number(taken.limit, 4)}"
    if identifier == "MON-03":
        interval, oldest = (plan.number(identifier, name) for name in ("interval", "max_age_days"))
        limits = (
            f"check every {count(interval, 'day')}, a model is old after {count(oldest, 'day')}"
        )
        text += f"; {limits}"
    return text


def _overrides(project: Project) -> list[str]:
    plan = project.plan
    lines = [
        f"- {plan.blocks[identifier].title}: {overridden(plan, identifier)} <!-- {identifier} -->"
        for identifier in sorted(plan.overrides)
    ]
    return [INSTEAD, *lines] if lines else [f"<!-- {NO_OVERRIDES} -->"]


def _data_quality(report: Report, project: Project) -> Report:
    broken = max(report["rules"].items(), key=lambda item: item[1], default=None)
    column, share = max(report["missing_share"].items(), key=lambda item: item[1], default=("", 0))
    own = ", ".join(map(code, report.get("added", [])))
    made = f"; made by columns.py, so that each caller sends it: {own}" if own else ""
    if report.get("without_consent"):
        made += f"; {count(report['without_consent'], 'row')} without consent never taken in"
    if report.get("warnings"):
        rule, doubted = max(report["warnings"].items(), key=lambda item: item[1])
        made += f"; {count(doubted, 'row')} kept in doubt for {escape(rule)}"
    # What a rule finds of rows that are there twice it takes out.
    out = any(re.search("duplicate|unique", rule) for rule in report["rules"])
    kept = report["duplicates"] and not out
    return {
        "made": made,
        "kept": " (all kept: no primary key of the contract tells which rows are one)" * bool(kept),
        "broken": f", most for {escape(broken[0])}" if broken else "",
        "missing": f"; most missing: {code(column)} {percent(share)}" if share else "",
    }


def _profile(report: Report, project: Project) -> Report:
    leaks = [f"{code(leak['column'])}: {escape(leak['reason'])}" for leak in report["leakage"]]
    more = [f"{len(leaks) - 3} more"] if len(leaks) > 3 else []
    pair = max(report["correlations"], key=lambda item: abs(item[2]), default=None)
    strongest = pair and f"{number(pair[2], 2)} between {code(pair[0])} and {code(pair[1])}"
    return {
        "far": _far(report["columns"]),
        "proxies": proxies(report.get("proxies", [])),
        "together": together(report.get("together", {}).get("found", [])),
        "leaks": "; ".join(leaks[:3] + more) or "no feature is suspected",
        "width": len(report["columns"]),
        "strongest": f", the strongest correlation is {strongest}" if pair else "",
    }


def proxies(found: list[Report]) -> str:
    """Name the features that alone tell best who is in a group of people (FAIR-01)."""
    told = (
        f"{code(item['feature'])} for {code(item['column'])} {escape(item['level'])} "
        f"({number(item['auc'], 2)})"
        for item in found[:3]
    )
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"\nstand for a group of people, 0.5 is chance: {', '.join(told)}{more}" if found else ""


def together(found: list[Report]) -> str:
    """Name the columns that together leave most people alone in their group."""
    told = (
        f"{percent(item['alone'])} by {', '.join(map(code, item['columns']))}" for item in found[:3]
    )
    said = "; ".join(told)
    return f"\npeople alone in their group, though no column is a name: {said}" if found else ""


def _far(columns: dict[str, Report]) -> str:
    """Name the columns with the most far values, and what models that add up need for them."""
    found = {name: facts.get("outliers", {}) for name, facts in columns.items()}
    features = {name for name, facts in columns.items() if facts.get("role") == "feature"}
    far = {name: item for name, item in found.items() if name in features and item.get("share")}
    most = sorted(far, key=lambda name: -far[name]["share"])[:3]
    treat = {name: f" ({far[name]['treat']})" if task.TREATS_FAR else "" for name in most}
    named = (f"{code(name)} {percent(far[name]['share'])}{treat[name]}" for name in most)
    return f"; far values, {task.FAR_VALUES}: {', '.join(named)}" if most else ""


def _training(report: Report, project: Project) -> Report:
    behind = report.get("selection", {}).get("behind", {})
    gaps = (
        f"; {escape(project.plan.named(name))} is behind the best by {number(gap['mean'], 4)}, "
        f"standard error {number(gap['se'], 4)}"
        for name, gap in behind.items()
        if gap["mean"] > 0
    )
    small = report.get("selection", {}).get("gains_too_little", [])
    least = number(project.plan.answers["min_gain"], 4)
    less = f"; less than {least} better than a simpler baseline: " if small else ""
    less += ", ".join(escape(project.plan.named(name)) for name in small)
    why = {"blend": "one of its members has all the weight", "stack": "it needs two others"}
    for name in report.get("plan", {}).get("candidates", ()):
        if name in why and name not in report["candidates"]:
            named = escape(project.plan.named(name))
            less += f"; {named} is no further model, as {why[name]}"
    notes = "".join(f"; {escape(note)}" for note in report["split"].get("notes", []))
    past = [item for item in report.get("made", []) if "by" in item]
    keys = ", ".join(sorted({code(item["by"]) for item in past}))
    names = ", ".join(code(item["feature"]) for item in past)
    looks_back = "no state is needed because no feature looks back"
    if past:
        looks_back = f"{names} look back by {keys}; `ml features build` builds their state again"
    cv, chosen = report["cv"], report["chosen"]
    times = cv.get("repeats", 1)
    tested = f"{times} times {cv['folds']} folds" if times > 1 else count(cv["folds"], "fold")
    return {
        "notes": notes,
        "selected": "".join(gaps) + less,
        "looks_back": looks_back,
        "machine": _machine(report.get("use"), project.plan.answers["n_rows"])
        + _cost(report.get("use"), project.plan.answers),
        "own": report["candidates"][chosen],
        "tested": tested,
        "spread": cv.get("spread", {}).get(chosen),  # of the repeats, or of the folds
    }


def _machine(use: Report | None, planned: int) -> str:
    """Say what training used, and the memory to plan: twice that, by rows where it saw enough."""
    if use is None or use["peak_mb"] is None:
        return "the memory is unknown"
    rows, memory = use["rows"], 2 * use["peak_mb"] / 1000
    told = (
        f"{count(rows, 'row')} took {number(use['peak_mb'])} MB at most and "
        f"{number(use['cpu_seconds'])} CPU-seconds on {count(use['processors'], 'processor')}; "
        f"with as much again in reserve {number(memory, 1)} GB"
    )
    if planned <= rows:
        return told
    if planned > 10 * rows:
        return f"{told}, which says nothing yet of {number(planned)} rows"
    return f"{told}, for {number(planned)} rows {number(memory * planned / rows, 1)} GB"


def _cost(use: Report | None, answers: dict[str, Any]) -> str:
    """Say what a training costs at the answered price of a machine, of its CPU seconds."""
    if use is None or "machine_price" not in answers:
        return ""
    price = use["cpu_seconds"] / 3600 * answers["machine_price"]
    return f"; such a training costs at most {number(price)} {escape(answers['currency'])}"


def _verdict(gate: Report) -> str:
    verdict = "passed" if gate["passed"] else "failed: " + "; ".join(gate["reasons"])
    return "; warning: ".join([verdict, *gate.get("warnings", [])])


def _succeeds(report: Report) -> str:
    """Say how the version does beside the champion before it; what is in doubt is a warning."""
    before = report.get("before") or {"value": None}
    good = before["value"] is not None and before["value"] >= 0
    return f"; {before['said']}" if good else ""


def _metrics(report: Report, project: Project) -> Report:
    metric, champion, gate = report["primary_metric"], report["champion"], report["gate"]
    named = project.plan.named
    plain = report["baselines"]
    tried = {
        name: values
        for name, values in report["candidates"].items()
        if name not in plain or name == champion["name"]
    }
    of_task = quantities.Evidence(project)
    worse = -1 if (loss := of_task.is_loss(metric)) else 1
    weakest = sorted(report["slices"], key=lambda item: worse * (item["metric"] or 0.0))[:2]
    return {
        "currency": escape(report["business"]["currency"]),
        "thousand": 1000,
        "result": champion["metrics"][metric],
        "verdict": escape(_verdict(gate) + _succeeds(report)),
        "unit": of_task.unit(metric),
        "gained": more(gate["gain"] and worse * gate["gain"], 4),
        "difference": "gain" if loss else "difference",
        "gain_high": gate.get("gain_high"),
        "plain": ", ".join(
            f"{escape(named(name))} {number(v[metric], 4)}" for name, v in plain.items()
        ),
        "tried": ", ".join(
            f"{escape(named(name))} {number(v[metric], 4)} in {number(v['fit_seconds'], 1)} s"
            for name, v in tried.items()
        ),
        "gaps": _gaps(report["slices"], project) + _fair(report, project),
        "width": len(report["slices"]),
        "least": _least(gate.get("worst_slice")),
        "weakest": "; ".join(
            f"{code(s['column'])} = {code(s['level'])} {number(s['metric'], 3)} "
            f"({number(s['low'], 3)} to {number(s['high'], 3)}), {number(s['n'])} rows"
            for s in weakest
        )
        or "none was large enough",
        **sentences.metrics(report, project),
    }


def _worse(by: float) -> str:
    """Say how much worse a metric is; below 0 it is better."""
    return f"{'better' if by < 0 else 'worse'} by {number(abs(by), 4)}"


def _least(worst: Report | None) -> str:
    """Say what the worst slice reaches of all rows."""
    if worst is None:
        return ""
    share, floor = percent(worst["share"]), percent(worst["floor"])
    if worst["share"] >= 1:
        return f"; none worse than all rows{worst.get('beside', '')} ({floor} asked)"
    where = f"{code(worst['column'])} = {code(worst['level'])}"
    as_good = f"{share} as good as all rows{worst.get('beside', '')}"
    return f"; the worst, {where}, is {as_good} ({floor} asked)"


def _fair(report: Report, project: Project) -> str:
    """Say which rate groups should share, how far they do, and what reweighing changed."""
    told = []
    if fair := report.get("fair"):
        rate = OF_GROUPS.get(fair["rate"]) or project.plan.named(fair["rate"])
        told.append(f"alike: {escape(rate)} is what groups should share, as {fair['why']}")
        told += [
            f"alike by {code(one['column'])}: ratio {number(one['ratio'], 2)} "
            f"({number(one['ratio_low'], 2)} to {number(one['ratio_high'], 2)})"
            + ("" if one["judged"] else ", from too few rows to judge")
            for one in fair["groups"]
        ]
    if again := report.get("reweighed"):
        metric = project.plan.named(report["primary_metric"])
        before, after = again["before"], again["after"]
        told.append(
            f"reweighed by {code(again['column'])}, out of fold: {escape(metric)} "
            f"{number(before['metric'], 3)} to {number(after['metric'], 3)}"
        )
        told += [
            f"{OF_GROUPS.get(name) or project.plan.named(name)}: smallest to largest ratio "
            f"{number(_ratio(before, name), 2)} before, {number(_ratio(after, name), 2)} after"
            for name in (before["groups"] or [{}])[0]
            if name not in ("level", "n")
        ]
    return "".join(f"\n{line}" for line in told)


def _ratio(side: Report, name: str) -> float | None:
    rates = [group[name] for group in side["groups"] if group.get(name)]
    return min(rates) / max(rates) if len(rates) > 1 else None


def _gaps(slices: list[Report], project: Project) -> str:
    """Say where a rate differs the most between groups, and whether the intervals are apart."""
    told = []
    for column in dict.fromkeys(item["column"] for item in slices if item.get("rates")):
        groups = [item for item in slices if item["column"] == column and item.get("rates")]
        found = []
        for name in groups[0]["rates"]:
            known = [g for g in groups if (g["rates"][name]["value"] or 0) > 0]
            if len(known) < 2:
                continue
            low, high = (
                pick(known, key=lambda g: g["rates"][name]["value"]) for pick in (min, max)
            )
            one, other = low["rates"][name], high["rates"][name]
            found.append((one["value"] / other["value"], name, low, high, one, other))
        for ratio, name, low, high, one, other in sorted(found, key=lambda item: item[0])[:2]:
            apart = "apart" if one["high"] < other["low"] else "not apart"
            told.append(
                f"\n{escape(OF_GROUPS.get(name) or project.plan.named(name))} by {code(column)}: "
                f"{number(one['value'], 2)} for {escape(low['level'])}, "
                f"{number(other['value'], 2)} for {escape(high['level'])}, "
                f"ratio {number(ratio, 2)}, intervals {apart}"
            )
    return "".join(told)


def _explain(report: Report, project: Project) -> Report:
    top = [f"{code(i['feature'])} {number(i['importance'], 4)}" for i in report["global"][:5]]
    own = [
        f"{code(i['feature'])} ({i['operator']} of {', '.join(map(code, i['of']))}; {_whose(i)}) "
        + (
            f"{number(i['gain'], 4)}, {number(i['microseconds'], 2)} µs a row"
            if "microseconds" in i
            else "seen by no chosen model"
        )
        for i in report.get("made", [])[:DESCRIBED]
    ]
    gains = [item["gain"] for item in report.get("made", [])]
    if others := len(gains) - len(own):
        less = max(gains[DESCRIBED:]) <= min(gains[:DESCRIBED])
        small = ", each of which gains no more than these" * less
        own.append(f"and {others} more{small}")
    found = report["global"]
    ours = {i["feature"] for i in report.get("made", [])}
    rest = [f"{code(i['feature'])} {number(i['importance'], 4)}" for i in found[5:SHOWN]]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    sent = [i for i in found if i["feature"] not in ours]
    idle = [code(i["feature"]) for i in sent if i["importance"] <= i.get("std", 0.0)]
    every = f"; then {', '.join(rest)}{more}" if rest else ""
    told = report.get("needless")
    if told and told["columns"]:
        mine = ["personal: " + ", ".join(map(code, told["personal"]))] * bool(told["personal"])
        every += (
            f"\nto leave out, as nobody needs to send them: "
            f"{', '.join(map(code, told['columns'][:SHOWN]))}; without all of them the metric "
            f"is {_worse(told['loss'])}, half of the smallest gain is "
            f"{number(told['limit'], 4)}{'; '.join(['', *mine])}"
        )
    elif idle and told is None:
        every += f"\nno more than chance, though callers send them: {', '.join(idle[:SHOWN])}"
    made = f"\nmade features, gain: {'; '.join(own)}" if own else ""
    return {"top": ", ".join(top), "every": every, "own": made}


def _whose(made: Report) -> str:
    """Say why a feature is made, and who answers for it."""
    owner, brings = made.get("owner"), ", ".join(map(code, made.get("brings", [])))
    also = f"; models see {brings} too" if brings else ""
    return escape(made["why"]) + also + (f"; owner {escape(owner)}" if owner else "")


def _bench(report: Report, project: Project) -> Report:
    answers, card = project.plan.answers, _card(report["scorecard"], project)
    if "peak_qps" not in answers:  # nobody waits for an answer
        return {"size": "", **card}
    # Little's law as in DEP-02, with the measured time in place of the limit.
    busy = answers["peak_qps"] * report["single_row_ms"]["p95"] / 1000
    qps = count(answers["peak_qps"], "request")
    return {"size": f"; {max(2, math.ceil(busy / 0.6))} instances for {qps} a second", **card}


def _card(card: Report, project: Project) -> Report:
    """Name the models by their points, the best first; say why MOD-04 took another one."""
    points = card["points"]
    order = sorted(points, key=lambda name: -points[name]["total"])
    named = {name: escape(project.plan.named(name)) for name in (*order, card.get("chosen", ""))}
    totals = ", ".join(f"{named[n]} {number(points[n]['total'], 2)}" for n in order)
    differs = ""
    if card.get("why"):
        differs = f"; MOD-04 took {named[card['chosen']]}, not {named[card['most']]}: {card['why']}"
    rated = [
        f"{named[name]} {rating['maintainability']} of 5 ({escape(rating['reason'])})"
        for name, rating in card.get("rated", {}).items()
    ]
    differs += f"; how well people keep it up: {', '.join(rated)}" if rated else ""
    return {"totals": totals, "differs": differs}


def _drift(report: Report, project: Project) -> Report:
    loud = [item for item in report["features"] if item["level"] in ("warn", "act")]
    itself = report["source"] == "test set"
    act = {"warn": "some", "act": "much"} if itself else {"warn": "look at it", "act": "act now"}
    named = []
    for item in loud[:5]:
        what = item.get("statistic", "distribution")
        which = "" if what == "distribution" else f"{what} values: "
        named.append(f"{code(item['feature'])} ({which}{act[item['level']]})")
    others = {
        "prediction": "predictions",
        "violations": "the contract",
        "performance": "the metric",
    }
    levels = {words: (report.get(name) or {}).get("level") for name, words in others.items()}
    named += [f"{words} ({act[level]})" for words, level in levels.items() if level in act]
    judged = (OF_TEST_SET if itself else DRIFT).get(report["level"], escape(report["level"]))
    where = "the test set, as no newer ones came" if itself else code(report["source"])
    told = ""
    if over := report.get("overruled"):
        share = "" if over["share"] is None else f", {percent(over['share'])} of the answers"
        told = f"; people overruled {count(over['count'], 'answer')}{share}"
    if (new := report.get("unknown")) and new["level"] in act:
        told += f"; {new['said']} ({act[new['level']]})"
    return {
        "judged": judged,
        "where": where,
        "loud": f": {', '.join(named)}" if named else "",
        "overruled": told,
    }


def _retrain(report: Report, project: Project) -> Report:
    why = "; ".join(map(escape, report["reasons"])) or "no limit is reached"
    return {"verdict": "retrain" if report["decision"] else "keep the model", "why": why}


MADE: dict[str, Callable[[Report, Project], Report]] = {
    "data_quality": _data_quality,
    "profile": _profile,
    "training": _training,
    "metrics": _metrics,
    "explain": _explain,
    "bench": _bench,
    "drift": _drift,
    "retrain": _retrain,
    "progress": lambda report, project: {},
    "experiment": lambda report, project: {},
    "sources": lambda report, project: {"told": sourced.told(report)},
    **{name: made for module in OWN for name, made in module.MADE.items()},
}
