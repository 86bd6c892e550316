"""Say what the plan lacks, what is stale and what contradicts the reports; count it."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from ..engine import audit, folds, storage, task
from ..engine.data import consent, contract, sources
from ..engine.errors import CheckFailed, ProjectError
from ..engine.formats import count, number, percent
from ..engine.settings import WAIVER, Plan, Project, load_yaml
from . import evidence, gates, grounds, links, measured, sourced
from .answers import plain
from .blocks import (
    SIGNATURES,
    Part,
    Parts,
    Problem,
    current_day,
    nobody,
    nothing,
    read,
    read_date,
    same,
    survey,
)
from .compared import report
from .gates import Finding
from .signing import self_approved, shown, signers, stale

GATES = ("G0", "G1", "G2", "G3", "G4", "G5", "G6")
# The reports that say which facts of the plan they were made with, and where that is told.
MADE_WITH = {
    "training": "TRAIN-01",
    "metrics": "EVAL-03",
    "explain": "EXPL-01",
    "bench": "DEP-02",
    "drift": "MON-01",
    "retrain": "MON-03",
}
COLUMNS = ("open", "written", "approved", "rejected", "overdue", "measured", "unmeasured")
# Operators of features.py that far values do not pass unchanged.
TREATING = ("Bin", "Clip", "Log1p", "Power", "Scale", "Winsorise")
MUCH = 0.001  # of a column's values that are far out: fewer hardly move a coefficient


def check(project: Project, gate: str | None = None) -> list[Finding]:
    """Return every finding; with a gate, what it still needs is an error."""
    if gate is not None and gate not in GATES:
        raise ProjectError(f"no gate {gate!r}: give one of {', '.join(GATES)}")
    text = read(project.path("PLAN.md"))
    parts, broken = survey(text)
    found = _found(project, text, parts, broken, gate)
    if gates.written(parts):
        last = found if gate == GATES[-1] else _found(project, text, parts, broken, GATES[-1])
        if gates.stale(project.plan, parts, last):
            message = "its states or open questions are others by now: run `ml plan sync`"
            found.append(Finding("warning", gates.NAME, message))
    return found


def _found(
    project: Project, text: str, parts: Parts, broken: list[Problem], gate: str | None
) -> list[Finding]:
    waived = {i for i, waiver in project.plan.waivers.items() if waiver.until >= current_day()}
    until = GATES[: GATES.index(gate) + 1] if gate else ()
    due = {i for i, b in project.plan.blocks.items() if b.gate in until and i not in waived}
    return [
        *(Finding(problem.level, problem.identifier, problem.message) for problem in broken),
        *_generated(project.plan, parts, broken),
        *_waivers(project.plan),
        *_ratings(project),
        *_measured(project, parts, due),
        *_human(project.plan, parts, due, {problem.identifier for problem in broken}),
        *signers(project, parts),
        *_evidence(project, due | (_claimed(project, parts) - waived)),
        *_contract(project, due),
        *_privacy(project, due),
        *_kept(project),
        *_in_use(project),
        *(Finding("error", "RISK-01", said) for said in audit.problems(project)),
        *sourced.check(project, due),
        *_settings(project),
        *_leaks(project, parts),
        *_outliers(project),
        *_decisions(project, due),
        *_links(project, text, parts),
        *_figures(project, due),
    ]


def run(project: Project, *, gate: str | None, as_json: bool) -> None:
    """Print the findings; CheckFailed when one is an error."""
    found = check(project, gate)
    errors = sum(finding.level == "error" for finding in found)
    if as_json:
        rows = [{**f._asdict(), "gate": _gate_of(project, f.id)} for f in found]
        typer.echo(msgspec.json.encode({"errors": errors, "findings": rows}).decode())
    else:
        for finding in found:
            if finding.level != "todo":
                typer.echo(f"{finding.level}: {finding.id}: {finding.message}")
        todo = [finding for finding in found if finding.level == "todo"]
        if todo or not errors:
            _print_todo(project, todo)
    if errors:
        raise CheckFailed(f"PLAN.md: {errors} error{'s' if errors > 1 else ''}")


def gate(project: Project, name: str) -> None:
    """Print what a gate still needs, with who waived what; CheckFailed when it is closed."""
    states = gates.states(project.plan, check(project, GATES[-1]))
    if name not in states:
        raise ProjectError(f"no gate {name!r}: give one of {', '.join(GATES)}")
    needed = [f for gate, state in states.items() if gate <= name for f in state.needs]
    for finding in [*needed, *_waivers(project.plan)]:
        if finding.level != "error" or finding in needed:
            typer.echo(f"{finding.id}: {finding.message}")
    if needed:
        count = f"{len(needed)} thing{'s' * (len(needed) > 1)}"
        raise CheckFailed(
            f"{name} is closed: {count} above {'are' * (len(needed) > 1) or 'is'} left"
        )
    typer.echo(f"{name} is open")


def counts(project: Project) -> dict[str, dict[str, int]]:
    """Count, for each gate, blocks that are open, written, signed, overdue and measured."""
    parts, _ = survey(read(project.path("PLAN.md")))
    today = current_day().isoformat()
    found = {gate: Counter[str]() for gate in GATES}
    for identifier, block in project.plan.blocks.items():
        count = found[block.gate]
        human = parts.get(("human", identifier))
        if human is not None and block.applies:
            signed = human.attributes.get("status", "")
            signed = signed if signed in SIGNATURES else "written"
            count["open" if human.open else signed] += 1
            count["overdue"] += human.attributes.get("due", "none") < today
        part = parts.get(("measured", identifier))
        if block.measured and (part is not None or block.row) and "-" in identifier:
            count["unmeasured" if part is None or _placeholder(part) else "measured"] += 1
    return {gate: {name: count[name] for name in COLUMNS} for gate, count in found.items() if count}


def status(project: Project, as_json: bool) -> None:
    """Print the counts; as JSON also what the team's own figures say of weeks and money."""
    rows = counts(project)
    if as_json:
        told = report(project, "progress")
        work = {name: told[name] for name in ("schedule", "money") if name in told}
        typer.echo(msgspec.json.encode({"gates": rows, **work}).decode())
        return
    table = Table("gate", *COLUMNS)
    for gate, row in rows.items():
        table.add_row(gate, *(str(row[name]) for name in COLUMNS))
    Console(markup=False, highlight=False).print(table)


def _generated(plan: Plan, parts: Parts, broken: list[Problem]) -> Iterator[Finding]:
    lost = {problem.identifier for problem in broken}
    for identifier, block in plan.blocks.items():
        for kind, needed in (
            ("auto", block.lines and not block.row),
            ("measured", block.measured and not block.row),
            ("human", block.human),
        ):
            if needed and (kind, identifier) not in parts and identifier not in lost:
                message = f"its plan:{kind} block is missing: restore it with git"
                yield Finding("error", identifier, message)
        auto = parts.get(("auto", identifier))
        human = parts.get(("human", identifier))
        if human is not None and not _asks(human, block.question):
            message = "its question was edited by hand: restore it with git"
            yield Finding("error", identifier, message)
        if auto is not None and not same(auto.lines, block.lines):
            message = (
                "its auto block was edited by hand: restore it with git, and change the answer "
            )
            yield Finding("error", identifier, message + "with `ml update --data NAME=VALUE`")
        if auto is not None and not block.row and "-" in identifier and auto.place != identifier:
            message = f"its heading `### {block.title} <!-- {identifier} -->` is not there: restore"
            yield Finding("warning", identifier, f"{message} it with git")
    for (kind, identifier), part in parts.items():
        if identifier not in plan.blocks:
            place = part.place if part.place in plan.blocks else identifier
            message = f"plan/plan.yaml knows no block plan:{kind} {identifier}: delete it"
            yield Finding("error", place, message)


def _asks(human: Part, question: str) -> bool:
    """Say whether the quote above a human part is its question, however it is laid out."""
    asked, wanted = (re.findall(r"\w+", text) for text in (human.question, question))
    return asked == wanted


def _unmeasured(command: str) -> str:
    """Say which command measures; one of them asks for a version that is live."""
    live = ", once a version is live" if command == "ml bench" else ""
    return f"not measured yet: run `{command}`{live}"


def _measured(project: Project, parts: Parts, due: set[str]) -> Iterator[Finding]:
    expected = measured.measured(project)
    for identifier, block in project.plan.blocks.items():
        part = parts.get(("measured", identifier))
        level = "error" if identifier in due else "warning"
        if part is None and block.row and identifier in expected:
            yield Finding("error", identifier, "its measurement is missing: run `ml plan sync`")
        elif part is None and block.row and block.measured:
            yield Finding(level, identifier, _unmeasured(block.measured))
        elif part is None or not block.measured:
            continue
        elif not measured.sealed(identifier, part.lines):
            message = "its measured block was edited by hand: run `ml plan sync`"
            yield Finding("error", identifier, message)
        elif not same(part.lines, expected.get(identifier, part.lines)):
            yield Finding("error", identifier, "what it shows has changed: run `ml plan sync`")
        elif _placeholder(part) and "-" in identifier:
            yield Finding(level, identifier, _unmeasured(block.measured))
        elif identifier == "DATA-02" and measured.MADE_UP in " ".join(part.lines).lower():
            yield Finding(level, identifier, "the data are made up: set data.source in config.yaml")


def _human(plan: Plan, parts: Parts, due: set[str], broken: set[str]) -> Iterator[Finding]:
    today = current_day()
    # Where the law asks for evidence, a signature is one.
    unsigned = "error" if plan.answers.get("plan_depth") == "regulated" else "warning"
    for identifier, block in plan.blocks.items():
        part = parts.get(("human", identifier))
        if part is None or not block.applies:
            continue
        marks = part.attributes
        if marks.get("status") == "rejected":
            # A "no" holds in every depth, until somebody changes the block and signs again.
            level = "error" if identifier in due else "warning"
            yield Finding(level, identifier, "was rejected: change it and have it approved")
        elif part.open:
            said = block.question
            if marks["status"] == "not needed":
                said = f"is said to be not needed, and not why: {said}"
            yield Finding("error" if identifier in due else "todo", identifier, said)
        elif marks.get("status") != "approved" and identifier in due and identifier not in broken:
            message = f"is not signed yet: `ml plan approve {identifier} --by @name`"
            yield Finding(unsigned, identifier, message)
        if not part.open and marks.get("owner", "none") == "none":
            owned = identifier in due and block.gate == gates.OWNED
            message = "has no owner: write a name behind `Owner:`"
            yield Finding("error" if owned else "warning", identifier, message)
        date = read_date(marks.get("due", "none"))
        if marks.get("due", "none") != "none" and date is None:
            message = f"due {marks['due']} is no date: write {_offered(marks['due'])}"
            yield Finding("warning", identifier, message)
        elif date is not None and date < today:
            yield Finding("warning", identifier, f"was due on {date}")
        if marks.get("status") == "approved":
            if old := stale(plan, parts, part):
                yield old
            if self_approved(part):
                yield Finding("warning", identifier, f"{marks['by']} owns it and approved it")


def _contract(project: Project, due: set[str]) -> Iterator[Finding]:
    try:
        agreed = contract.read(project.contract_path)
    except ProjectError as error:
        yield Finding("error", "DATA-01", str(error))
        return
    if problem := contract.contradiction(agreed, project.plan.answers):
        yield Finding("error", "DATA-01", problem)
    if problem := agreed.target.contradiction(project.plan.answers):
        yield Finding("warning", "DATA-02", problem)
    if problem := contract.of_nobody(agreed, project.plan.answers):
        yield Finding("warning", "PRIV-01", problem)
    yield from grounds.check(project, agreed, due)


def _privacy(project: Project, due: set[str]) -> Iterator[Finding]:
    """Tell of consent that the contract does not ask for, and of an address without TLS."""
    decided = project.plan.decisions.get("PRIV-04")
    if decided and decided.value == "with_consent":
        try:
            lacks = consent.of(project.contract_path) is None
        except ProjectError as error:
            yield Finding("error", "PRIV-04", str(error))
        else:
            if lacks:
                message = f"consent is the ground, but the contract names no column: {consent.FORM}"
                yield Finding("error" if "PRIV-04" in due else "warning", "PRIV-04", message)
    uri = project.config.training.tracking_uri
    here = r"http://(localhost|127\.0\.0\.1|\[::1\])([:/]|$)"
    if "SEC-01" in project.plan.blocks and uri.startswith("http://") and not re.match(here, uri):
        message = "training.tracking_uri of config.yaml is not https: runs travel in the clear"
        yield Finding("warning", "SEC-01", message)


class _Model(msgspec.Struct):
    version: str
    trained_on_them: str


class _Certificate(msgspec.Struct):
    kind: str
    at: str
    models: list[_Model]


def _loaded(project: Project) -> str:
    """Return the day since which the snapshot is here: where rows have no time, they are older."""
    path = sources.in_use(project)
    return storage.written_on(path).isoformat() if path else ""


def _kept(project: Project) -> Iterator[Finding]:
    """Tell of rows past their retention, and of a champion that learnt from rows now erased."""
    plan = project.plan
    identifier = "DATA-04" if "DATA-04" in plan.blocks else "PRIV-01"
    months = int(plan.answers.get("retention_months") or 0)
    quality = report(project, "data_quality")
    days = [file.stem for file in project.path("data/predictions").glob("????-??-??.jsonl")]
    if not quality.get("made_up"):
        days += [quality.get("oldest") or _loaded(project)]
    oldest = min(filter(None, map(read_date, days)), default=None)
    if months and oldest and (over := _months(oldest, current_day()) - months) > 0:
        message = (
            f"rows of {oldest} are kept {count(over, 'month')} longer than the plan says: "
            "`ml retain` deletes them"
        )
        yield Finding("warning", identifier, message)
    champion = _champion(project)
    for path in sorted(project.path("reports/erased").glob("forget-*.json")):
        found = storage.read_json(path, _Certificate)
        if champion in [m.version for m in found.models if m.trained_on_them == "yes"]:
            message = (
                f"{champion} learnt from rows of a person who was forgotten on {found.at[:10]}: "
                "`ml run` trains without them"
            )
            yield Finding("warning", "PRIV-01", message)
            return


def _in_use(project: Project) -> Iterator[Finding]:
    """Tell where the plan measures another version than the one in use, as after a rollback."""
    champion, metrics = _champion(project), report(project, "metrics")
    told = metrics.get("version")
    if champion and told != champion and metrics.get("gate", {}).get("passed"):
        message = (
            f"tells of {told}, while {champion} is in use: `ml evaluate {champion}` and `ml plan "
            "sync` show that one"
        )
        yield Finding("warning", "EVAL-03", message)


def _champion(project: Project) -> Any:
    path = project.path("models/registry.json")
    return storage.read_json(path, dict[str, Any]).get("champion") if path.exists() else None


def _months(first: dt.date, last: dt.date) -> int:
    """Return the whole months between two days."""
    return (last.year - first.year) * 12 + last.month - first.month - (last.day < first.day)


def _settings(project: Project) -> Iterator[Finding]:
    plan, settings = project.plan, project.config
    share = plan.number("DATA-02", "test_rows") / plan.answers["n_rows"]
    days = plan.number("MON-01", "window_rows") / plan.number("EVAL-05", "predictions_per_day")
    for identifier, name, value, planned in (
        ("DATA-02", "training.test_share", settings.training.test_share, share),
        ("MON-01", "monitoring.window_days", settings.monitoring.window_days, days),
    ):
        if abs(value - planned) > 0.01:
            message = (
                f"{name} of config.yaml is {number(value)}, the plan counts on {number(planned)}"
            )
            yield Finding("warning", identifier, message)
    training = settings.training  # whose records MLflow keeps in a file, here
    kept = training.track and training.tracker == "mlflow" and not training.tracking_uri
    if kept and "TRAIN-05" in plan.decisions and plan.value("tracking") == "server":
        message = (
            "the plan keeps runs at a server of the team, but training.tracking_uri of "
            "config.yaml names none: name it, or override TRAIN-05 with a reason"
        )
        yield Finding("warning", "TRAIN-05", message)
    for path in sorted(project.root.glob(".copier-answers*.yml")):
        recorded = load_yaml(path)
        if set(plan.answers) <= set(recorded):  # else it is another template's
            for name in [n for n, value in plan.answers.items() if recorded[n] != value]:
                mend = f"restore it with git, then `ml update --data {name}=VALUE`"
                yield Finding("error", "PLAN.md", f"{name} was edited in {path.name}: {mend}")


def _leaks(project: Project, parts: Parts) -> Iterator[Finding]:
    """Tell of features that may know the outcome, until the answer to DATA-03 names them."""
    part = parts.get(("human", "DATA-03"))
    answer = "" if part is None else "\n".join(part.lines).replace("\\", "")
    for leak in report(project, "profile").get("leakage", []):
        name, reason = leak["column"], leak["reason"]
        if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", answer):
            message = (
                f"{name} is a feature and may know the outcome ({reason}): exclude it in the "
                "contract, or say in the answer why it is known when the model is asked"
            )
            yield Finding("warning", "DATA-03", message)


def _outliers(project: Project) -> Iterator[Finding]:
    """Tell of far values that reach a model which adds columns up or measures distances."""
    trained, profile = report(project, "training"), report(project, "profile")
    if profile.get("made_up"):
        return
    target = profile.get("target", {})
    if absurd := target.get("absurd"):
        message = (
            f"{count(absurd, 'value')} of {target['name']} lie{'s' * (absurd == 1)} absurdly far "
            "from the others and can decide what is learnt and measured: mend the source, or set "
            "minimum and maximum in the contract"
        )
        yield Finding("warning", "DATA-03", message)
    if not (models := trained.get("add_up")):
        return
    if not task.READS_COLUMNS or not task.TREATS_FAR:  # they move no answer, or are the answer
        return
    treated = {
        source
        for made in trained["made"]
        if made["operator"] in TREATING and made["to"] != "trees"
        for source in made["of"]
    }
    for name, facts in profile.get("columns", {}).items():
        far = facts.get("outliers", {})
        if facts["role"] == "feature" and far.get("share", 0) >= MUCH and name not in treated:
            message = (
                f"{percent(far['share'])} of the values of {name} lie far out, which "
                f"{' and '.join(map(project.plan.named, models))} feels: declare {far['treat']} in "
                "features.py, and see with `ml explain` whether it gains"
            )
            yield Finding("warning", "DATA-03", message)


def _ratings(project: Project) -> Iterator[Finding]:
    """Tell of ratings without a reason, and of models that no training knows."""
    known = report(project, "training").get("candidates", {})
    for name, rating in project.plan.ratings.items():
        if nothing(rating.reason):
            yield Finding("error", "MOD-06", f"the rating of {name} has no reason: say why")
        if known and name not in known:
            message = f"{name} is rated and no model of the last training: {', '.join(known)}"
            yield Finding("error", "MOD-06", message)


def _waivers(plan: Plan) -> Iterator[Finding]:
    for identifier, waiver in plan.waivers.items():
        if nothing(waiver.reason) or nobody(waiver.owner):
            yield Finding("error", identifier, f"its waiver is incomplete: {WAIVER}")
        elif waiver.until < current_day():
            yield Finding("error", identifier, f"its waiver ended on {waiver.until}")
        else:
            by = f"waived by {waiver.owner} until {waiver.until}: {waiver.reason}"
            yield Finding("warning", identifier, by)


def _decisions(project: Project, due: set[str]) -> Iterator[Finding]:
    plan = project.plan
    for identifier, override in plan.overrides.items():
        if nothing(override.reason):
            yield Finding("warning", identifier, "is overridden without a reason")
    if plan.metric_limit is None:
        both = plan.decisions["EVAL-01"].value, plan.value("primary_metric")
        planned, metric = map(plan.named, both)
        message = f"the limit {task.LIMIT} is one of {planned}"
        mend = f"give the one of {metric} as `limit:` beside the override"
        yield Finding("error" if "OBJ-01" in due else "warning", "OBJ-01", f"{message}: {mend}")
    split = plan.value("split")
    if plan.value("cv") not in folds.fitting(split):
        cv, split = (
            plan.decisions[plan.decision_id(name)].said(plan.value(name))
            for name in ("cv", "split")
        )
        message = f"the cross-validation ({cv}) does not go with the split ({split})"
        yield Finding("error", plan.decision_id("cv"), f"{message}: override both")
    tuned = plan.overrides.get("TRAIN-03")
    boosted = {"lightgbm", "lightgbm_log", "catboost", "xgboost"} & set(plan.value("candidates"))
    if tuned and tuned.value != "none" and not boosted:
        message = "tuning searches boosting, which is no candidate: override MOD-02 too"
        yield Finding("error", "TRAIN-03", message)
    if plan.value("verdict") == "stop":
        identifier = plan.decision_id("verdict")
        level = "error" if identifier in due else "warning"
        taken = plan.overrides.get(identifier)
        message = f"{plan.decisions[identifier].why}: change the plan, or override with a reason"
        if evidence.on_defaults(project):
            message = f"{plan.decisions[identifier].why}, by money that nobody gave"
        message = f"stopped by the team: {taken.reason}" if taken else message
        yield Finding(level, identifier, message)
    checked = read_date(f"{plan.laws_checked}-01")
    if checked is not None and current_day() - checked > dt.timedelta(days=180):
        message = f"the laws were last looked up in {plan.laws_checked}: update the template"
        yield Finding("warning", "REG-01" if "REG-01" in plan.blocks else "PRIV-01", message)
    outputs = {decision.output: identifier for identifier, decision in plan.decisions.items()}
    for made, identifier in MADE_WITH.items():
        used = report(project, made).get("plan", {})
        for name, value in plan.changed(used).items():
            place = outputs.get(name, identifier)
            said = plan.decisions[place].said if name in outputs else _fact
            named = name if name in plan.answers else name.replace("_", " ")
            was = "nothing" if used[name] is None else said(used[name])
            message = f"{named} is {said(value)}, but reports/{made}.json used {was}"
            yield Finding("error", place, f"{message}: run `ml run`")


def _figures(project: Project, due: set[str]) -> Iterator[Finding]:
    if progress := measured.figures(project):
        for identifier, message in progress.unowned(project):
            yield Finding("error" if identifier in due else "todo", identifier, message)
        for identifier, message in progress.check(project):
            yield Finding("warning", identifier, message)


def _links(project: Project, text: str, parts: Parts) -> Iterator[Finding]:
    """Yield the links and pictures that lead nowhere; in a block, they are its own fault."""
    for line, target in links.dead(project.root, "PLAN.md", text):
        inside = [p.identifier for p in parts.values() if p.start < line < p.end]
        place = next(iter(inside), "PLAN.md")
        if place != gates.NAME:  # whose links lead to headings, of which their blocks are told
            level = "error" if inside else "warning"
            yield Finding(level, place, f"links to {plain(target)}, which is not there")


def _evidence(project: Project, due: set[str]) -> Iterator[Finding]:
    for item in evidence.contradictions(project):
        level = "error" if item.closes and item.id in due else "warning"
        closed = f": it closes {_gate_of(project, item.id)}" * item.closes
        yield Finding(level, item.id, f"{item.message}{closed} ({item.rule})")


def _claimed(project: Project, parts: Parts) -> set[str]:
    """Return the blocks of each gate that people say they have passed.

    They do where one of its blocks is approved, or none of its questions is open, and of the gate
    of the model where the version that was judged is in use: evidence that closes such a gate makes
    the plan wrong. Before that it only says that the gate is not open yet.
    """
    plan = project.plan
    asked: dict[str, list[Part | None]] = {}
    for identifier, block in plan.blocks.items():
        if block.human and block.applies:
            asked.setdefault(block.gate, []).append(parts.get(("human", identifier)))
    claimed = {
        gate
        for gate, found in asked.items()
        if all(part and not part.open for part in found)
        or any(part and part.attributes.get("status") == "approved" for part in found)
    }
    used = _champion(project)
    if used is not None and used == report(project, "metrics").get("version"):
        claimed.add(plan.blocks["EVAL-03"].gate)
    return {identifier for identifier, block in plan.blocks.items() if block.gate in claimed}


def _placeholder(part: Part) -> bool:
    return "not measured yet: " in " ".join(part.lines).lower()


def _gate_of(project: Project, identifier: str) -> str | None:
    block = project.plan.blocks.get(identifier)
    return block.gate if block else None


def _print_todo(project: Project, found: list[Finding]) -> None:
    if not found:
        typer.echo("nothing is left for people to fill")
        return
    table = Table("gate", "id", "for people to fill in PLAN.md")
    blocks = project.plan.blocks
    gate = ""
    for finding in sorted(found, key=lambda finding: blocks[finding.id].gate):
        block = blocks[finding.id]
        if gate and block.gate != gate:
            table.add_section()
        table.add_row(
            block.gate if block.gate != gate else "",
            finding.id,
            f"{block.title}: {finding.message}",
        )
        gate = block.gate
    Console(markup=False, highlight=False).print(table)


def _fact(value: Any) -> str:
    return "not given" if value is None else shown(value)


def _offered(text: str) -> str:
    """Return the date that a person may have meant by `31.01.2027`, else an example."""
    found = re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", text)
    meant = f"{found[3]}-{found[2]:0>2}-{found[1]:0>2}" if found else ""
    return meant if read_date(meant) else "2027-03-31"
