"""What the team keeps in plan/progress.yaml: people, tasks, money; and what follows from it."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec

from ..engine import storage
from ..engine.data import sources
from ..engine.errors import ProjectError
from ..engine.formats import count, number, percent
from ..engine.settings import DAYS_A_MONTH, Project, Skill, Strict, convert, load_yaml
from .blocks import code, escape
from .practice import HOSTS

FILE = "plan/progress.yaml"
MEND = "correct it, its own comments say how"
WEEKS_A_MONTH = DAYS_A_MONTH / 7
LARGE = 12  # a risk of at least this score, of 25, needs an owner
ROUNDING = 0.5  # weeks: those of the first tasks are rounded
Z80 = 0.8416212335729143  # standard normal quantile of 80 %
CODEOWNERS = "# Written by `ml plan sync` from the roles in plan/progress.yaml: edit those.\n"

Month = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Kind = Literal["people", "machines", "data", "licences", "other"]
ACTIONS = {"train": "train", "hire": "hire or move somebody in", "buy": "buy advice"}


class Task(Strict, frozen=True):
    """A piece of work: weeks at best, likely and at worst, what must be done before, its end.

    `who` has the people of each role as a share of full time: 0.5 is half of one, 2 are two.
    """

    what: str
    weeks: tuple[Amount, Amount, Amount]
    after: tuple[str, ...] = ()
    who: dict[str, Amount] = msgspec.field(default_factory=dict)
    done: dt.date | None = None

    @property
    def expected(self) -> float:
        """Expected weeks, by PERT: (best + 4 x likely + worst) / 6."""
        best, likely, worst = self.weeks
        return (best + 4 * likely + worst) / 6

    @property
    def deviation(self) -> float:
        """Standard deviation in weeks, by PERT: (worst - best) / 6."""
        return (self.weeks[2] - self.weeks[0]) / 6


class Offer(Strict, frozen=True):
    """A service that does the same: its price, and what a trial of it showed."""

    setup: Amount = 0.0
    month: Amount = 0.0
    per_1000: Amount = 0.0
    tried: str = ""


class Progress(Strict, frozen=True):
    """plan/progress.yaml."""

    start: dt.date | None = None
    roles: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    skills: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    tasks: dict[str, Task] = msgspec.field(default_factory=dict)
    offers: dict[str, Offer] = msgspec.field(default_factory=dict)
    spent: dict[Month, Amount | dict[Kind, Amount]] = msgspec.field(default_factory=dict)
    earned: dict[Month, float] = msgspec.field(default_factory=dict)

    @property
    def total_spent(self) -> float:
        """What was spent in all months, by kind or not."""
        return sum(
            sum(month.values()) if isinstance(month, dict) else month
            for month in self.spent.values()
        )

    @property
    def spent_by_kind(self) -> dict[str, float]:
        """What was spent of each kind; a month that names none counts as `other`."""
        found: dict[str, float] = {}
        for month in self.spent.values():
            for kind, amount in (month if isinstance(month, dict) else {"other": month}).items():
                found[kind] = found.get(kind, 0.0) + amount
        return found

    @property
    def person_weeks(self) -> dict[str, float]:
        """Expected weeks of work of each role, over all tasks."""
        found: dict[str, float] = {}
        for task in self.tasks.values():
            for role, share in task.who.items():
                found[role] = found.get(role, 0.0) + share * task.expected
        return dict(sorted(found.items(), key=lambda item: -item[1]))


class Schedule(NamedTuple):
    """Weeks from the start: each task's end, the longest path, and what four of five keep."""

    ends: dict[str, float]
    path: list[str]
    expected: float
    deviation: float

    @property
    def p80(self) -> float:
        """Weeks that 80 % of such projects do not exceed."""
        return self.expected + Z80 * self.deviation


def read(project: Project) -> Progress:
    """Read plan/progress.yaml; a wrong name, a circle or a strange number is a ProjectError."""
    path = project.path(FILE)
    progress = convert(load_yaml(path), Progress, str(path), MEND)
    for name, task in progress.tasks.items():
        if list(task.weeks) != sorted(task.weeks):
            raise ProjectError(f"{path}: {name}: weeks go from best to worst, such as [1, 2, 4]")
        if unknown := [other for other in task.after if other not in progress.tasks]:
            raise ProjectError(f"{path}: {name}: after names {unknown[0]}, which is no task")
    roles = {*progress.roles, *(role for task in progress.tasks.values() for role in task.who)}
    if foreign := sorted(roles - set(_roles(project))):
        known = ", ".join(_roles(project))
        raise ProjectError(f"{path}: no role {foreign[0]}; TEAM-02 has {known}")
    named = [*progress.roles.items(), *progress.skills.items()]
    for role, handle in ((role, h) for role, names in named for h in names):
        if not re.fullmatch(r"@?[\w.+-]+([/@][\w.+-]+)?", handle):
            raise ProjectError(f"{path}: {role}: {handle!r} is no name such as @eva")
    if progress.tasks:
        critical_path(progress.tasks)
    return progress


def critical_path(tasks: Mapping[str, Task], actual: Mapping[str, float] = {}) -> Schedule:
    """Return the schedule by PERT and the critical path; `actual` ends, in weeks, win.

    Expected lengths add along the longest path, and so do deviations: delays have common causes,
    and a sum of tasks that are late together is late as the whole is in SCHED-01. Sources: Malcolm
    et al. 1959, Operations Research 7(5); Dhaene et al. 2002, Insurance: Mathematics and Economics
    31(1), on sums of comonotonic parts.
    """
    ends: dict[str, float] = {}
    before: dict[str, str | None] = {}

    def end(name: str, asked: tuple[str, ...]) -> float:
        if name in asked:
            circle = " after ".join((*asked[asked.index(name) :], name))
            raise ProjectError(f"{FILE}: {circle}: tasks wait for each other in a circle")
        if name not in ends:
            task = tasks[name]
            waited = {other: end(other, (*asked, name)) for other in task.after}
            before[name] = max(waited, key=waited.__getitem__, default=None)
            ends[name] = actual.get(name, max(waited.values(), default=0.0) + task.expected)
        return ends[name]

    last: str | None = max(tasks, key=lambda name: end(name, ()))
    expected, path = ends[last] if last else 0.0, []
    while last is not None:
        path.append(last)
        last = before[last]
    path.reverse()
    deviation = sum(tasks[name].deviation for name in path if name not in actual)
    return Schedule(ends, path, expected, deviation)


def run(project: Project) -> dict[str, Any]:
    """Write what follows from the file; return reports/progress.json.

    Beside it reports/schedule.md, and CODEOWNERS unless that is somebody's own.
    """
    progress = read(project)
    schedule = _schedule(progress) if progress.tasks else None
    money = _money(project, progress)
    report: dict[str, Any] = {
        "run": storage.sha256(project.path(FILE))[:12],
        "schedule": schedule,
        "money": money,
        "skills": {skill.id: skill.action for skill in _gaps(project, progress)},
        "lines": {
            "ALT-01": _offers(project, progress),
            "TEAM-02": _people(project, progress) + _skills(project, progress),
            "SCHED-01": _said(schedule) + _work(progress) if schedule else "tasks: none",
            "BUD-01": _amounts(project, progress, money),
        },
    }
    storage.write_json(project.path("reports/progress.json"), report)
    lines = _page(project, progress, schedule) if schedule else []
    storage.write_text(project.path("reports/schedule.md"), "".join(f"{line}\n" for line in lines))
    if (owners := _codeowners(project, progress)) is not None:
        storage.write_text(_owners_file(project), owners)
    return report


def check(project: Project) -> Iterator[tuple[str, str]]:
    """Yield id and message of what the file shows to be late, dear or stale."""
    progress = read(project)
    path = project.path("reports/progress.json")
    known = storage.read_json(path)["run"] if path.exists() else None
    if known is not None and known != storage.sha256(project.path(FILE))[:12]:
        yield "SCHED-01", f"{FILE} has changed: run `ml plan sync`"
    if progress.tasks:
        planned = critical_path(progress.tasks)
        agreed = project.plan.number("SCHED-01", "p80_months") * WEEKS_A_MONTH
        if planned.p80 > agreed + ROUNDING:
            late = f"{count(planned.p80, 'week', 1)} in four of five cases, the plan counts on "
            message = f"the tasks of {FILE} take {late}{number(agreed, 1)}: change them, or the "
            yield "SCHED-01", f"{message}answer build_months"
        today = dt.datetime.now().astimezone().date()
        for name, weeks in planned.ends.items():
            due = _date(progress, weeks)
            if progress.tasks[name].done is None and due is not None and due < today:
                yield "SCHED-01", f"task {name} was to end on {due}"
    budget, spent = project.plan.number("BUD-01", "budget"), progress.total_spent
    if spent > budget:
        yield "BUD-01", f"{number(spent)} are spent, the budget is {number(budget)}"
    asked = {skill.id for skill in project.plan.skills}
    named = {name for name, who in progress.skills.items() if who}
    for skill in sorted(named - asked):
        yield "TEAM-02", f"{FILE} names people for {skill}, which is no skill of TEAM-02"
    if _codeowners(project, progress) is not None:
        file = _owners_file(project).relative_to(project.root).as_posix()
        yield "TEAM-02", f"{file} does not follow the roles: run `ml plan sync`"


def unowned(project: Project) -> Iterator[tuple[str, str]]:
    """Yield id and message of large risks and duties by law whose role nobody fills."""
    plan, roles = project.plan, read(project).roles
    owned: list[tuple[str, str, str]] = [
        ("RISK-02", risk.owner, f"risk {risk.id} ({risk.score} of 25)")
        for risk in plan.risks
        if risk.score >= LARGE
    ]
    owned += [("REG-01", duty.owner, duty.article) for duty in plan.duties]
    left: dict[tuple[str, str], list[str]] = {}
    for identifier, role, what in owned:
        if identifier in plan.blocks and not roles.get(role):
            left.setdefault((identifier, role), []).append(what)
    for (identifier, role), things in left.items():
        many = f" and {len(things) - 1} more" if len(things) > 1 else ""
        yield identifier, f"nobody is named as {role} in {FILE}, who owns {things[0]}{many}"


def _schedule(progress: Progress) -> dict[str, Any]:
    tasks, start = progress.tasks, progress.start
    planned = critical_path(tasks)
    ended = {name: task.done for name, task in tasks.items() if task.done}
    actual = {name: (done - start).days / 7 for name, done in ended.items()} if start else {}
    forecast = critical_path(tasks, actual).expected if actual else None
    work = sum(task.expected for task in tasks.values())
    return {
        "expected_weeks": planned.expected,
        "deviation_weeks": planned.deviation,
        "p80_weeks": planned.p80,
        "path": planned.path,
        "tasks": len(tasks),
        "done": len(ended),
        "done_share": sum(tasks[name].expected for name in ended) / work if work else 0.0,
        "forecast_weeks": forecast,
        "variance_weeks": None if forecast is None else forecast - planned.expected,
        "person_weeks": progress.person_weeks,
    }


def _money(project: Project, progress: Progress) -> dict[str, Any]:
    """Compare by earned value: what the work that is done was to cost, less what was spent.

    The budget at completion is that of BUD-01, its reserve included: money and NPV count with it.
    """
    answers, months = project.plan.answers, len(progress.earned)
    done = _schedule(progress)["done_share"] if progress.tasks else None
    budget = project.plan.number("BUD-01", "budget")
    spent, ramp = progress.total_spent, answers["ramp_months"]
    growth = (1 + answers["benefit_growth"]) ** (1 / 12)
    shares = [
        (min(1.0, m / ramp) if ramp else 1.0) * growth ** (m - 1) for m in range(1, months + 1)
    ]
    planned = [project.plan.number("VAL-01", "benefit") * share for share in shares]
    return {
        "spent": spent,
        "months_spent": len(progress.spent),
        "planned_for_done": None if done is None else done * budget,
        "cost_variance": None if done is None else done * budget - spent,
        "earned": sum(progress.earned.values()),
        "months_earned": months,
        "planned_earned": sum(planned),
        "by_month": [
            {"month": month, "earned": amount, "planned": hoped}
            for (month, amount), hoped in zip(sorted(progress.earned.items()), planned, strict=True)
        ],
        "by_kind": _kinds(project, progress),
    }


def _kinds(project: Project, progress: Progress) -> dict[str, dict[str, float]]:
    """Return what is planned and spent of each kind; the contract says what sources cost."""
    plan, spent = project.plan, progress.spent_by_kind
    monthly = sum(
        source.cost_per_month or 0.0 for source in sources.of(project.contract_path) if source.used
    )
    planned = {
        "people": plan.number("BUD-01", "budget_people"),
        "machines": plan.number("BUD-01", "budget_machines"),
        "data": monthly * plan.number("VAL-01", "first_use_month"),
    }
    return {
        kind: {"planned": planned.get(kind, 0.0), "spent": spent.get(kind, 0.0)}
        for kind in get_args(Kind)
    }


def _people(project: Project, progress: Progress) -> str:
    named = [f"{role} {escape(' '.join(who))}" for role, who in progress.roles.items() if who]
    nobody = [role for role in _roles(project) if not progress.roles.get(role)]
    parts = ["; ".join(named)] * bool(named) + [f"no name yet for {', '.join(nobody)}"] * bool(
        nobody
    )
    return "people: " + "; ".join(parts)


def _offers(project: Project, progress: Progress) -> str:
    """Compare what services cost over the horizon with building and running one's own."""
    plan, answers = project.plan, project.plan.answers
    if not progress.offers:
        return f"offers: none in {FILE}"
    own = plan.number("ALT-01", "own_cost")
    months = max(0.0, answers["horizon_months"] - plan.number("VAL-01", "first_use_month"))
    predictions = answers["predictions_per_month"] * months
    rows = []
    for name, offer in progress.offers.items():
        cost = offer.setup + offer.month * months + offer.per_1000 * predictions / 1000
        less = own - cost
        said = f"{number(abs(less))} {'less' if less >= 0 else 'more'}"
        cells = (escape(name), number(cost), said, escape(offer.tried) or "nobody tried it yet")
        rows.append((cost, "| " + " | ".join(cells) + " |"))
    currency = escape(answers["currency"])
    return "\n".join(
        [
            f"offers: for {count(months, 'month')} of use, own model {number(own)} {currency}",
            "<!-- offers -->",
            f"| Offer | Cost, in {currency} | Than one's own | Quality in a trial |",
            "|---|--:|---|---|",
            *(row for _, row in sorted(rows)),
        ]
    )


def _gaps(project: Project, progress: Progress) -> list[Skill]:
    """Return the skills of the plan that nobody is named for."""
    return [skill for skill in project.plan.skills if not progress.skills.get(skill.id)]


def _skills(project: Project, progress: Progress) -> str:
    """Say which skills are there, and what is done by when about each that is not."""
    gaps, asked = _gaps(project, progress), len(project.plan.skills)
    if not asked:
        return ""
    told = [
        f"{skill.id} ({ACTIONS[skill.action]}"
        + (f" within {count(skill.weeks, 'week')}" if skill.action == "train" else "")
        + f", by {skill.gate})"
        for skill in gaps
    ]
    there = f"\nskills: {asked - len(gaps)} of {asked} have a name"
    return there + (f"; gaps: {', '.join(told)}" if told else "; no gap")


def _work(progress: Progress) -> str:
    """Say the expected work of each role, in weeks and months of one person."""
    weeks = progress.person_weeks
    total = sum(weeks.values())
    if not total:
        return "\nwork: nobody has said who works on the tasks (`who`)"
    roles = ", ".join(f"{role} {number(value, 1)}" for role, value in weeks.items())
    months = number(total / WEEKS_A_MONTH, 1)
    return f"\nwork: {number(total, 1)} person-weeks expected ({months} person-months): {roles}"


def _said(schedule: dict[str, Any]) -> str:
    late = schedule["variance_weeks"]
    return (
        f"critical path: {', '.join(map(code, schedule['path']))}: "
        f"{count(schedule['expected_weeks'], 'week', 1)} expected, in four of five cases at most "
        f"{number(schedule['p80_weeks'], 1)} if they are late together\n"
        f"done: {schedule['done']} of {schedule['tasks']} tasks, "
        f"{percent(schedule['done_share'])} of the work"
    ) + (
        ""
        if late is None
        else f"; forecast {count(schedule['forecast_weeks'], 'week', 1)}, "
        f"{count(abs(late), 'week', 1)} {'later' if late > 0 else 'earlier'} than planned"
    )


def _amounts(project: Project, progress: Progress, money: dict[str, Any]) -> str:
    currency = escape(project.plan.answers["currency"])
    text = f"spent: {number(money['spent'])} {currency} in {count(money['months_spent'], 'month')}"
    if money["planned_for_done"]:
        over = -money["cost_variance"]
        text += (
            f"; the work that is done was to cost {number(money['planned_for_done'])} {currency} "
            f"of the budget, {number(abs(over))} {currency} "
            f"{'less' if over > 0 else 'more'} than was spent"
        )
    if months := sum(progress.person_weeks.values()) / WEEKS_A_MONTH:
        people = money["by_kind"]["people"]["planned"]
        text += f"\npeople: {number(people)} {currency} for {number(months, 1)} person-months, "
        text += f"{number(people / months)} {currency} for each"
    if money["months_earned"]:
        hoped = f"planned were {number(money['planned_earned'])} {currency}"
        used = count(money["months_earned"], "month")
        text += f"\nearned: {number(money['earned'])} {currency} in {used} of use; {hoped}"
    return "\n".join([text, *_tables(progress, money)])


def _tables(progress: Progress, money: dict[str, Any]) -> Iterator[str]:
    """Yield what was spent by kind and earned by month beside the plan, where people keep it."""
    sourced = money["by_kind"]["data"]["planned"]
    if sourced or any(isinstance(month, dict) for month in progress.spent.values()):
        yield "<!-- kinds -->"
        yield from ("| Kind | Planned | Spent | Left |", "|---|--:|--:|--:|")
        for kind, row in money["by_kind"].items():
            cells = (row["planned"], row["spent"], row["planned"] - row["spent"])
            yield "| " + " | ".join([kind, *map(number, cells)]) + " |"
    if money["by_month"]:
        yield "<!-- earned -->"
        yield from ("| Month of use | Earned | Planned | Difference |", "|---|--:|--:|--:|")
        for row in money["by_month"]:
            cells = (row["earned"], row["planned"], row["earned"] - row["planned"])
            yield "| " + " | ".join([row["month"], *map(number, cells)]) + " |"


def _page(project: Project, progress: Progress, schedule: dict[str, Any]) -> list[str]:
    """Return the tasks as a table, and as a chart when there is a first day."""
    ends, start = critical_path(progress.tasks).ends, progress.start
    lines = ["| Task | Who | Begins | Ends | Critical | Done |", "|---|---|---|---|---|---|"]
    chart = ["", "```mermaid", "gantt", "  dateFormat YYYY-MM-DD"]
    for name, task in progress.tasks.items():
        critical = name in schedule["path"]
        first = ends[name] - task.expected
        begins, until = _date(progress, first), _date(progress, ends[name])
        cells = (begins or f"week {number(first, 1)}", until or f"week {number(ends[name], 1)}")
        marks = ("yes" if critical else "", task.done or "")
        what = escape(f"{name}: {task.what}")
        who = ", ".join(f"{role} {number(share, 2)}" for role, share in task.who.items())
        lines.append("| " + " | ".join(map(str, (what, who, *cells, *marks))) + " |")
        tags = ["done"] * bool(task.done) + ["crit"] * critical
        words = re.sub(r"\W+", " ", task.what).strip() or name
        chart.append(f"  {words} :{', '.join([*tags, str(begins), str(until)])}")
    return [*lines, *chart, "```"] if start else lines


def _owners_file(project: Project) -> Path:
    """Return where the host of the code looks for owners."""
    return project.path(HOSTS[project.plan.answers["code_host"]]["owners"])


def _codeowners(project: Project, progress: Progress) -> str | None:
    """Return what CODEOWNERS should hold, or None when it does, or is somebody's own."""
    path, lines = _owners_file(project), []
    folders = (project.root, *project.root.parents)
    top = next((folder for folder in folders if (folder / ".git").exists()), project.root)
    # Code hosts read paths from the top of the repository, and a blank as the end of a path.
    start = "".join(f"/{part}" for part in project.root.relative_to(top).parts).replace(" ", "\\ ")
    for duty in project.plan.responsibilities:
        roles = dict.fromkeys((duty.accountable, duty.responsible))
        names = dict.fromkeys(name for role in roles for name in progress.roles.get(role, ()))
        lines += [f"{start}/{part} {' '.join(names)}" for part in duty.paths if names]
    wanted = CODEOWNERS + "".join(f"{line}\n" for line in lines)
    there = path.read_text(encoding="utf-8") if path.exists() else CODEOWNERS
    return wanted if there.startswith(CODEOWNERS) and there != wanted else None


def _roles(project: Project) -> list[str]:
    duties = project.plan.responsibilities
    roles = [(d.accountable, d.responsible, *d.consulted, *d.informed) for d in duties]
    return list(dict.fromkeys(role for group in roles for role in group))


def _date(progress: Progress, weeks: float) -> dt.date | None:
    return progress.start + dt.timedelta(days=round(7 * weeks)) if progress.start else None
