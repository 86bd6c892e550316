"""Operators from columns to features: declared once, learnt from training rows, run as graph nodes.

Every operator learns plain arrays from the rows that it may see (`learn`) and adds nodes to the
graph (`emit`); training runs the same nodes for its matrix, so that no second executor can differ.
Numbers are in double precision, NaN where missing. What cannot be computed is missing.
"""

from itertools import combinations_with_replacement
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from .builder import Graph

Floats = NDArray[np.float64]
Learnt = dict[str, NDArray[Any]]
To = Literal["all", "trees", "linear"]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
PERIODS = {"month": 12, "day": 31, "weekday": 7, "hour": 24, "minute": 60}
GRAIN = 2.0**22  # a number near 1, added and taken off, is rounded to 30 binary places
POWER_ROWS = 20_000  # are enough to choose an exponent
FENCE, DEVIATIONS = 1.5, 3.0  # of Tukey (1977); of a normal value 99.7 % are within


class Rows(NamedTuple):
    """What an operator may learn from beside its columns.

    `goals` are targets of shape (rows, goals), one for each class where there are several, None
    without a target. `time` holds microseconds, None without a time; a target is known `delay`
    microseconds after its row.
    """

    goals: Floats | None
    time: NDArray[np.int64] | None
    delay: int
    seed: int


class Named(msgspec.Struct, frozen=True):
    """A feature by its name."""

    name: str


class Operator(Named, frozen=True, kw_only=True):
    """A feature made of columns, or of features that stand before it.

    `to` says which models see it: all, trees, or linear ones. With `instead` these no longer see
    what it is made of. `why` and `owner` are for the plan.
    """

    why: str = ""
    owner: str = ""
    to: To = "all"
    instead: bool = False
    of: str | tuple[str, ...]
    takes: ClassVar[str] = "number"
    way: ClassVar[str] = ""  # what reads it in a bundle, where a kind of column has several ways
    purpose: ClassVar[str] = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the columns that it is made of."""
        return (self.of,) if isinstance(self.of, str) else self.of

    @property
    def replaced(self) -> tuple[str, ...]:
        """Names of the columns that models no longer see with `instead`."""
        return self.sources

    def problem(self) -> str:
        """Return what is wrong with the declaration beyond types, or ""."""
        return ""

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn from columns of shape (rows, sources); `levels` are those of a category."""
        return {}

    def training(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Floats | None:
        """Return the feature of the training rows where the nodes must not make it."""
        return None

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Add the nodes; inputs and the result have shape (rows, 1) and (rows, width)."""
        raise NotImplementedError


class Ratio(Operator, frozen=True, kw_only=True):
    """The first over the second; missing where the second is 0."""

    of: tuple[str, str]
    purpose: ClassVar[str] = "a share says more than its parts: trees need many cuts for a quotient"

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Divide; a divisor of 0 is missing."""
        is_zero = graph.node("Equal", [inputs[1], graph.constant([[0.0]])])
        divisor = graph.node("Where", [is_zero, graph.constant([[np.nan]]), inputs[1]])
        return graph.node("Div", [inputs[0], divisor])


class Difference(Operator, frozen=True, kw_only=True):
    """The first minus the second."""

    of: tuple[str, str]
    purpose: ClassVar[str] = "trees need many cuts for a difference"

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Subtract."""
        return graph.node("Sub", inputs)


class Product(Operator, frozen=True, kw_only=True):
    """The product of two or more."""

    of: tuple[str, ...]
    purpose: ClassVar[str] = "an effect that depends on another column"

    def problem(self) -> str:
        """Ask for two columns."""
        return "" if len(self.of) > 1 else "of needs at least two columns"

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Multiply one after the other."""
        return _multiplied(graph, inputs)


class Polynomial(Operator, frozen=True, kw_only=True):
    """All products of two up to `degree` of the columns, squares among them."""

    of: tuple[str, ...]
    degree: Annotated[int, msgspec.Meta(ge=2, le=4)] = 2
    to: To = "linear"
    purpose: ClassVar[str] = "curves and interactions, which a linear model lacks"

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Multiply, in the order of itertools.combinations_with_replacement."""
        sizes = range(2, self.degree + 1)
        terms = [t for size in sizes for t in combinations_with_replacement(inputs, size)]
        return _joined(graph, [_multiplied(graph, list(term)) for term in terms])


class Log1p(Operator, frozen=True, kw_only=True):
    """The natural logarithm of 1 + x; missing where x is -1 or less."""

    of: str
    to: To = "linear"
    instead: bool = True
    purpose: ClassVar[str] = "a long tail of large values, of which a linear model wants the order"

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Take the logarithm of what is above 0."""
        moved = graph.node("Add", [inputs[0], graph.constant([[1.0]])])
        return graph.node("Log", [_kept_above_zero(graph, moved)])


class Power(Operator, frozen=True, kw_only=True):
    """The power that makes the column most like a normal one (Yeo and Johnson 2000), scaled."""

    of: str
    to: To = "linear"
    instead: bool = True
    purpose: ClassVar[str] = "a skewed column, for models that add up"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn the exponent by maximum likelihood, then mean and deviation."""
        from sklearn.preprocessing import PowerTransformer

        known = columns[~np.isnan(columns[:, 0])]
        if len(known) > POWER_ROWS:
            known = np.random.default_rng(rows.seed).permutation(known)[:POWER_ROWS]
        if len(np.unique(known)) < 2:
            return {"exponent": np.array(1.0)} | _centred(known.mean() if len(known) else 0.0, 1.0)
        power = PowerTransformer(standardize=False)
        found = power.fit_transform(known)
        return {"exponent": power.lambdas_[0]} | _centred(found.mean(), found.std())

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Add the part of positive values and that of negative ones: the other is 0."""
        exponent, zero = float(learnt["exponent"]), graph.constant([[0.0]])
        negative = graph.node("Less", [inputs[0], zero])
        above = graph.node("Where", [negative, zero, inputs[0]])
        positive = graph.node("Greater", [inputs[0], zero])
        below = graph.node("Where", [positive, zero, graph.node("Neg", [inputs[0]])])
        parts = [_power(graph, above, exponent), _power(graph, below, 2 - exponent)]
        return _affine(graph, graph.node("Sub", parts), learnt)


class Clip(Operator, frozen=True, kw_only=True):
    """Values held within limits that the team knows."""

    of: str
    low: float | None = None
    high: float | None = None
    to: To = "linear"
    instead: bool = True
    purpose: ClassVar[str] = "values beyond a known limit are errors of measurement"

    def problem(self) -> str:
        """Ask for one limit, and for limits in their order."""
        if self.low is None and self.high is None:
            return "give low, high or both"
        is_ordered = self.low is None or self.high is None or self.low < self.high
        return "" if is_ordered else "low must be below high"

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Hold within the limits."""
        return _held(graph, inputs[0], self.low, self.high)


class Winsorise(Operator, frozen=True, kw_only=True):
    """Values held within limits that training rows give.

    quantile: `tail` of the rows at each end; iqr: Tukey's fences, 1.5 interquartile ranges beyond
    the quartiles; zscore: 3 standard deviations around the mean.
    """

    of: str
    by: Literal["quantile", "iqr", "zscore"] = "quantile"
    tail: Annotated[float, msgspec.Meta(gt=0, lt=0.5)] = 0.01
    to: To = "linear"
    instead: bool = True
    purpose: ClassVar[str] = "single far values, which pull a linear model"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn the limits; without a known value there are none."""
        known = columns[~np.isnan(columns)]
        if not len(known):
            return {"low": np.array(-np.inf), "high": np.array(np.inf)}
        if self.by == "zscore":
            middle, deviations = known.mean(), DEVIATIONS * known.std()
            return {"low": np.array(middle - deviations), "high": np.array(middle + deviations)}
        tail = self.tail if self.by == "quantile" else 0.25
        low, high = np.quantile(known, [tail, 1 - tail])
        reach = FENCE * (high - low) if self.by == "iqr" else 0.0
        return {"low": np.array(low - reach), "high": np.array(high + reach)}

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Hold within the limits."""
        return _held(graph, inputs[0], float(learnt["low"]), float(learnt["high"]))


class Scale(Operator, frozen=True, kw_only=True):
    """standard: (x - mean) / deviation; minmax: to 0..1; robust: (x - median) / quartile range."""

    of: str
    how: Literal["standard", "minmax", "robust"] = "standard"
    to: To = "linear"
    instead: bool = True
    purpose: ClassVar[str] = "columns of like size, for models that add up or measure distances"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn centre and spread; what does not vary has spread 1."""
        known = columns[~np.isnan(columns)]
        if not len(known):
            return _centred(0.0, 1.0)
        if self.how == "standard":
            return _centred(known.mean(), known.std())
        if self.how == "minmax":
            return _centred(known.min(), known.max() - known.min())
        low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
        return _centred(middle, high - low)

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Move and divide."""
        return _affine(graph, inputs[0], learnt)


class Bin(Operator, frozen=True, kw_only=True):
    """The number of the bin, from 0: of equal rows or width, or between `edges`; gaps stay gaps.

    With `indicators` one column of 0 and 1 for each bin, all 0 where missing.
    """

    of: str
    bins: Annotated[int, msgspec.Meta(ge=2, le=255)] = 5
    how: Literal["quantile", "width"] = "quantile"
    edges: tuple[float, ...] = ()
    indicators: bool = False
    to: To = "linear"
    purpose: ClassVar[str] = "steps, which a linear model lacks"

    def problem(self) -> str:
        """Ask for edges in their order."""
        return "" if list(self.edges) == sorted(set(self.edges)) else "edges must rise"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn the inner edges."""
        known = columns[~np.isnan(columns)]
        shares = np.linspace(0, 1, self.bins + 1)[1:-1]
        if self.edges or not len(known):
            return {"edges": np.array(self.edges or [0.0])}
        if self.how == "width":
            low, high = known.min(), known.max()
            return {"edges": np.unique(low + shares * (high - low))}
        return {"edges": np.unique(np.quantile(known, shares))}

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Count the edges that a value has reached."""
        edges, one = learnt["edges"], graph.constant([1], np.int64)
        reached = graph.node("GreaterOrEqual", [inputs[0], graph.constant(edges[None])])
        steps = as_number(graph, reached)
        if self.indicators:
            known = as_number(graph, graph.node("Equal", [inputs[0], inputs[0]]))
            end = graph.node("Mul", [known, graph.constant([[0.0]])])
            pairs = [_joined(graph, [known, steps]), _joined(graph, [steps, end])]
            return graph.node("Sub", pairs)
        number = graph.node("ReduceSum", [steps, one], keepdims=1)
        return _gaps_kept(graph, inputs[0], number)


class Cyclical(Operator, frozen=True, kw_only=True):
    """Sine and cosine of a part of a date, or of a number with a period: December meets January."""

    of: str
    part: Literal["month", "day", "weekday", "hour", "minute"] | None = None
    period: Positive | None = None
    purpose: ClassVar[str] = "the end of a cycle is next to its start"

    @property
    def sources(self) -> tuple[str, ...]:
        """The part of the date, or the number."""
        return (f"{self.of}.{self.part}" if self.part else self.of,)

    def problem(self) -> str:
        """Ask for one of the two."""
        is_clear = (self.part is None) != (self.period is None)
        return "" if is_clear else "give part (of a date) or period (of a number)"

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Turn the value into an angle; whole cycles fall away first, for far values are exact."""
        period = PERIODS[self.part] if self.part else self.period or 1.0
        cycles = graph.node("Div", [inputs[0], graph.constant([[period]])])
        rest = graph.node("Sub", [cycles, graph.node("Floor", [cycles])])
        angle = graph.node("Mul", [rest, graph.constant([[2 * np.pi]])])
        found = _joined(graph, [graph.node("Sin", [angle]), graph.node("Cos", [angle])])
        # One row and a table have 0 here and 6e-17 there, between which a tree could cut.
        grain = graph.constant([[GRAIN]])
        return graph.node("Sub", [graph.node("Add", [found, grain]), grain])


class MissingFlag(Operator, frozen=True, kw_only=True):
    """1 where the value is missing."""

    of: str
    purpose: ClassVar[str] = "that a value is missing may tell something itself"

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Ask whether it is a number."""
        return as_number(graph, graph.node("IsNaN", inputs))


class Fill(Operator, frozen=True, kw_only=True):
    """Missing values filled: with `value`, the training rows' median, mean or mode, or a model.

    The model is a linear one of `others`, fitted to the rows whose value is known (regression
    imputation: Little and Rubin 2019, Statistical Analysis with Missing Data, 4.2); their own gaps
    count as their mean.
    """

    of: str
    by: Literal["median", "mean", "mode", "model"] = "median"
    value: float | None = None
    others: tuple[str, ...] = ()
    to: To = "linear"
    instead: bool = True
    purpose: ClassVar[str] = "trees go around a gap, a linear model needs a number"

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the column and of those that tell of it."""
        return (self.of, *self.others)

    @property
    def replaced(self) -> tuple[str, ...]:
        """Name of the column that is filled: the others stay."""
        return (self.of,)

    def problem(self) -> str:
        """Ask for columns that tell of the one, where and only where a model needs them."""
        if self.of in self.others:
            return f"others must not hold {self.of} itself"
        if self.value is not None and self.by == "model":
            return 'give value or by="model", not both'
        return "" if bool(self.others) == (self.by == "model") else 'others go with by="model"'

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn the number, 0 where no value is known; of a model center and weights too."""
        own = columns[:, 0]
        there = ~np.isnan(own)
        known = own[there]
        if self.value is not None or not len(known):
            return {"value": np.array(self.value or 0.0)}
        if self.by == "mode":
            values, counts = np.unique(known, return_counts=True)
            return {"value": values[counts.argmax()]}
        if self.by == "median":
            return {"value": np.asarray(np.median(known))}
        found: Learnt = {"value": np.asarray(known.mean())}
        if self.by == "model":
            told = columns[there, 1:]
            gaps = np.isnan(told)
            center = np.where(gaps, 0.0, told).sum(axis=0) / np.maximum((~gaps).sum(axis=0), 1)
            told = np.where(gaps, 0.0, told - center)
            spread = np.sqrt(np.square(told).mean(axis=0))
            spread[spread == 0] = 1.0
            # One row's worth of ridge: columns that say the same share their weight.
            told /= spread
            squares = told.T @ told + np.eye(told.shape[1])
            weights = np.linalg.solve(squares, told.T @ (known - known.mean())) / spread
            found |= {"center": center, "weights": weights[:, None]}
        return found

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Put in the number, or what the model says."""
        number = float(learnt["value"])
        if "weights" not in learnt:
            return _filled(graph, inputs[0], number)
        center = graph.constant(learnt["center"][None])
        moved = _filled(graph, graph.node("Sub", [_joined(graph, inputs[1:]), center]), 0.0)
        said = graph.node("MatMul", [moved, graph.constant(learnt["weights"])])
        told = graph.node("Add", [said, graph.constant([[number]])])
        return graph.node("Where", [graph.node("IsNaN", inputs[:1]), told, inputs[0]])


class PCA(Operator, frozen=True, kw_only=True):
    """The first `keep` principal components of scaled columns; a gap counts as the mean."""

    of: tuple[str, ...]
    keep: Count = 2
    to: To = "linear"
    purpose: ClassVar[str] = "columns that say nearly the same, in fewer ones"

    def problem(self) -> str:
        """Ask for as many columns as components."""
        return "" if self.keep <= len(self.of) else "keep must be at most the number of columns"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn by the eigenvectors of the correlations; the largest weight is positive."""
        gaps = np.isnan(columns)
        counts = np.maximum((~gaps).sum(axis=0), 1)
        center = np.where(gaps, 0.0, columns).sum(axis=0) / counts
        scaled = np.where(gaps, 0.0, columns - center)
        spread = np.sqrt(np.square(scaled).sum(axis=0) / counts)
        spread[spread == 0] = 1.0
        scaled /= spread
        axes = np.linalg.eigh(scaled.T @ scaled)[1][:, ::-1][:, : self.keep]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
        return {"center": center, "axes": axes * np.sign(largest) / spread[:, None]}

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Move, fill and turn."""
        moved = graph.node("Sub", [_joined(graph, inputs), graph.constant(learnt["center"][None])])
        return graph.node("MatMul", [_filled(graph, moved, 0.0), graph.constant(learnt["axes"])])


def _centred(center: Any, spread: Any) -> Learnt:
    return {"center": np.asarray(center), "spread": np.asarray(spread if spread > 0 else 1.0)}


def _affine(graph: Graph, value: str, learnt: Learnt) -> str:
    moved = graph.node("Sub", [value, graph.constant([[float(learnt["center"])]])])
    return graph.node("Div", [moved, graph.constant([[float(learnt["spread"])]])])


def _joined(graph: Graph, parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else graph.node("Concat", parts, axis=1)


def _multiplied(graph: Graph, parts: list[str]) -> str:
    total = parts[0]
    for part in parts[1:]:
        total = graph.node("Mul", [total, part])
    return total


def as_number(graph: Graph, condition: str) -> str:
    """Return 1 where a condition holds, else 0."""
    return graph.node("Cast", [condition], to=11)  # onnx.TensorProto.DOUBLE


def _filled(graph: Graph, value: str, number: float) -> str:
    gaps = graph.node("IsNaN", [value])
    return graph.node("Where", [gaps, graph.constant([[number]]), value])


def _gaps_kept(graph: Graph, value: str, result: str) -> str:
    gaps = graph.node("IsNaN", [value])
    return graph.node("Where", [gaps, graph.constant([[np.nan]]), result])


def _kept_above_zero(graph: Graph, value: str) -> str:
    is_above = graph.node("Greater", [value, graph.constant([[0.0]])])
    return graph.node("Where", [is_above, value, graph.constant([[np.nan]])])


def _power(graph: Graph, value: str, exponent: float) -> str:
    """Return ((1 + value) ** exponent - 1) / exponent, whose limit at 0 is the logarithm."""
    moved = graph.node("Add", [value, graph.constant([[1.0]])])
    if abs(exponent) < 1e-9:
        return graph.node("Log", [moved])
    raised = graph.node("Pow", [moved, graph.constant([[exponent]])])
    less = graph.node("Sub", [raised, graph.constant([[1.0]])])
    return graph.node("Div", [less, graph.constant([[exponent]])])


def _held(graph: Graph, value: str, low: float | None, high: float | None) -> str:
    """Hold within limits; comparisons leave a gap as it is."""
    for operator, limit in (("Less", low), ("Greater", high)):
        if limit is not None and np.isfinite(limit):
            bound = graph.constant([[limit]])
            value = graph.node("Where", [graph.node(operator, [value, bound]), bound, value])
    return value
