"""What every task holds against the plan: rows of the table, contradictions, the verdict."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from ..engine import storage, task
from ..engine.errors import ProjectError
from ..engine.formats import UNKNOWN, apart, count, number, percent
from ..engine.settings import DAYS_A_MONTH, Project
from . import rules
from .blocks import code, escape, read, survey

Report = dict[str, Any]
MISSING = "not measured"
# What a level of drift means.
DRIFT = {
    "ok": "none that matters",
    "warn": "some, look at it",
    "act": "much, act now",
    "too_few_rows": "too few rows to tell",
}
OF_TEST_SET = {**DRIFT, "warn": "some", "act": "much"}  # nobody can act: nothing new has come
REPORTS = ("metrics", "data_quality", "training", "bench", "drift", "progress")
AGAINST = "**contradicts**"
CHANCE = "may be chance"  # worse than planned, but its interval holds what was planned
GAIN = {"value": "gain", "low": "gain_low", "high": "gain_high"}
WORTH = {"value": "value_per_year", "low": "value_low", "high": "value_high"}
ORIGINS = {"given": "answer"}  # in words for people; the others say themselves
MONEY = ("monthly_benefit", "build_cost", "success_probability", "run_cost")
BY_MONEY = ("value.nothing", "value.stop")  # rules that stop a project by its money
TURN = {"monthly_benefit", "build_cost"}  # what a stop by money hangs on
# The facts of the rules that are measured, in words.
WRITE: dict[str, Callable[[float], str]] = {
    "n_rows": lambda value: count(value, "row"),
    "history_months": lambda value: count(value, "month", 1),
}
SLACK = 1.1  # what differs by less than a tenth is what was planned
Z95 = 1.959963984540054  # standard normal quantile of 97.5 %


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
    closes: bool = False


def loss(worth: Report) -> str:
    """Say that the measured value a year may be zero or a loss, "" when its interval lies above 0.

    `worth` has value, low and high. The model's gate and the plan's verdict both judge by this.
    """
    if all((worth[name] or 0) > 0 for name in ("value", "low")):
        return ""
    doubt = "is a loss" if is_sure_loss(worth) else "may be zero or a loss"
    return f"the measured value a year {doubt}: {interval(worth)}"


def is_sure_loss(worth: Report, below: float = 0) -> bool:
    """Whether the whole interval of a value a year lies below an amount."""
    return worth["high"] is not None and bool(worth["high"] < below)


def losses(business: Report) -> list[str]:
    """Return why the decisions may be worth nothing, once for each policy they are held against."""
    if business["says_nothing"]:
        return []
    worth = {name: business[key] for name, key in WORTH.items()}
    found: dict[str, str] = {}
    for against in (worth | {"policy": business["baseline_policy"]}, business["over"]):
        if said := loss(against):
            policy = f"{business['currency']} against {against['policy']!r}"
            mend = "check the costs of the plan"
            mend += "" if is_sure_loss(against) else ", or bring more test rows"
            found.setdefault(policy, f"{said} {policy}; {mend}")
    return list(found.values())


def worth(business: Report, against: str) -> str:
    """Say what the model adds in a year to what is done without one, `against` a policy."""
    money = f" {escape(business['currency'])}"
    difference, low, high = (business[f"value_{name}"] for name in ("per_year", "low", "high"))
    return (
        f"measured: {more(difference, 0, f'{money} a year')} {against} (95 % interval of the "
        f"difference: {number(low, 0)} to {number(high, 0)}), at full use"
    )


def beyond(business: Report, lead: str = "") -> str:
    """Say what it adds to the cheapest policy where that is another one, its name after `lead`."""
    over = business["over"]
    if over["policy"] == business["baseline_policy"]:
        return ""
    money = f" {escape(business['currency'])} a year"
    return f"; {more(over['value'], 0, money)} {lead}{over['policy']}"


class Compared(ABC):
    """The plan and its reports, read once; what only one task has comes from its Evidence."""

    WRITE = WRITE
    LOSSES: tuple[str, ...] = ()  # metrics of which a lower value is better

    def flow(self) -> list[str]:
        """Return the diagram of the summary."""
        return list(self.plan.flow)

    def is_loss(self, metric: str) -> bool:
        """Whether a lower value of the metric is better."""
        return metric in self.LOSSES

    def shown_gain(self, least: float) -> str:
        """Write the smallest useful gain."""
        return number(least, 4)

    def unit(self, metric: str) -> str:
        """Return the unit of a metric with a space before it; "" where it has none."""
        return ""

    def gained(self, gain: Report) -> str:
        """Write the measured gain with its interval."""
        return interval(gain, 4)

    @abstractmethod
    def _facts(self) -> Report:
        """Return the measured facts of the rules, by name; None where there are none."""

    @abstractmethod
    def _of_the_target(self) -> Iterator[Contradiction]: ...

    @abstractmethod
    def _of_the_use(self) -> Iterator[Contradiction]: ...

    @abstractmethod
    def _target_rows(self) -> Iterator[Row]: ...

    @abstractmethod
    def _decision_rows(self) -> Iterator[Row]: ...

    @abstractmethod
    def _load_rows(self) -> Iterator[Row]: ...

    def __init__(self, project: Project) -> None:
        self.project, self.plan, self.answers = project, project.plan, project.plan.answers
        self.currency = escape(self.answers["currency"])
        reports = {name: report(project, name) for name in REPORTS}
        # Once own data are read, what an earlier model of made-up data measured tells nothing.
        if reports["data_quality"].get("made_up") is False:
            reports = {n: {} if found.get("made_up") else found for n, found in reports.items()}
        self.metrics, self.quality, self.training = (reports[name] for name in REPORTS[:3])
        self.bench, self.drift, self.progress = (reports[name] for name in REPORTS[3:])
        # Made-up data prove the pipeline; what they say of the case is no evidence.
        self.made_up = any(report.get("made_up") for report in reports.values())

    @cached_property
    def contradictions(self) -> list[Contradiction]:
        """What speaks against the plan; of made-up data only what shows that the model fails."""
        found = [*self._of_the_model()]
        return found if self.made_up else [*found, *self._of_the_data(), *self._of_the_value()]

    @cached_property
    def worth(self) -> Report:
        """The measured value a year with its interval; empty without a report."""
        if not (business := self.metrics.get("business")) or business.get("says_nothing"):
            return {}
        try:
            return {name: business[key] for name, key in WORTH.items()}
        except KeyError as error:
            raise ProjectError(f"reports/metrics.json lacks {error}: run `ml evaluate`") from None

    @cached_property
    def unfounded(self) -> str:
        """The figures of the business case that nobody gave; "" once people vouch for them.

        A figure that equals its default counts as not given, until VAL-01 has an owner
        and an answer.
        """
        vouched = survey(read(self.project.path("PLAN.md")))[0].get(("human", "VAL-01"))
        named = vouched and not vouched.open and vouched.attributes["owner"] != "none"
        return "" if named else ", ".join(map(code, self._missing))

    @cached_property
    def on_defaults(self) -> bool:
        """Whether money that nobody gave says stop: figures of their own may say otherwise."""
        rule = self.plan.decisions["VAL-01"].rule
        if not self.unfounded or "VAL-01" in self.plan.overrides or rule not in BY_MONEY:
            return False
        return not TURN.isdisjoint(self._missing)

    @property
    def _missing(self) -> list[str]:
        """The figures of the business case that equal their default."""
        return [name for name in MONEY if self.plan.origins.get(name, "given") != "given"]

    @property
    def hoped(self) -> float:
        """The planned benefit of a year at full use."""
        return 12 * self.plan.number("VAL-01", "benefit")

    @property
    def _best(self) -> Report:
        """The measured primary metric with its interval; empty without a report."""
        found = self.metrics.get("champion", {}).get("metrics", {})
        return found.get(self.metrics.get("primary_metric"), {}) or {}

    @property
    def span(self) -> float:
        """The days that the planned rows cover."""
        return float(self.answers["history_months"]) * DAYS_A_MONTH

    def misses(self, metric: str, value: float, limit: float) -> bool:
        """Whether a value of the metric is worse than its limit."""
        return value > limit if self.is_loss(metric) else value < limit

    def _of_the_model(self) -> Iterator[Contradiction]:
        gate, limit = self.metrics.get("gate"), self.answers.get("latency_ms")
        if gate and not gate["passed"]:
            why = "; ".join(map(str, gate["reasons"])) or "no reason given"
            message = f"the gate of the model failed: {why}"
            yield Contradiction("ev.gate", "EVAL-03", message, closes=True)
        best, least, metric = self._best, self.plan.metric_limit, self.plan.value("primary_metric")
        passed = gate and gate["passed"] and self.metrics.get("primary_metric") == metric
        value = best.get("value")
        if passed and least is not None and value is not None and self.misses(metric, value, least):
            found, asked = apart(value, least, 4)
            message = f"{self.plan.named(metric)} is {found}; the plan asks for {asked} by now"
            yield Contradiction("ev.limit", "EVAL-03", message, closes=True)
        if self.worth and (message := loss(self.worth)):
            yield Contradiction("ev.loss", "VAL-02", f"{message} {self.currency}", closes=True)
        p99 = self.bench.get("single_row_ms", {}).get("p99")
        if p99 is not None and limit is not None and p99 > limit:
            message = f"99 % of requests within {number(limit)} ms are planned, {number(p99, 1)} ms"
            message += " were measured"
            yield Contradiction("ev.latency", "DEP-02", message, closes=True)

    def _of_the_data(self) -> Iterator[Contradiction]:
        rows, planned = self.quality.get("rows"), self.answers["n_rows"]
        if rows is not None and not planned / 2 <= rows <= planned * 2:
            message = f"{number(planned)} rows are planned, {number(rows)} were read"
            yield Contradiction("ev.rows", "DATA-02", message)
        days = self.quality.get("span_days")
        if days is not None and days < self.span / 2:
            message = f"rows of {count(self.span, 'day')} are planned, those read cover "
            message += count(round(days), "day")
            yield Contradiction("ev.span", "DATA-01", message)
        yield from self._of_the_target()
        yield from self._of_the_rules()
        if self.drift.get("level") in ("warn", "act") and not self._looks_at_itself():
            message = f"no drift is planned, measured was {DRIFT[self.drift['level']]}"
            yield Contradiction("ev.drift", "MON-01", message)

    def _of_the_rules(self) -> Iterator[Contradiction]:
        """Yield the decisions that the rules would take otherwise by the measured facts."""
        facts = {"n_rows": self.quality.get("rows"), **self._facts()}
        if (days := self.quality.get("span_days")) and self.answers["time_column"]:
            facts["history_months"] = days / DAYS_A_MONTH
        facts = {name: value for name, value in facts.items() if value is not None}
        for identifier, again in rules.judge_again(self.plan, facts):
            decision, shown = self.plan.decisions[identifier], []
            uses = [name for name in facts if name in decision.uses]
            others = [name for name in uses if not near(facts[name], self.answers[name])]
            for name in others or uses:
                both = facts[name], self.answers[name]
                found, planned = map(self.WRITE[name], both)
                shown.append(f"{found} (planned {planned})")
            message = f"measured {', '.join(shown)}: by the rules it would be "
            message += f"{decision.said(again.values) or 'none'}; the answers gave "
            message += decision.said(decision.value) or "none"
            yield Contradiction("ev.rule", identifier, message)

    def _of_the_value(self) -> Iterator[Contradiction]:
        worth = self.worth
        if worth and is_sure_loss(worth, self.hoped):
            message = f"{number(self.hoped)} {self.currency} a year are planned, measured are "
            message += f"{interval(worth)} {self.currency}"
            yield Contradiction("ev.value", "VAL-02", message)
        gap = self.answers["yearly_gap"] + self.answers["indirect_gap"]
        if worth and worth["low"] is not None and worth["low"] > gap:
            message = f"{interval(worth)} {self.currency} a year were measured, but the problem "
            message += f"costs {number(gap)} {self.currency}: one is wrong"
            yield Contradiction("ev.gap", "VAL-02", message)
        even = self.plan.computed["VAL-01"]["break_even_benefit"].value
        if worth and even is not None and worth["value"] < 12 * even:
            message = f"{number(worth['value'])} {self.currency} a year were measured, below "
            message += f"{number(12 * even)} {self.currency}: "
            message += "the net present value is negative"
            sure = is_sure_loss(worth, 12 * even)
            yield Contradiction("ev.break_even", "VAL-01", message, closes=sure)
        yield from self._of_the_use()

    def _looks_at_itself(self) -> bool:
        """Whether drift was measured on the test set: nothing new has come yet."""
        return bool(self.drift.get("source") == "test set")

    def verdict(self) -> str:
        """Return go or stop in one line, with its reasons."""
        decision, override = self.plan.decisions["VAL-01"], self.plan.overrides.get("VAL-01")
        npv = self.plan.computed["VAL-01"]["npv"].value
        figure = f"NPV {number(npv)} {self.currency} by the answers"
        if override and override.value == "go":
            figure += f"; go by the team: {escape(override.reason)}"
        stopped = self.plan.value("verdict") == "stop"
        if stopped and not self.on_defaults:
            why = escape(override.reason) if override else f"{escape(decision.why)}{self._longer()}"
            return f"**stop**: {why} ({figure})"
        if not self.metrics:
            return f"{self._paper()}, not measured yet ({figure})"
        against = self.contradictions  # a waiver opens a gate; it makes no evidence
        closing = [escape(item.message) for item in against if item.closes]
        # The model's gate names a loss among its reasons: once is enough.
        closing = [text for text in closing if not any(text in o != text for o in closing)]
        if closing:
            return f"**stop**: {'; '.join(closing)} ({figure})"
        if stopped and self.worth and not self.made_up:
            worth = f"measured are {interval(self.worth)} {self.currency} a year"
            return f"{self._paper()}; {worth} ({figure})"
        if self.made_up:
            return f"{self._paper()}; made-up data prove the pipeline, not the case ({figure})"
        if against:
            doubts = "; ".join(escape(item.message) for item in against)
            return f"in doubt: {doubts}{self._besides()} ({figure})"
        if worse := [row.quantity for row in self.rows() if row.says == AGAINST]:
            told = f"the table contradicts the plan in {', '.join(worse)}{self._besides()}"
            return f"in doubt: {told} ({figure})"
        if self.unfounded:
            return f"not yet: what was measured agrees, but {self._ask()} ({figure})"
        return f"**go**: measured, and nothing contradicts the plan ({figure})"

    def _longer(self) -> str:
        """Say how long the rows that were read reach, where too short a history is the reason."""
        days = self.quality.get("span_days") or 0
        if self.plan.decisions["VAL-01"].rule != "value.history" or days <= self.span:
            return ""
        months = f"`ml update --data history_months={round(days / DAYS_A_MONTH, 1)}`"
        return f"; but the rows that were read reach over {count(round(days), 'day')}: {months}"

    def _paper(self) -> str:
        return f"open: {self._ask()}" if self.unfounded else "worth it on paper"

    def _besides(self) -> str:
        return f"; and {self._ask()}" if self.unfounded else ""

    def _ask(self) -> str:
        """Say which answers come first."""
        first = (
            "answer them first (`ml update`), or answer VAL-01 with an owner who vouches for them"
        )
        return f"nobody gave {self.unfounded}: {first}"

    def _from(self, planned: str, *names: str) -> str:
        """Write a planned figure with where it comes from; no name: answers together made it."""
        given = {
            ORIGINS.get(origin := self.plan.origins.get(name, "given"), origin) for name in names
        }
        return f"{planned} ({' and '.join(sorted(given)) or 'computed'})"

    def _agreed(self, planned: str, value: float, name: str) -> str:
        """Write a figure with where it comes from: one answer, or what others let of it."""
        return self._from(planned, *[name] * (value == self.answers[name]))

    def rows(self) -> list[Row]:
        """Return a row for each quantity that is planned and can be measured."""
        return [*self._data_rows(), *self._model_rows(), *self._use_rows()]

    def _row(
        self,
        identifier: str,
        quantity: str,
        planned: str,
        measured: str,
        *rules: str,
        says: str = "agrees",
    ) -> Row:
        broken = {item.rule for item in self.contradictions}
        if measured == MISSING:
            says = "open"
        elif broken & {*rules}:
            says = AGAINST
        elif self.made_up and says == "agrees":
            says = "says nothing"
        return Row(identifier, quantity, planned, measured, says)

    def _data_rows(self) -> Iterator[Row]:
        answers, quality = self.answers, self.quality
        rows = number(quality["rows"]) if quality else MISSING
        planned = self._from(number(answers["n_rows"]), "n_rows")
        yield self._row("DATA-02", "Rows", planned, rows, "ev.rows")
        if answers["time_column"]:
            days = quality.get("span_days")
            found = MISSING if days is None else count(round(days), "day")
            planned = self._from(count(round(self.span), "day"), "history_months")
            yield self._row("DATA-01", "Span of time", planned, found, "ev.span")
        yield from self._target_rows()
        delay = self._from(count(answers["label_delay_days"], "day"), "label_delay_days")
        yield Row("DATA-01", "Label delay", delay)

    def _model_rows(self) -> Iterator[Row]:
        answers, gate = self.answers, self.metrics.get("gate", {})
        used = self.metrics.get("primary_metric")
        best, asked = self._best, self.plan.value("primary_metric")
        other = f"{self.plan.named(used)}: " if used and used != asked else ""
        limit = self.plan.metric_limit
        least = "no limit"
        if limit is not None:
            end = "most" if self.is_loss(asked) else "least"
            least = f"{self.plan.named(asked)} of at {end} {number(limit, 4)}{self.unit(asked)}"
            taken = self.plan.overrides.get("EVAL-01")
            own = taken is not None and taken.limit is not None
            least = f"{least} (override)" if own else self._from(least, task.LIMIT)
        now = best.get("value")
        low = limit is not None and now is not None and self.misses(asked, now, limit)
        found = f"{other}{interval(best, 4)}{self.unit(used)}" if best and used else MISSING
        says = AGAINST if low or other else "agrees"
        yield self._row("EVAL-03", "Primary metric", least, found, says=says)
        gain = {name: gate.get(key) for name, key in GAIN.items()}
        needed = gate.get("min_gain", 0)
        small = (gain["value"] or 0) < needed or (gain["low"] or 0) <= min(0, needed)
        least = self._from(f"at least {self.shown_gain(answers['min_gain'])}", "min_gain")
        least = least if needed >= 0 else "told, none is asked for"
        found = self.gained(gain)
        says = AGAINST if small else "agrees" if needed >= 0 else "says nothing"
        yield self._row("EVAL-03", "Gain over best baseline", least, found, says=says)
        hoped = f"{number(self.hoped)} {self.currency}"
        hoped = self._agreed(hoped, self.hoped / 12, "monthly_benefit")
        rules = ("ev.loss", "ev.value", "ev.gap", "ev.break_even")
        found = f"{interval(self.worth)} {self.currency}" if self.worth else MISSING
        says = "better" if (self.worth.get("low") or 0) > self.hoped else "agrees"
        says = "says nothing" if self.made_up else says
        yield self._row("VAL-02", "Value a year", hoped, found, *rules, says=says)
        yield from self._decision_rows()

    def _use_rows(self) -> Iterator[Row]:
        answers = self.answers
        yield from self._load_rows()
        if "latency_ms" in answers:
            p99 = self.bench.get("single_row_ms", {}).get("p99")
            limit = self._from(f"99 % within {number(answers['latency_ms'])} ms", "latency_ms")
            found = MISSING if p99 is None else f"{number(p99, 2)} ms"
            says = "within the limit"
            yield self._row("DEP-02", "Latency", limit, found, "ev.latency", says=says)
        level = str(self.drift.get("level", MISSING))
        level = MISSING if level == "too_few_rows" else level  # neither for the plan nor against
        itself = level != MISSING and self._looks_at_itself()
        found = (OF_TEST_SET if itself else DRIFT).get(level) or level
        found += " in the test set itself" * itself
        says = "says little" if itself else "agrees"
        yield self._row("MON-01", "Drift", "none that matters", found, "ev.drift", says=says)
        run_cost = self.plan.number("VAL-01", "run_cost")
        cost = self._agreed(f"{number(run_cost)} {self.currency}", run_cost, "run_cost")
        yield Row("VAL-01", "Run cost a month", cost)
        if spent := self.progress.get("money", {}).get("spent"):
            budget = self.plan.number("BUD-01", "budget")
            says = AGAINST if spent > budget else "within the budget"
            shown = [f"{number(amount)} {self.currency}" for amount in (budget, spent)]
            most = self._agreed(f"at most {shown[0]}", budget, "build_cost")
            yield self._row("BUD-01", "Build cost", most, shown[1], says=says)


def report(project: Project, name: str) -> Report:
    """Return a report of the last run, empty where there is none."""
    path = project.path(f"reports/{name}.json")
    return storage.read_json(path, Report) if path.exists() else {}


def wilson(hits: int, rows: int) -> Report:
    """Return a share with its 95 % interval, empty without rows.

    Source: Wilson 1927, Journal of the American Statistical Association 22(158).
    """
    if not rows:
        return {}
    low, high = share_interval(hits, rows)
    return {"value": hits / rows, "low": low, "high": high}


def share_interval(hits: int, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of at least one row (Wilson 1927)."""
    share, spread = hits / rows, Z95**2 / rows
    centre = (share + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(share * (1 - share) / rows + spread / rows / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def near(value: float, planned: float) -> bool:
    """Whether a value differs from the planned one by less than a tenth."""
    return bool(planned) and 1 / SLACK < value / planned < SLACK


def within(value: float, found: Report) -> bool:
    """Whether a value lies in a measured interval."""
    return bool(found["low"] <= value <= found["high"])


def differs(planned: float, found: Report) -> bool:
    """Whether a share lies outside a measured interval, and more than a tenth beside it."""
    return not (within(planned, found) or near(found["value"], planned))


def interval(found: Report, digits: int = 0, *, share: bool = False) -> str:
    """Write a value with its 95 % interval; without a value it was not measured."""

    def shown(value: float) -> str:
        return percent(value) if share else number(value, digits)

    if found.get("value") is None:
        return MISSING
    low, high = found.get("low"), found.get("high")
    if low is None:
        return shown(found["value"])
    end = f"at least {shown(low)}" if high is None else f"{shown(low)} to {shown(high)}"
    return f"{shown(found['value'])} ({end})"


def more(value: float | None, digits: int | None = None, unit: str = "") -> str:
    """Say a difference with a word in place of its sign: 0.02 more than, 5 less than."""
    if value is None:
        return f"{UNKNOWN} against"
    return f"{number(abs(value), digits)}{unit} {'less' if value < 0 else 'more'} than"
