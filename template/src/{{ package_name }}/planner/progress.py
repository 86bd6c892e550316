"""What the team keeps in plan/progress.yaml: people, tasks, money; and what follows from it."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from ..engine import storage
from ..engine.errors import ProjectError
from ..engine.formats import count, number, percent
from ..engine.settings import DAYS_A_MONTH, Project, Strict, convert, load_yaml
from .blocks import code, escape

FILE = "plan/progress.yaml"
MEND = "correct it, its own comments say how"
WEEKS_A_MONTH = DAYS_A_MONTH / 7
ROUNDING = 0.5  # weeks: those of the first tasks are rounded
Z80 = 0.8416212335729143  # standard normal quantile of 80 %
CODEOWNERS = "# Written by `ml plan sync` from the roles in plan/progress.yaml: edit those.\n"

Month = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
Amount = Annotated[float, msgspec.Meta(ge=0)]


class Task(Strict, frozen=True):
    """A piece of work: weeks at best, likely and at worst, what must be done before, its end."""

    what: str
    weeks: tuple[Amount, Amount, Amount]
    after: tuple[str, ...] = ()
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


class Progress(Strict, frozen=True):
    """plan/progress.yaml."""

    start: dt.date | None = None
    roles: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    tasks: dict[str, Task] = msgspec.field(default_factory=dict)
    spent: dict[Month, Amount] = msgspec.field(default_factory=dict)
    earned: dict[Month, float] = msgspec.field(default_factory=dict)


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
    if foreign := sorted(set(progress.roles) - set(_roles(project))):
        known = ", ".join(_roles(project))
        raise ProjectError(f"{path}: no role {foreign[0]}; TEAM-02 has {known}")
    for role, handle in ((role, h) for role, names in progress.roles.items() for h in names):
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

    Beside it reports/schedule.md, and .github/CODEOWNERS unless that is somebody's own.
    """
    progress = read(project)
    schedule = _schedule(progress) if progress.tasks else None
    money = _money(project, progress)
    report: dict[str, Any] = {
        "run": storage.sha256(project.path(FILE))[:12],
        "schedule": schedule,
        "money": money,
        "lines": {
            "TEAM-02": _people(project, progress),
            "SCHED-01": _said(schedule) if schedule else "tasks: none",
            "BUD-01": _amounts(money, escape(project.plan.answers["currency"])),
        },
    }
    storage.write_json(project.path("reports/progress.json"), report)
    lines = _page(project, progress, schedule) if schedule else []
    storage.write_text(project.path("reports/schedule.md"), "".join(f"{line}\n" for line in lines))
    if (owners := _codeowners(project, progress)) is not None:
        storage.write_text(project.path(".github/CODEOWNERS"), owners)
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
    budget, spent = project.plan.number("BUD-01", "budget"), sum(progress.spent.values())
    if spent > budget:
        yield "BUD-01", f"{number(spent)} are spent, the budget is {number(budget)}"
    if _codeowners(project, progress) is not None:
        yield "TEAM-02", ".github/CODEOWNERS does not follow the roles: run `ml plan sync`"


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
    }


def _money(project: Project, progress: Progress) -> dict[str, Any]:
    """Compare by earned value: what the work that is done was to cost, less what was spent.

    The budget at completion is that of BUD-01, its reserve included: money and NPV count with it.
    """
    answers, months = project.plan.answers, len(progress.earned)
    done = _schedule(progress)["done_share"] if progress.tasks else None
    budget = project.plan.number("BUD-01", "budget")
    spent, ramp = sum(progress.spent.values()), answers["ramp_months"]
    growth = (1 + answers["benefit_growth"]) ** (1 / 12)
    shares = [
        (min(1.0, m / ramp) if ramp else 1.0) * growth ** (m - 1) for m in range(1, months + 1)
    ]
    return {
        "spent": spent,
        "months_spent": len(progress.spent),
        "planned_for_done": None if done is None else done * budget,
        "cost_variance": None if done is None else done * budget - spent,
        "earned": sum(progress.earned.values()),
        "months_earned": months,
        "planned_earned": project.plan.number("VAL-01", "benefit") * sum(shares),
    }


def _people(project: Project, progress: Progress) -> str:
    named = [f"{role} {escape(' '.join(who))}" for role, who in progress.roles.items() if who]
    nobody = [role for role in _roles(project) if not progress.roles.get(role)]
    parts = ["; ".join(named)] * bool(named) + [f"no name yet for {', '.join(nobody)}"] * bool(
        nobody
    )
    return "people: " + "; ".join(parts)


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


def _amounts(money: dict[str, Any], currency: str) -> str:
    text = f"spent: {number(money['spent'])} {currency} in {count(money['months_spent'], 'month')}"
    if money["planned_for_done"]:
        over = -money["cost_variance"]
        text += (
            f"; the work that is done was to cost {number(money['planned_for_done'])} {currency} "
            f"of the budget, {number(abs(over))} {currency} "
            f"{'less' if over > 0 else 'more'} than was spent"
        )
    if not money["months_earned"]:
        return text
    hoped = f"planned were {number(money['planned_earned'])} {currency}"
    earned = (
        f"{number(money['earned'])} {currency} in {count(money['months_earned'], 'month')} of use"
    )
    return f"{text}\nearned: {earned}; {hoped}"


def _page(project: Project, progress: Progress, schedule: dict[str, Any]) -> list[str]:
    """Return the tasks as a table, and as a chart when there is a first day."""
    ends, start = critical_path(progress.tasks).ends, progress.start
    lines = ["| Task | Begins | Ends | Critical | Done |", "|---|---|---|---|---|"]
    chart = ["", "```mermaid", "gantt", "  dateFormat YYYY-MM-DD"]
    for name, task in progress.tasks.items():
        critical = name in schedule["path"]
        first = ends[name] - task.expected
        begins, until = _date(progress, first), _date(progress, ends[name])
        cells = (begins or f"week {number(first, 1)}", until or f"week {number(ends[name], 1)}")
        marks = ("yes" if critical else "", task.done or "")
        what = escape(f"{name}: {task.what}")
        lines.append("| " + " | ".join(map(str, (what, *cells, *marks))) + " |")
        tags = ["done"] * bool(task.done) + ["crit"] * critical
        words = re.sub(r"\W+", " ", task.what).strip() or name
        chart.append(f"  {words} :{', '.join([*tags, str(begins), str(until)])}")
    return [*lines, *chart, "```"] if start else lines


def _codeowners(project: Project, progress: Progress) -> str | None:
    """Return what .github/CODEOWNERS should hold, or None when it does, or is somebody's own."""
    path, lines = project.path(".github/CODEOWNERS"), []
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
