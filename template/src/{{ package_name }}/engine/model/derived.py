"""Features that a team declares, learnt from training rows and run as nodes before the models.

`Recipe` is what was declared, `Derived` what was learnt, `Sees` the part of it that a model sees.
"""

import difflib
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from .. import history, task
from ..data.contract import Contract
from ..errors import ProjectError, told
from ..kinds import READ
from ..settings import Project
from .builder import Graph, info, model_of
from .history import Past
from .learners import LEARNERS
from .made import PREFIX
from .operators import Floats, Learnt, Operator, Rows
from .output import Context
from .plain import Matrix
from .scorer import MICROSECONDS_A_DAY, PARTS, FeatureSpec, NumericFeature
from .selection import Selection
from .sessions import in_parts, session
from .texts import Reader, TextFeature
from .values import LARGEST
from .words import OfText, complete

# Models that cut columns where they will; all others add up columns or measure distances.
TREES = (
    *("single_rule", "decision_tree", "random_forest", "extra_trees", "bagged_trees"),
    *("isolation_forest", "catboost", "xgboost"),
)


class Step(NamedTuple):
    """An operator and what it has learnt."""

    operator: Operator
    learnt: Learnt
    width: int

    @property
    def names(self) -> list[str]:
        """Names of its columns."""
        name = self.operator.name
        return [name] if self.width == 1 else [f"{name}.{n + 1}" for n in range(self.width)]


class Derived:
    """Learnt features: columns of `x`, then those of each step; a view keeps some of them."""

    def __init__(self, spec: FeatureSpec, steps: Sequence[Step]) -> None:
        self.spec, self.steps = spec, {step.operator.name: step for step in steps}
        self.views: dict[str, list[str]] = {}  # names of the columns that each kind of model sees
        self._runs: dict[str, Any] = {}

    def spec_of(self, view: str) -> FeatureSpec:
        """Return what a model is told of its matrix: numbers, then codes."""
        names = set(self.views[view])
        made = [name for step in self.steps.values() for name in step.names]
        numbers = [item for item in self.spec.numeric if item.name in names]
        of_texts = {n: step.operator.sources[0] for step in self.texts for n in step.names}
        place = sum(item.name not in self.spec.context for item in numbers)
        numbers[place:place] = [NumericFeature(n, of) for n, of in of_texts.items() if n in names]
        made = [name for name in made if name not in of_texts]
        numbers += [NumericFeature(name, name) for name in made if name in names]
        codes = tuple(item for item in self.spec.categorical if item.name in names)
        context = tuple(name for name in self.spec.context if name in names)
        past = tuple(feature for feature in self.spec.history if feature.name in names)
        return FeatureSpec(tuple(numbers), codes, context, past)

    @property
    def texts(self) -> list[Step]:
        """Return the steps that make numbers of texts."""
        return [step for step in self.steps.values() if isinstance(step.operator, OfText)]

    def served(self) -> "Derived":
        """Return what a bundle has: its `x` has the numbers that are made of texts, not codes."""
        spec, place = self.spec, self.spec.measured
        names = [name for step in self.texts for name in step.names]
        numbers = tuple(NumericFeature(name, name) for name in names)
        words = tuple(
            TextFeature(item.name, item.sources[0], tuple(step.names), item.takes, item.way)
            for step in self.texts
            for item in [step.operator]
        )
        numeric = (*spec.numeric[:place], *numbers, *spec.numeric[place:])
        spec = msgspec.structs.replace(spec, numeric=numeric, texts=(), words=words)
        others = [step for step in self.steps.values() if step not in self.texts]
        found = Derived(spec, others)
        found.views = self.views
        return found

    @property
    def words(self) -> list[Reader]:
        """Return what makes the numbers of texts in a bundle."""
        return [step.operator.words(step.learnt) for step in self.texts]  # type: ignore[attr-defined]

    def emit(self, graph: Graph, view: str, made: dict[str, str]) -> str:
        """Add nodes from `x` to the matrix of a view, float32; `made` names the tensors so far."""
        spec, places = self.spec_of(view), {name: i for i, name in enumerate(self.spec.names)}
        wanted = {item.name for item in spec.numeric}
        steps = [step for step in self.steps.values() if wanted & set(step.names)]
        self._columns(graph, steps, made)
        for step in self.steps.values():
            if step.operator.name in self._needed(steps) and step.operator.name not in made:
                inputs = [made[source] for source in step.operator.sources]
                tensor = step.operator.emit(graph, inputs, step.learnt)
                named = graph.node("Identity", [tensor], tensor_of(step))
                made[step.operator.name] = named
        plain = [places[item.name] for item in spec.numeric if item.name in places]
        codes = [places[item.name] for item in spec.categorical]
        parts = [_taken(graph, plain)] if plain else []
        parts += [self._as_seen(graph, steps, wanted, made)] if steps else []
        parts += [_taken(graph, codes)] if codes else []
        order = [item.name for item in spec.numeric]
        joined = [name for name in order if name in places]
        joined += [name for step in steps for name in step.names if name in wanted]
        if joined == order:
            return graph.node("Concat", parts, f"seen_{view}", axis=1)
        turned = [joined.index(name) for name in order] + [*range(len(order), len(spec.names))]
        whole = graph.node("Concat", parts, axis=1)
        turn = graph.constant(turned, np.int64)
        return graph.node("Gather", [whole, turn], f"seen_{view}", axis=1)

    def matrix(self, x: Matrix, view: str, threads: int = 1) -> Matrix:
        """Run the nodes for rows of shape (rows, features)."""
        if view not in self._runs:
            graph = Graph()
            made = self.emit(graph, view, {})
            width = len(self.views[view])
            inputs = [info("x", TensorProto.FLOAT, len(self.spec.names))]
            self._runs[view] = session(
                model_of(graph, inputs, [info(made, TensorProto.FLOAT, width)])
            )
        run = self._runs[view].run
        (found,) = in_parts(lambda part: list(run(None, {"x": part})), x, threads)
        return np.asarray(found)

    def _needed(self, steps: Iterable[Step]) -> set[str]:
        """Return the names of steps and of what they are made of."""
        found: set[str] = set()
        waiting = [step.operator for step in steps]
        while waiting:
            operator = waiting.pop()
            found.add(operator.name)
            waiting += [self.steps[s].operator for s in operator.sources if s in self.steps]
        return found

    def _columns(self, graph: Graph, steps: Iterable[Step], made: dict[str, str]) -> None:
        """Add the columns of `x` that steps are made of, in double precision."""
        sources = [s for n in self._needed(steps) for s in self.steps[n].operator.sources]
        columns = [n for n in self.spec.names if n in set(sources) - made.keys()]
        if not columns:
            return
        taken = _taken(graph, [self.spec.names.index(name) for name in columns])
        double = graph.node("Cast", [taken], to=TensorProto.DOUBLE)
        made |= dict(zip(columns, graph.split(double, len(columns)), strict=True))

    def _as_seen(
        self, graph: Graph, steps: Sequence[Step], wanted: set[str], made: dict[str, str]
    ) -> str:
        """Join the columns of steps in single precision; what is beyond it is missing."""
        tensors = [made[step.operator.name] for step in steps]
        joined = graph.node("Concat", tensors, axis=1)
        names = [name for step in steps for name in step.names]
        kept = [index for index, name in enumerate(names) if name in wanted]
        if len(kept) < len(names):
            joined = graph.node("Gather", [joined, graph.constant(kept, np.int64)], axis=1)
        size = graph.node("Abs", [joined])
        is_finite = graph.node("LessOrEqual", [size, graph.constant([[LARGEST]])])
        finite = graph.node("Where", [is_finite, joined, graph.constant([[np.nan]])])
        return graph.node("Cast", [finite], to=TensorProto.FLOAT)


class Sees(NamedTuple):
    """What a model sees of the columns: a view of learnt features."""

    derived: Derived
    view: str

    @property
    def spec(self) -> FeatureSpec:
        """What the model is told of its matrix."""
        return self.derived.spec_of(self.view)

    def served(self) -> "Sees":
        """Return it as a bundle has it, without texts."""
        return Sees(self.derived.served(), self.view)

    def matrix(self, x: Matrix, threads: int = 1) -> Matrix:
        """Return the model's matrix for rows of the columns."""
        return self.derived.matrix(x, self.view, threads)


class Recipe:
    """What a team declared, checked against the columns; remembers what it learnt of which rows."""

    def __init__(
        self, operators: Sequence[Operator], selection: Selection, seed: int, delay: int = 0
    ) -> None:
        self.operators, self.selection = operators, selection
        self.seed, self.delay = seed, delay  # microseconds until a target is known
        self._known: dict[bytes, Derived] = {}
        self._told: dict[tuple[bytes, str], Floats] = {}  # of texts, which take long

    def learn(
        self, x: Matrix, y: NDArray[Any] | None, time: NDArray[np.int64] | None, spec: FeatureSpec
    ) -> tuple[Derived, dict[str, Floats]]:
        """Learn from training rows; also return each step's columns as models may train on."""
        digest = hashlib.sha256(np.ascontiguousarray(x).data)
        digest.update(b"" if y is None else np.ascontiguousarray(y).data)
        which = digest.digest()
        known = self._known.get(which)
        rows = Rows(goals(y), time, self.delay, self.seed)
        values: dict[str, Floats] = {}
        steps: list[Step] = []
        for operator in self.operators:
            columns, levels = _inputs(operator, x, values, spec)
            learnt = known.steps[operator.name].learnt if known else None
            try:
                learnt = operator.learn(columns, levels, rows) if learnt is None else learnt
                found = self._told.get((which, operator.name))
                if found is None:
                    found = operator.training(columns, levels, rows)
            except ValueError as error:
                raise refused(operator, str(error)) from None
            if found is not None and operator.takes in READ:
                self._told[which, operator.name] = found
            found = _run(operator, learnt, columns) if found is None else found
            values[operator.name] = found
            steps.append(Step(operator, learnt, found.shape[1]))
        if known is None:
            known = self._known[which] = Derived(spec, steps)
            for view in ("trees", "linear"):
                known.views[view] = self._selected(known, view, x, y, values, rows)
        return known, values

    def training(self, derived: Derived, view: str, x: Matrix, values: dict[str, Floats]) -> Matrix:
        """Return the matrix of a view of training rows from `values` of `learn`."""
        spec, places = derived.spec_of(view), {n: i for i, n in enumerate(derived.spec.names)}
        columns = {
            name: values[step.operator.name][:, i]
            for step in derived.steps.values()
            for i, name in enumerate(step.names)
        }
        found = np.empty((len(x), len(spec.names)), dtype=np.float32)
        for index, name in enumerate(spec.names):
            if name in places:
                found[:, index] = x[:, places[name]]
            else:
                is_finite = np.abs(columns[name]) <= LARGEST
                found[:, index] = np.where(is_finite, columns[name], np.nan)
        return found

    def _selected(
        self,
        derived: Derived,
        view: str,
        x: Matrix,
        y: NDArray[Any] | None,
        values: dict[str, Floats],
        rows: Rows,
    ) -> list[str]:
        """Return the names that a kind of model sees, after selection."""
        seen = [op for op in self.operators if op.to in ("all", view)]
        gone = {source for op in seen if op.instead for source in op.replaced}
        gone |= {item.name for item in derived.spec.texts}
        gone |= {name for op in seen if op.name in gone for name in derived.steps[op.name].names}
        made = [name for op in seen for name in derived.steps[op.name].names]
        kept = [name for name in [*derived.spec.names, *made] if name not in gone]
        numbers = {item.name for item in derived.spec.numeric}
        order = [name for name in kept if name in numbers or name in made]
        order += [name for name in kept if name not in order]
        if self.selection.method == "none":
            return order
        if y is None or rows.goals is None:
            raise ProjectError("features.py, SELECTION: it needs a target that every row has")
        derived.views[view] = order
        columns = self.training(derived, view, x, values).astype(np.float64)
        filled = _without_gaps(columns, derived.spec_of(view), rows)
        return [order[place] for place in self.selection.choose(filled, y, self.seed)]


def view_of(model: str) -> str:
    """Return which features a model sees."""
    return "trees" if model in TREES or model.startswith("lightgbm") else "linear"


def goals(y: NDArray[Any] | None) -> Floats | None:
    """Return what features learn of the target, shape (rows, goals).

    None without a target, or where it is not known of every row.
    """
    if y is None or (y.dtype.kind == "f" and np.isnan(y).any()):
        return None
    return task.goals(y)


def tensor_of(step: Step) -> str:
    """Return the name of a feature's tensor in the graph."""
    return f"{PREFIX}{step.operator.name}"


def refused(operator: Operator | Past, problem: str) -> ProjectError:
    """Return the error that names the declaration."""
    return ProjectError(f"features.py, {type(operator).__name__} {operator.name!r}: {problem}")


def declared(
    features: Sequence[Operator | Past], selection: Selection, project: Project, contract: Contract
) -> Recipe | None:
    """Return what a team declares, checked against the contract; None when it is nothing."""
    kinds: dict[str, str] = {}
    dated = (contract.time,) if _sees_time(contract, task.context(project.facts)) else ()
    for column in (*contract.features, *filter(None, dated)):
        if column.kind in ("date", "timestamp"):
            hours = () if column.kind == "timestamp" else ("hour", "minute")
            parts = [part for part in (*PARTS, "elapsed") if part not in hours]
            kinds |= {f"{column.name}.{part}": "number" for part in parts}
        else:
            plain = column.kind in ("category", *READ)
            kinds[column.name] = column.kind if plain else "number"
    past = history.declared(features, project, contract)
    operators = [item for item in _complete(features, contract) if not isinstance(item, Past)]
    root = project.root
    operators = [item.placed(root) if isinstance(item, OfText) else item for item in operators]
    others = {item.name for item in contract.columns} - kinds.keys()
    for item in past:
        if item.name in kinds or item.name in others:
            raise refused(item, "this name is taken: give it another")
        kinds[item.name] = "number"
    check(operators, selection, kinds, others)
    if not operators and selection.method == "none":
        return None
    delay = round(project.facts.label_delay_days * MICROSECONDS_A_DAY)
    return Recipe(operators, selection, project.config.training.seed, delay)


def calendar_of(
    features: Sequence[Operator | Past], project: Project, contract: Contract
) -> tuple[Context, ...]:
    """Return the task's context with the parts of the row's time that features are made of."""
    context = task.context(project.facts)
    if not _sees_time(contract, context) or contract.time is None:
        return context
    used = {source for item in features for source in item.sources}
    calendar: tuple[Context, ...] = ("year", "month", "day", "weekday")
    parts = (part for part in calendar if f"{contract.time.name}.{part}" in used)
    return tuple(dict.fromkeys((*context, *parts)))


def brought(project: Project, spec: FeatureSpec) -> list[str]:
    """Return the parts of the row's time that models see only because a feature is made of them."""
    own = task.context(project.facts)
    return [name for name in spec.context if name.rpartition(".")[2] not in own]


def _sees_time(contract: Contract, context: Sequence[Context]) -> bool:
    """Whether models know which day it is for which they are asked."""
    return contract.time is not None and {"weekday", "month"} <= {*context}


def _complete(features: Sequence[Any], contract: Contract) -> list[Any]:
    way = 0 if task.LABELS_NEEDED else 1
    read = {c.name: LEARNERS[c.kind][way] for c in contract.features if c.kind in READ}
    return complete(features, read) if read else [*features]


def check(
    operators: Sequence[Operator], selection: Selection, kinds: dict[str, str], others: set[str]
) -> None:
    """ProjectError for the first declaration that is wrong.

    `kinds` maps what a feature may be made of to "number", "category" or "text",
    `others` are columns that are no features.
    """
    known, dates = dict(kinds), {name.rpartition(".")[0] for name in kinds}
    for operator in operators:
        if not isinstance(operator, Operator):
            raise ProjectError(f"features.py: FEATURES holds {operator!r}, which is no operator")
        try:
            msgspec.convert(msgspec.structs.asdict(operator), type(operator))
        except msgspec.ValidationError as error:
            raise refused(operator, told(error, type(operator))) from None
        if not operator.name.strip():
            raise refused(operator, "it has no name: give it one, as its first argument")
        if operator.name in known or operator.name in others:
            raise refused(operator, "this name is taken: give it another")
        if problem := operator.problem():
            raise refused(operator, problem)
        for source in operator.sources:
            for column in {source, source.rpartition(".")[0]} & (others - dates):  # or a part
                raise refused(operator, f"{column!r} is no feature of the contract")
            if source not in known:
                near = difflib.get_close_matches(source, known, 1)
                near = near or [name for name in known if name.startswith(f"{source}.")]
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise refused(operator, f"there is no {source!r} before it{hint}")
            if known[source] != operator.takes:
                raise refused(operator, f"{source!r} is a {known[source]}, not a {operator.takes}")
        known[operator.name] = "number"
    try:
        msgspec.convert(msgspec.structs.asdict(selection), Selection)
    except TypeError as error:
        raise ProjectError(f"features.py, SELECTION: {error}") from None
    except msgspec.ValidationError as error:
        raise ProjectError(f"features.py, SELECTION: {told(error, Selection)}") from None


def _taken(graph: Graph, places: list[int]) -> str:
    """Return columns of `x`."""
    return graph.node("Gather", ["x", graph.constant(places, np.int64)], axis=1)


def _inputs(
    operator: Operator, x: Matrix, values: dict[str, Floats], spec: FeatureSpec
) -> tuple[Floats, tuple[str, ...]]:
    """Return the columns of an operator, shape (rows, sources), and levels of a category."""
    places = {name: place for place, name in enumerate(spec.names)}
    parts = []
    for source in operator.sources:
        if source not in places and source not in values:
            raise refused(
                operator, f"{source!r} is not there or does not vary in the training rows"
            )
        column = values[source] if source in values else x[:, places[source], None]
        if column.shape[1] != 1:
            raise refused(operator, f"{source!r} has several columns")
        parts.append(column)
    coded = {item.name: item.levels for item in (*spec.categorical, *spec.texts)}
    levels = coded[operator.sources[0]] if operator.takes != "number" else ()
    return np.hstack(parts).astype(np.float64), levels


def _run(operator: Operator, learnt: Learnt, columns: Floats) -> Floats:
    """Run the nodes of one operator."""
    graph = Graph()
    inputs = graph.split("columns", columns.shape[1])
    graph.node("Identity", [operator.emit(graph, inputs, learnt)], "feature")
    given = [info("columns", TensorProto.DOUBLE, columns.shape[1])]
    outputs = [helper.make_tensor_value_info("feature", TensorProto.DOUBLE, [None, None])]
    opened = session(model_of(graph, given, outputs))
    return np.asarray(opened.run(None, {"columns": np.ascontiguousarray(columns)})[0])


def _without_gaps(columns: Floats, spec: FeatureSpec, rows: Rows) -> Floats:
    """Fill gaps with means; a category shows the mean target of its level in other rows."""
    from .lookups import TargetEncoding

    width = len(spec.numeric)
    for index, item in enumerate(spec.categorical, width):
        encoding = TargetEncoding(item.name, of=item.name)
        columns[:, index] = encoding.training(columns[:, [index]], item.levels, rows)[:, 0]
    gaps = np.isnan(columns)
    means = np.where(gaps, 0.0, columns).sum(axis=0) / np.maximum((~gaps).sum(axis=0), 1)
    return np.where(gaps, means, columns)
