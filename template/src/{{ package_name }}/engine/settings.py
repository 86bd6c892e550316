"""One typed object from plan.yaml, overrides.yaml, config.yaml and the environment."""

import datetime as dt
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import yaml

from . import task, threads
from .errors import ProjectError, explained
from .facts import Facts

T = TypeVar("T")
# The same safe loader in C, which every wheel of PyYAML has, reads a plan ten times as fast.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MEND = "correct it, or restore it with git"
# Days between two checks of MON-03; a model that is three times as old is trained again.
RETRAIN_DAYS = {"weekly": 7, "monthly_check": 30, "quarterly_review": 91}
DAYS_A_MONTH = 365.25 / 12  # as the formulas of the plan count
LOG = "data/predictions"  # what services were asked and answered
RATING = "give maintainability, from 1 (hardly) to 5 (with ease), and reason"
WAIVER = "give reason, owner and until, such as 2027-03-31"
Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A settings group: unknown names and wrong types are errors."""


# Which of the rows with one key stay: the first, the last, or none where they differ.
Keep = Literal["first", "last", "none"]


class Data(Strict, frozen=True):
    """Where the data come from."""

    source: str = "data/sample/dataset.parquet"
    contract: str = "contracts/dataset.odcs.yaml"
    encoding: str = "utf-8"
    max_rejected_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    repeated_keys: Keep = "first"
    sample_rows: Count = 8000


class Training(Strict, frozen=True):
    """How models are fitted."""

    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 7
    test_share: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.2
    folds: Annotated[int, msgspec.Meta(ge=2)] = 5
    members: Count = 2
    max_rounds: Count = 2000
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    reweigh: str = ""  # a column of groups that learning shall not tell apart by their outcomes
    sums_by: tuple[str, ...] = ()  # of series: columns of groups that are added up too
    track: bool = True
    tracker: Literal["mlflow", "wandb"] = "mlflow"
    # Of an MLflow server; without one a file of the project.
    tracking_uri: Annotated[str, msgspec.Meta(pattern=r"^(https?://\S+)?$")] = ""


class Tuning(Strict, frozen=True):
    """How long `ml tune` searches."""

    trials: Count = 40
    time_limit_s: Count = 600


class Evaluation(Strict, frozen=True):
    """How results on the test set are reported."""

    bootstrap: Annotated[int, msgspec.Meta(ge=20)] = 500
    slices: tuple[str, ...] = ()
    min_slice_rows: Count = 50
    # What the metric of the worst slice is of that of all rows, at least; 0: only told.
    worst_slice: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.8
    # What the rate of the worst group is of that of the best, at least; 0: only told.
    fair_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class Serving(Strict, frozen=True):
    """The limits of the service."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, lt=2**16)] = 8000
    max_rows: Count = 1000
    max_body_mb: Positive = 2.0
    max_connections: Count = 800
    max_held_mb: Positive = 64.0
    read_seconds: Positive = 10.0
    api_keys: str = ""  # a file of hashes; without one everybody may ask
    jwt_audience: str = ""  # whom tokens are for that ML_JWT_KEY verifies
    jwt_issuer: str = ""
    metrics_port: Annotated[int, msgspec.Meta(ge=0, lt=2**16)] = 0  # 0: that of the service
    fallback: dict[str, Any] = {}  # outputs of an answer where scoring breaks
    log_predictions: bool = True


class Bench(Strict, frozen=True):
    """What a model may take up at most; `ml bench` fails above it."""

    max_model_mb: Positive = 200.0
    max_memory_mb: Positive = 512.0


class Monitoring(Strict, frozen=True):
    """When drift counts."""

    warn: Positive = 0.1
    act: Positive = 0.25
    min_rows: Count = 500
    window_days: Count = 7
    max_state_days: Positive = 2.0


class Config(Strict, frozen=True):
    """config.yaml: what people tune while the project runs."""

    data: Data = msgspec.field(default_factory=Data)
    training: Training = msgspec.field(default_factory=Training)
    tuning: Tuning = msgspec.field(default_factory=Tuning)
    evaluation: Evaluation = msgspec.field(default_factory=Evaluation)
    serving: Serving = msgspec.field(default_factory=Serving)
    bench: Bench = msgspec.field(default_factory=Bench)
    monitoring: Monitoring = msgspec.field(default_factory=Monitoring)

    @property
    def of_training(self) -> dict[str, dict[str, Any]]:
        """The settings that a model and its judgement follow from, by group."""
        groups = {name: getattr(self, name) for name in ("training", "tuning", "evaluation")}
        found = {name: msgspec.structs.asdict(group) for name, group in groups.items()}
        aside = ("threads", "track", "tracker", "tracking_uri")  # an address may hold a password
        found["training"] = {k: v for k, v in found["training"].items() if k not in aside}
        return found


GROUPS = {group.name: group.type() for group in msgspec.structs.fields(Config)}
COMBINED = ("blend", "stack")  # candidates that are made of the others
VARIABLES = {  # every setting, by the variable that overrides it
    f"ML_{group.name}__{field.name}".upper(): (group.name, field.name)
    for group in msgspec.structs.fields(Config)
    for field in msgspec.structs.fields(group.type)
}


def _form(place: str, variable: str = "") -> str:
    """Return a form of the setting at `place`, such as "training.seed", that works, and where."""
    group, _, rest = place.partition(".")
    name = rest.partition("[")[0]
    if group not in GROUPS:
        return f"the groups are {', '.join(GROUPS)}, each with settings such as `data: {{...}}`"
    if name not in GROUPS[group].__struct_fields__:
        names = ", ".join(GROUPS[group].__struct_fields__)
        return f"write `{group}: {{NAME: VALUE}}` in config.yaml, where NAME is one of {names}"
    default = getattr(GROUPS[group], name)
    value = "[region, plan]" if default == () else msgspec.json.encode(default).decode()
    line = f"`{group}: {{{name}: {value}}}` in config.yaml"
    if not variable:
        return f"write such as {line}"
    return f"set such as {variable}={shlex.quote(value)}, or unset it and write {line}"


def refused(place: str, problem: str) -> ProjectError:
    """Say why the value of a setting cannot be used, where it is set and which form works."""
    set_by = (n for n in sorted(os.environ) if VARIABLES.get(n.upper()) == tuple(place.split(".")))
    variable = next(set_by, "")
    where = f"environment: {variable}" if variable else "config.yaml"
    return ProjectError(f"{where}: {place}: {problem}: {_form(place, variable)}")


@cache
def _tell_misspelt(name: str) -> None:
    """Name the setting that an unknown variable may mean: it may be another tool's, so go on."""
    meant = get_close_matches(name.upper(), VARIABLES, 1, 0.85)
    if name.startswith("ML_") and meant:
        print(f"environment: {name} has no effect; {meant[0]} is a setting", file=sys.stderr)


class Identity(msgspec.Struct, frozen=True):
    """The project's names."""

    name: str
    slug: str
    package: str


class Judged(msgspec.Struct, frozen=True, array_like=True):
    """A rule that measured facts can judge again: its id, its condition and what it decides."""

    id: str
    when: str
    then: tuple[str, ...]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that a rule derived from the answers; `words` has each value that can be."""

    output: str
    value: Any
    rule: str
    why: str = ""
    sources: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    words: dict[str, str] = {}
    alternatives: tuple[str, ...] = ()
    judged: tuple[Judged, ...] = ()
    fixed: str = ""  # why a team cannot override it

    def said(self, value: Any) -> str:
        """Return a value of this decision in words for people; an unknown one stays as it is."""
        values = value if isinstance(value, list | tuple) else [value]
        return ", ".join(self.words.get(item, str(item)) for item in values)


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """A number that a formula computed from the answers."""

    value: float | int | bool | None
    unit: str = ""
    formula: str = ""
    source: str = ""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate asks; which share of the work is done there, and in which month that is.

    `month` is the likely one, four of five projects keep `p80_month`; null where no month is set.
    """

    asks: str
    share: float | None = None
    month: float | None = None
    p80_month: float | None = None


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One block of PLAN.md: `lines` is the content of its auto part, `question` is for people.

    `measured` is the command that measures it. A `row` stands in the tables of the design choices.
    """

    title: str
    gate: str
    applies: bool = True
    human: bool = True
    question: str = ""
    measured: str = ""
    row: bool = False
    lines: tuple[str, ...] = ()


class Override(Strict, frozen=True):
    """A team's own decision in place of a derived one; `limit` belongs to its own EVAL-01."""

    value: Any
    reason: str
    limit: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Waiver(Strict, frozen=True):
    """Leave to pass a gate without a block, from whom, why and until which date."""

    reason: str
    owner: str
    until: dt.date


class Rating(Strict, frozen=True):
    """How well people can keep a model up, from 1 (hardly) to 5 (with ease), and why."""

    maintainability: Annotated[int, msgspec.Meta(ge=1, le=5)]
    reason: str


class Skill(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody has to know: until which gate, weeks to learn it, what to do if nobody does."""

    id: str
    what: str
    role: str
    weeks: int
    gate: str
    month: float
    action: str


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """What may go wrong: likelihood and impact, 1 to 5, what watches it, whose role it is."""

    id: str
    risk: str
    likelihood: int
    impact: int
    watched: str
    owner: str

    @property
    def score(self) -> int:
        """Likelihood times impact, 1 to 25."""
        return self.likelihood * self.impact


class Duty(msgspec.Struct, frozen=True, kw_only=True):
    """Who stands for a part of the work, by role, and the paths that belong to it."""

    area: str
    accountable: str
    responsible: str
    consulted: tuple[str, ...] = ()
    informed: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()  # ids of its blocks, or how they begin


class LegalDuty(msgspec.Struct, frozen=True, kw_only=True):
    """What a law asks for: its article, why and since when, its owner, where the evidence goes."""

    id: str
    duty: str
    article: str
    since: str = ""  # ISO date from which it binds; empty: not known
    source: str = ""
    reason: str
    owner: str
    evidence: str


class Plan(msgspec.Struct, kw_only=True, dict=True):
    """plan/plan.yaml with the team's overrides, waivers and ratings of models."""

    format: int
    project: Identity
    answers: dict[str, Any]
    origins: dict[str, str] = {}  # of each figure: given, preset or default
    decisions: dict[str, Decision]
    computed: dict[str, dict[str, Number]]
    blocks: dict[str, Block]
    gates: dict[str, Gate] = {}
    flow: tuple[str, ...] = ()  # a diagram of a row's way through the system
    responsibilities: tuple[Duty, ...] = ()
    skills: tuple[Skill, ...] = ()
    risks: tuple[Risk, ...] = ()
    laws_checked: str | None = None
    duties: tuple[LegalDuty, ...] = ()
    sources: dict[str, str] = {}
    overrides: dict[str, Override] = {}
    waivers: dict[str, Waiver] = {}
    ratings: dict[str, Rating] = {}

    def decision_id(self, output: str) -> str:
        """Return the id of the decision with this output, such as TRAIN-01 for `split`."""
        for identifier, decision in self.decisions.items():
            if decision.output == output:
                return identifier
        raise ProjectError(f"plan/plan.yaml has no decision {output!r}: run `ml update`")

    def value(self, output: str) -> Any:
        """Return what was decided for `output`; an override wins over the rule."""
        identifier = self.decision_id(output)
        override = self.overrides.get(identifier)
        return override.value if override else self.decisions[identifier].value

    def named(self, name: str) -> str:
        """Return what may be decided in words: LightGBM for lightgbm, by time for time."""
        known = self.decisions.values()
        return next((d.words[name] for d in known if name in d.words), name)

    @property
    def metric_limit(self) -> float | None:
        """OBJ-01's limit of the primary metric; None when it was set for another metric."""
        identifier = self.decision_id("primary_metric")
        override = self.overrides.get(identifier)
        if override and override.limit is not None:
            return override.limit
        same = self.value("primary_metric") == self.decisions[identifier].value
        return float(self.answers[task.LIMIT]) if same else None

    def facts(self, names: Iterable[str]) -> dict[str, Any]:
        """Return decisions by output and answers by name; None for what the plan lacks."""
        outputs = {decision.output for decision in self.decisions.values()}
        return {name: self._fact(name, outputs) for name in names}

    def _fact(self, name: str, outputs: set[str]) -> Any:
        if name == "metric_limit":
            return self.metric_limit
        return self.value(name) if name in outputs else self.answers.get(name)

    def changed(self, used: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is another fact now than in `used`, which a report was made with."""
        return {name: now for name, now in self.facts(used).items() if now != used[name]}

    def number(self, identifier: str, name: str) -> float:
        """Return a computed number of the plan, such as ("VAL-01", "npv"), as a float."""
        try:
            value = self.computed[identifier][name].value
        except KeyError:
            raise ProjectError(f"plan/plan.yaml has no {identifier} {name}") from None
        if value is None:
            raise ProjectError(f"plan/plan.yaml: {identifier} {name} has no value")
        return float(value)


@dataclass(frozen=True)
class Project:
    """A generated project on disk."""

    root: Path

    @cached_property
    def facts(self) -> Facts:
        """The plan's facts, typed; what is read of them is noted."""
        return Facts(self.plan.facts)

    def path(self, relative: str) -> Path:
        """Return a path inside the project; absolute paths stay as they are."""
        return self.root / relative

    @cached_property
    def config(self) -> Config:
        """config.yaml with `ML_<GROUP>__<NAME>` variables of the environment on top."""
        path = self.path("config.yaml")
        content = load_yaml(path) if path.exists() else {}
        config = convert(content, Config, str(path), _form)
        for name in sorted(os.environ):
            if name.upper() not in VARIABLES:
                _tell_misspelt(name)
                continue
            group, field = VARIABLES[name.upper()]
            form = partial(_form, variable=name)
            try:
                content.setdefault(group, {})[field] = yaml.safe_load(os.environ[name])
            except (yaml.YAMLError, ValueError, RecursionError):
                said = f"no YAML value: {form(f'{group}.{field}')}"
                raise ProjectError(f"environment: {name}: {said}") from None
            config = convert(content, Config, f"environment: {name}", form)
        threads.ask(config.training.threads)
        return config

    @cached_property
    def plan(self) -> Plan:
        """plan/plan.yaml with plan/overrides.yaml."""
        path = self.path("plan/plan.yaml")
        plan = convert(load_yaml(path), Plan, str(path), MEND)
        overrides = self.path("plan/overrides.yaml")
        if overrides.exists():
            content = load_yaml(overrides)
            where = f"{overrides}: waivers"
            plan.waivers = _named(content.pop("waivers", None), Waiver, where, WAIVER)
            if foreign := sorted(set(plan.waivers) - set(plan.blocks)):
                need = "name the block that a finding is of, such as EVAL-03"
                raise ProjectError(f"{where}: no block {foreign[0]} in PLAN.md: {need}")
            where = f"{overrides}: ratings"
            plan.ratings = _named(content.pop("ratings", None), Rating, where, RATING)
            plan.overrides = _named(content, Override, str(overrides), MEND)
            unknown = sorted(set(plan.overrides) - set(plan.decisions))
            if unknown:
                known = ", ".join(plan.decisions)
                raise ProjectError(f"{overrides}: no decision {unknown[0]}; there are {known}")
            for identifier, override in plan.overrides.items():
                if problem := _refused(plan, identifier, override):
                    raise ProjectError(f"{overrides}: {identifier} {problem}")
            if "MON-03" in plan.overrides:
                numbers, days = plan.computed["MON-03"], RETRAIN_DAYS[plan.value("retrain")]
                for name, value in (("interval", days), ("max_age_days", 3 * days)):
                    numbers[name] = msgspec.structs.replace(numbers[name], value=value)
        return plan

    @property
    def contract_path(self) -> Path:
        """The data contract in use."""
        return self.path(self.config.data.contract)


def _named(content: Any, type: type[T], where: str, mend: str) -> dict[str, T]:
    """Turn a mapping of names to parsed YAML into values of `type`; nothing is an empty one."""
    items = convert(content or {}, dict[str, Any], where, mend)
    return {name: convert(item, type, f"{where}: {name}", mend) for name, item in items.items()}


def _refused(plan: Plan, identifier: str, override: Override) -> str:
    """Say why a decision cannot be what a team wrote, and what to change instead; "" if it can."""
    decision, value = plan.decisions[identifier], override.value
    many = isinstance(decision.value, list)
    chosen = value if isinstance(value, list) else [value]
    if decision.fixed:
        behind = ", ".join(decision.uses)
        way = f"change {behind} with `ml update --data NAME=VALUE`" if behind else "remove it here"
        return f"cannot be overridden: {decision.fixed}; {way}"
    if (
        isinstance(value, list) != many
        or not chosen
        or any(v not in decision.words for v in chosen)
    ):
        return f"cannot be {value!r}: give {'a list of ' * many}{', '.join(decision.words)}"
    if decision.output == "candidates" and not set(chosen) - set(COMBINED):
        others = [name for name in decision.words if name not in COMBINED]
        return (
            f"cannot be {' and '.join(chosen)} alone: name models to combine, {', '.join(others)}"
        )
    return ""


def find_project(start: Path | None = None) -> Project:
    """Return the project that holds `start` (default: the working folder)."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "plan" / "plan.yaml").is_file():
            return Project(folder)
    raise ProjectError(f"no project here: {here} and its parents hold no plan/plan.yaml")


def load_yaml(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """Read a mapping; a name given twice is an error, not a silent choice of the last one.

    `content` are the bytes of `path` for a caller who has read them already.
    """
    try:
        text = (path.read_bytes() if content is None else content).decode("utf-8")
        mapping = yaml.load(text, Loader=_Loader)
    except FileNotFoundError:
        raise ProjectError(f"{path} is missing: restore it with git") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ProjectError(f"{path}: not valid YAML: {reason}: {MEND}") from None
    if mapping is not None and not isinstance(mapping, dict):
        raise ProjectError(f"{path}: expected a mapping of names to values: {MEND}")
    return mapping or {}


class _Loader(LOADER):  # type: ignore[misc]
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []  # else it is refused below
        for key, _ in pairs:
            if key.tag.endswith(":bool"):  # `on` of a join is a name, whatever YAML 1.1 says
                key.tag = self.DEFAULT_SCALAR_TAG
        keys = Counter(str(key.value) for key, _ in pairs)
        for key in (key for key, times in keys.items() if times > 1):
            raise yaml.MarkedYAMLError(
                problem=f"{key} is given twice", problem_mark=node.start_mark
            )
        return dict(super().construct_mapping(node, deep))

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (AttributeError, KeyError, ValueError):  # such as the 30th of February
            kind = node.tag.rpartition(":")[2]
            raise yaml.MarkedYAMLError(
                problem=f"{node.value!r} is no {kind}", problem_mark=node.start_mark
            ) from None


def convert(content: Any, type: type[T], where: str, mend: str | Callable[[str], str]) -> T:
    """Turn parsed YAML into `type`; what does not fit is a ProjectError with place and `mend`.

    `mend` may be a function of the place, such as "training.seed".
    """
    try:
        return msgspec.convert(content, type, strict=True)
    except msgspec.ValidationError as error:
        problem, place = explained(error, type)
        mend = mend(place) if callable(mend) else mend
        named = f"{place}: {problem}" if place else problem
        raise ProjectError(f"{where}: {named}: {mend}") from None
