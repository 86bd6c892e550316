"""Operators of the team's features.py: what each makes, and that nothing leaks into training."""

import sys
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import onnx
import pytest
from helpers import package  # noqa: F401  makes `package_name` importable
from scipy.stats import yeojohnson
from sklearn import decomposition
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import PolynomialFeatures

from package_name import features as team
from package_name import models
from package_name.engine.errors import ProjectError
from package_name.engine.model import derived, graph
from package_name.engine.model import made as engine_made
from package_name.engine.model.fitting import Data
from package_name.engine.model.scorer import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    session,
)
from package_name.engine.model.selection import Selection

ROWS = 600
NAN = np.nan
LEVELS = ("red", "blue", "green")
SPEC = FeatureSpec(
    tuple(NumericFeature(name, name) for name in ("a", "b", "when.month")),
    (CategoricalFeature("shop", "shop", LEVELS),),
)
KINDS = {"a": "number", "b": "number", "when.month": "number", "shop": "category"}
EVERY = [
    team.Ratio("ratio", of=("a", "b")),
    team.Difference("difference", of=("a", "b")),
    team.Product("product", of=("a", "b")),
    team.Polynomial("poly", of=("a", "b"), degree=3, to="all"),
    team.Log1p("log", of="a", to="all", instead=False),
    team.Power("power", of="a", to="all", instead=False),
    team.Clip("clip", of="a", low=-0.5, high=2, to="all", instead=False),
    team.Winsorise("wins", of="a", tail=0.1, to="all", instead=False),
    team.Winsorise("iqr", of="a", by="iqr", to="all", instead=False),
    team.Winsorise("z", of="a", by="zscore", to="all", instead=False),
    team.Scale("standard", of="a", to="all", instead=False),
    team.Scale("minmax", of="a", how="minmax", to="all", instead=False),
    team.Scale("robust", of="a", how="robust", to="all", instead=False),
    team.Bin("bin", of="a", bins=4, to="all"),
    team.Bin("width", of="a", how="width", to="all"),
    team.Bin("edges", of="a", edges=(0, 1), indicators=True, to="all"),
    team.Cyclical("cycle", of="when", part="month"),
    team.Cyclical("day", of="a", period=24),
    team.MissingFlag("flag", of="a"),
    team.Fill("fill", of="a", to="all", instead=False),
    team.Fill("mode", of="b", by="mode", to="all", instead=False),
    team.Fill("told", of="a", by="model", others=("b", "when.month"), to="all", instead=False),
    team.PCA("pca", of=("a", "b"), to="all"),
    team.OneHot("hot", of="shop", keep=2, to="all", instead=False),
    team.Ordinal("order", of="shop", order=("green", "red")),
    team.Frequency("share", of="shop"),
    team.Rare("rare", of="shop", below=0.2),
    team.Hashed("hashed", of="shop", buckets=4, to="all", instead=False),
    team.TargetEncoding("mean", of="shop"),
]


def table(rows: int = ROWS, seed: int = 0) -> np.ndarray:
    """Return columns a (skewed, with gaps), b (with zeros), a month and codes of a shop."""
    rng = np.random.default_rng(seed)
    a = np.where(rng.random(rows) < 0.1, NAN, rng.lognormal(0, 1, rows) - 1)
    b, month = rng.integers(0, 4, rows), rng.integers(1, 13, rows)
    shop = rng.choice(4, rows, p=[0.5, 0.3, 0.15, 0.05])
    return np.column_stack([a, b, month, shop]).astype(np.float32)


def labels(x: np.ndarray, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).random(len(x))
    return (noise < np.where(x[:, 3] == 0, 0.7, 0.3)).astype(np.int8)


def made(operators: list, x: np.ndarray, spec: FeatureSpec = SPEC, **given) -> SimpleNamespace:
    """Learn from `x`; return the recipe's parts and a function that gives columns by name."""
    y = given["y"] if "y" in given else labels(x)
    selection = given.get("selection", Selection())
    recipe = derived.Recipe(operators, selection, 0, given.get("delay", 0))
    learnt, values = recipe.learn(x, y, given.get("time"), spec)

    def columns(rows: np.ndarray, view: str = "trees") -> dict[str, np.ndarray]:
        matrix = learnt.matrix(np.ascontiguousarray(rows, dtype=np.float32), view)
        return dict(zip(learnt.spec_of(view).names, matrix.T, strict=True))

    return SimpleNamespace(recipe=recipe, learnt=learnt, values=values, columns=columns, y=y)


X = table()
MADE = made(EVERY, X)


def told_by(rows: np.ndarray) -> np.ndarray:
    """Return what a ridge regression says of column a from b and the month."""
    there = ~np.isnan(X[:, 0])
    others = X[there, 1:3].astype(np.float64)
    center, spread = others.mean(axis=0), others.std(axis=0)
    model = Ridge(alpha=1.0).fit((others - center) / spread, X[there, 0].astype(np.float64))
    return model.predict((rows - center) / spread)


def expected(x: np.ndarray) -> dict[str, np.ndarray]:
    """Return what each operator says it makes, by numpy and known libraries."""
    a, b, month, shop = x.astype(np.float64).T
    seen = X[:, 0][~np.isnan(X[:, 0])].astype(np.float64)
    known = ~np.isnan(a)
    low, high = np.quantile(seen, [0.1, 0.9])
    q1, q2, q3 = np.quantile(seen, [0.25, 0.5, 0.75])
    cut = np.quantile(seen, [0.25, 0.5, 0.75])
    steps = np.linspace(seen.min(), seen.max(), 6)[1:-1]
    lam = float(MADE.learnt.steps["power"].learnt["exponent"])
    power = yeojohnson(seen, lam)
    codes = X[:, 3].astype(int)
    counts, total = np.bincount(codes, minlength=4), np.bincount(codes, MADE.y, 4)
    means = (total + 20 * MADE.y.mean()) / (counts + 20)
    place = shop.astype(int)
    buckets = np.array([crc32(level.encode()) % 4 for level in LEVELS])
    with np.errstate(all="ignore"):
        poly = PolynomialFeatures(3, include_bias=False)
        powers = poly.fit_transform(np.nan_to_num(np.column_stack([a, b])))[:, 2:]
        powers[~known[:, None] & (poly.powers_[2:, 0] > 0)] = NAN
        found = {
            "ratio": np.where(b == 0, NAN, a / b),
            "difference": a - b,
            "product": a * b,
            "log": np.where(a > -1, np.log1p(a), NAN),
            "power": (np.where(known, yeojohnson(a, lam), NAN) - power.mean()) / power.std(),
            "clip": np.clip(a, -0.5, 2),
            "wins": np.clip(a, low, high),
            "iqr": np.clip(a, q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)),
            "z": np.clip(a, seen.mean() - 3 * seen.std(), seen.mean() + 3 * seen.std()),
            "standard": (a - seen.mean()) / seen.std(),
            "minmax": (a - seen.min()) / (seen.max() - seen.min()),
            "robust": (a - q2) / (q3 - q1),
            "bin": np.where(known, np.searchsorted(cut, a, "right"), NAN),
            "width": np.where(known, np.searchsorted(steps, a, "right"), NAN),
            "edges.1": a < 0,
            "edges.2": (a >= 0) & (a < 1),
            "edges.3": a >= 1,
            "cycle.1": np.sin(2 * np.pi * month / 12),
            "cycle.2": np.cos(2 * np.pi * month / 12),
            "day.1": np.sin(2 * np.pi * (a / 24 - np.floor(a / 24))),
            "day.2": np.cos(2 * np.pi * (a / 24 - np.floor(a / 24))),
            "flag": ~known,
            "fill": np.where(known, a, q2),
            "told": np.where(known, a, told_by(x[:, 1:3].astype(np.float64))),
            "mode": b,
            "hot.1": place == 0,
            "hot.2": place == 1,
            "order": np.array([1, NAN, 0, NAN])[place],
            "share": np.where(place == 3, 0, counts[place] / len(X)),
            "rare": place >= 2,
            "mean": means[place],
            **{f"hashed.{n + 1}": np.append(buckets == n, False)[place] for n in range(4)},
        }
    return found | {f"poly.{n + 1}": powers[:, n] for n in range(powers.shape[1])}


def hostile() -> np.ndarray:
    """Return rows with nothing, zero divisors, limits of a logarithm, far values, unseen levels."""
    far = float(np.finfo(np.float32).max)
    values = [NAN, 0, -1, -5, 1e-38, 1e30, far, -far]
    return np.array([[v, b, 12, 3] for v in values for b in (0, 2)], dtype=np.float32)


@pytest.mark.parametrize("rows", [X, table(300, 5), hostile()], ids=["training", "new", "hostile"])
def test_each_operator_makes_what_it_says(rows: np.ndarray) -> None:
    found = MADE.columns(rows)
    for name, want in expected(rows).items():
        with np.errstate(all="ignore"):
            finite = np.where(np.abs(want) <= np.finfo(np.float32).max, want, NAN)
        np.testing.assert_allclose(found[name], finite, rtol=1e-6, atol=1e-6, err_msg=name)
    assert all(np.isfinite(v) | np.isnan(v) for row in found.values() for v in row[:3])


def test_gaps_are_told_by_columns_that_know_and_these_stay() -> None:
    rng = np.random.default_rng(0)
    x = table()
    truth = 3 * x[:, 1] - x[:, 2] + rng.normal(0, 0.1, ROWS)
    x[:, 0] = np.where(rng.random(ROWS) < 0.3, NAN, truth)
    one = made([team.Fill("full", of="a", by="model", others=("b", "when.month"))], x)
    found = one.columns(x, "linear")
    assert list(found) == ["b", "when.month", "full", "shop"]
    assert np.abs(found["full"] - truth).max() < 0.6  # of a spread of about 5
    x[:, 0] = NAN
    assert (one.recipe.learn(x, labels(x), None, SPEC)[0].matrix(x, "linear")[:, 2] == 0).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"by": "model"}, 'others go with by="model"'),
        ({"others": ("b",)}, 'others go with by="model"'),
        ({"by": "model", "others": ("b", "a")}, "others must not hold a itself"),
        ({"by": "model", "others": ("b",), "value": 1.0}, 'give value or by="model", not both'),
    ],
)
def test_a_model_that_fills_needs_others_and_nothing_else_does(given: dict, said: str) -> None:
    assert team.Fill("full", of="a", **given).problem() == said


def test_components_are_those_of_the_correlations() -> None:
    whole = X[~np.isnan(X[:, 0])]
    pair = whole[:, :2].astype(np.float64)
    scaled = (pair - pair.mean(axis=0)) / pair.std(axis=0)
    found = made([team.PCA("pca", of=("a", "b"), to="all")], whole).columns(whole)
    for place, want in enumerate(decomposition.PCA(2).fit_transform(scaled).T):
        near = [np.abs(found[f"pca.{place + 1}"] - sign * want).max() for sign in (1, -1)]
        assert min(near) < 1e-4


PARTS = ("year", "month", "day")
DAYS = FeatureSpec(tuple(NumericFeature(f"when.{part}", "when") for part in PARTS), ())


def dates(*days: str) -> np.ndarray:
    """Return rows of year, month and day; a gap for an empty text."""
    parts = [day.split("-") if day else [NAN] * 3 for day in days]
    return np.array(parts, dtype=np.float32)


def test_holidays_are_those_of_the_country_and_ones_own() -> None:
    """Easter Monday moves; Corpus Christi is one of some regions; five years are known."""
    learnt = dates("2023-05-01", "2024-02-28")
    one = made(
        [
            team.Holiday("public", of="when", country="DE"),
            team.Holiday("region", of="when", country="DE-BY"),
            team.Holiday("own", of="when", days=("02-29", "12-24", "2025-07-01")),
        ],
        learnt,
        DAYS,
        y=np.array([0, 1]),
    )
    asked = ("2024-04-01", "2025-04-21", "2025-06-19", "2024-12-24", "2025-07-01", "2024-07-01")
    leap = ("2024-02-29", "2028-02-29", "2029-12-25", "2030-12-25", "")
    found = one.columns(dates(*asked, *leap))
    want = {
        "public": [1, 1, 0, 0, 0, 0, 0, 0, 1, NAN, NAN],
        "region": [1, 1, 1, 0, 0, 0, 0, 0, 1, NAN, NAN],
        "own": [0, 0, 0, 1, 1, 0, 1, 1, 0, NAN, NAN],
    }
    for name, values in want.items():
        np.testing.assert_array_equal(found[name], np.array(values, dtype=np.float32), name)


def test_holidays_need_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "holidays", None)
    said = team.Holiday("h", of="when", country="DE").problem()
    assert said == "country needs the library holidays: `uv add --group train holidays`"
    assert team.Holiday("h", of="when", days=("12-24",)).problem() == ""


def test_one_row_and_a_table_give_the_same() -> None:
    """Also what training had in hand, but for what must not see a row's own target."""
    whole = MADE.columns(X)
    single = [MADE.columns(X[[row]]) for row in range(0, ROWS, 37)]
    for name, column in whole.items():
        alone = np.concatenate([row[name] for row in single])
        np.testing.assert_allclose(alone, column[::37], rtol=1e-7, err_msg=name)
    trained = MADE.recipe.training(MADE.learnt, "trees", X, MADE.values)
    for index, (name, column) in enumerate(whole.items()):
        if name != "mean":
            np.testing.assert_array_equal(trained[:, index], column, err_msg=name)
    assert np.abs(trained[:, list(whole).index("mean")] - whole["mean"]).max() > 1e-4


def test_columns_of_one_value_or_none() -> None:
    x = X.copy()
    x[:, 0], x[:, 1], x[:, 3] = NAN, 7, 3
    for rows in (x, X):
        for name, column in made(EVERY, x).columns(rows).items():
            assert not np.isinf(column).any(), name


def test_features_are_made_of_features_and_models_see_their_own() -> None:
    one = made(
        [
            team.Ratio("ratio", of=("a", "b")),
            team.Winsorise("tame", of="ratio"),
            team.Scale("small", of="tame", how="robust"),
            team.OneHot("hot", of="shop"),
        ],
        X,
    )
    assert list(one.columns(X)) == ["a", "b", "when.month", "ratio", "shop"]
    linear = one.columns(X, "linear")
    assert list(linear) == ["a", "b", "when.month", "small", "hot.1", "hot.2", "hot.3"]
    ratio = one.columns(X)["ratio"]
    assert (np.isnan(linear["small"]) == np.isnan(ratio)).all()
    assert np.nanmax(linear["small"]) < np.nanmax(ratio)


# --- nothing leaks ---


def noise(rows: int = 3000, levels: int = 300) -> tuple[np.ndarray, np.ndarray, FeatureSpec]:
    """Return many levels and a target that has nothing to do with them."""
    rng = np.random.default_rng(3)
    names = tuple(map(str, range(levels)))
    spec = FeatureSpec((NumericFeature("a", "a"),), (CategoricalFeature("shop", "shop", names),))
    x = np.column_stack([rng.normal(size=rows), rng.integers(0, levels, rows)])
    return x.astype(np.float32), (rng.random(rows) < 0.4).astype(np.int8), spec


@pytest.mark.parametrize("has_time", [False, True])
def test_target_encoding_of_noise_says_nothing(has_time: bool) -> None:
    x, y, spec = noise()
    time = np.arange(len(y)) // 3 if has_time else None
    one = made([team.TargetEncoding("mean", of="shop", smoothing=5)], x, spec, y=y, time=time)
    assert roc_auc_score(y, one.columns(x)["mean"]) > 0.6  # what a naive encoding would show
    assert abs(roc_auc_score(y, one.values["mean"][:, 0]) - 0.5) < 0.03


@pytest.mark.parametrize("delay", [0, 4])
def test_target_encoding_over_time_is_of_the_past_only(delay: int) -> None:
    """By brute force; equal times do not see one another."""
    rng = np.random.default_rng(0)
    x, y = table(120), rng.integers(0, 2, 120).astype(np.int8)
    time = rng.integers(0, 30, 120)
    mean = team.TargetEncoding("mean", of="shop", smoothing=3)
    one = made([mean], x, y=y, time=time, delay=delay)
    for row in range(120):
        before = (time < time[row] - delay) & (x[:, 3] == x[row, 3])
        want = (y[before].sum() + 3 * y.mean()) / (before.sum() + 3)
        assert one.values["mean"][row, 0] == pytest.approx(want)


def test_each_fold_learns_from_its_training_rows_only() -> None:
    """Whatever the other rows hold, what a fold has learnt stays as it is."""
    train = np.arange(400)
    changed, y = X.copy(), labels(X)
    changed[400:, :3] *= 1000
    flipped = np.where(np.arange(ROWS) < 400, y, 1 - y).astype(np.int8)
    for method in ("none", "correlation", "rfe"):
        seen = []
        for x, target in ((X, y), (changed, flipped)):
            recipe = derived.Recipe(EVERY, Selection(method, keep=6), 0)
            _, sees = Data(x, target, SPEC, 1, recipe=recipe).rows(train).learnt("linear")
            seen.append((sees.derived.views, sees.matrix(X)))
        assert seen[0][0] == seen[1][0]
        np.testing.assert_array_equal(seen[0][1], seen[1][1])


METHODS = ("correlation", "chi2", "anova", "rfe", "l1", "importance")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["binary", "classes", "number"])
def test_selection_keeps_what_tells(method: str, task: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 12))
    signal = 2 * x[:, 3] - 2 * x[:, 7] + 0.3 * rng.normal(size=800)
    cuts = {"binary": [0.5], "classes": [0.33, 0.67]}
    y = signal
    if task in cuts:
        y = np.digitize(signal, np.quantile(signal, cuts[task])).astype(np.int8)
    kept = Selection(method, keep=2).choose(x, y, 0)
    assert kept == [3, 7]


def test_selection_within_folds_of_noise_gains_nothing() -> None:
    """Chosen from all rows, columns of pure noise seem to tell (Ambroise and McLachlan 2002)."""
    rng = np.random.default_rng(1)
    rows, width = 120, 800
    x, y = rng.normal(size=(rows, width)).astype(np.float32), rng.integers(0, 2, rows)
    spec = FeatureSpec(tuple(NumericFeature(str(n), str(n)) for n in range(width)), ())
    y = y.astype(np.int8)
    folds = np.arange(rows) % 4

    def auc(outer: Data) -> float:
        p = np.empty(rows)
        for fold in range(4):
            seen, sees = outer.rows(np.flatnonzero(folds != fold)).learnt("linear")
            fitted = models.logistic_regression(seen, 0, {}).of_columns(sees)
            p[folds == fold] = fitted.predict(outer.x[folds == fold])
        return roc_auc_score(y, p)

    chosen = Selection("anova", keep=10)
    honest = auc(Data(x, y, spec, 1, recipe=derived.Recipe([], chosen, 0)))
    leaked, _ = Data(x, y, spec, 1, recipe=derived.Recipe([], chosen, 0)).learnt("linear")
    assert auc(leaked) > 0.75
    assert abs(honest - 0.5) < 0.15


def test_what_needs_a_target_says_so() -> None:
    y = np.where(np.arange(ROWS) % 3 == 0, np.nan, labels(X))
    for operators, method in (([team.TargetEncoding("m", of="shop")], "none"), ([], "anova")):
        with pytest.raises(ProjectError, match="needs a target that every row has"):
            made(operators, X, y=y, selection=Selection(method))


# --- the graph ---


@pytest.mark.parametrize("name", ["logistic_regression", "lightgbm", "extra_trees"])
def test_the_graph_repeats_models_on_made_features(name: str) -> None:
    recipe = derived.Recipe(EVERY, Selection("correlation", keep=25), 0)
    data = Data(X, labels(X), SPEC, 1, recipe=recipe)
    parts = []
    for model in (name, "logistic_regression"):
        seen, sees = data.learnt(derived.view_of(model))
        fitted = models.FITTERS[model](seen, 0, {"rounds": 20}).of_columns(sees)
        parts.append(graph.Member(*fitted, share=0.5))
    predictor = graph.Predictor(tuple(parts))
    opened = session(graph.emit(predictor, SPEC, encoded=True))
    for rows in (X, table(200, 9), hostile()[:12]):
        found = opened.run(["probability"], {"x": rows})[0][:, 0]
        np.testing.assert_allclose(found, predictor.predict(rows), atol=1e-6)


def test_the_time_of_a_feature_is_not_that_of_the_model() -> None:
    ratio = team.Ratio("ratio", of=("a", "b"))
    recipe = derived.Recipe(
        [ratio, team.Log1p("of_it", of="ratio", to="all", instead=False)], Selection(), 0
    )
    seen, sees = Data(X, labels(X), SPEC, 1, recipe=recipe).learnt("trees")
    fitted = models.FITTERS["lightgbm"](seen, 0, {"rounds": 20}).of_columns(sees)
    predictor = graph.Predictor((graph.Member(*fitted, share=1.0),))
    whole = onnx.load_from_string(graph.emit(predictor, SPEC, encoded=True))
    for name, steps in (("ratio", {"Div"}), ("of_it", {"Div", "Log"})):
        cut = engine_made._part(whole, f"{engine_made.PREFIX}{name}")
        found = {node.op_type for node in onnx.load_from_string(cut).graph.node}
        assert steps == found & {"Div", "Log", "TreeEnsembleRegressor", "TreeEnsemble"}
        (values,) = session(cut).run(None, {"x": X})
        np.testing.assert_allclose(values[:, 0], made([*recipe.operators], X).columns(X)[name])


# --- declarations ---

WRONG = [
    ([team.Ratio("r", of=("a", "bb"))], "features.py, Ratio 'r': there is no 'bb' before it"),
    ([team.Ratio("r", of=("a", "shopp"))], "did you mean 'shop'"),
    ([team.Ratio("r", of=("a", "shop"))], "'shop' is a category, not a number"),
    ([team.OneHot("r", of="a")], "'a' is a number, not a category"),
    ([team.Ratio("r", of="a")], "Ratio 'r': of: Expected `array`, got `str`"),
    ([team.Ratio("r", of=("a", "b", "a"))], "Ratio 'r'"),
    ([team.Log1p("a", of="b")], "Log1p 'a': this name is taken"),
    ([team.Log1p("", of="b")], "it has no name: give it one"),
    ([team.Log1p("l", of="a"), team.Log1p("l", of="b")], "'l': this name is taken"),
    ([team.Log1p("y", of="b")], "'y': this name is taken"),
    ([team.Log1p("l", of="y")], "'y' is no feature of the contract"),
    ([team.Log1p(3, of="a")], "name: Expected `str`, got `int`"),
    ([team.Log1p("l", of="when")], "there is no 'when' before it; did you mean 'when.month'?"),
    ([team.Log1p("l", of="when.hour")], "there is no 'when.hour' before it"),
    ([team.Scale("s", of="a", how="huge")], "how: 'huge' is none of minmax, robust, standard"),
    ([team.Bin("s", of="a", bins=1)], "bins"),
    ([team.Clip("s", of="a")], "give low, high or both"),
    ([team.Clip("s", of="a", low=2, high=1)], "low must be below high"),
    ([team.Cyclical("s", of="when")], "give part (of a date) or period (of a number)"),
    ([team.Holiday("s", of="when")], 'give country, such as "DE", or days, such as "12-24"'),
    ([team.Holiday("s", of="when", days=("24.12.",))], "days must be dates"),
    ([team.Holiday("s", of="when", days=("02-30",))], "days must be dates"),
    ([team.Holiday("s", of="when", country="Utopia")], "knows no country 'Utopia'"),
    ([team.Hashed("s", of="shop", buckets=1)], "buckets"),
    ([team.PCA("s", of=("a", "b"), keep=3)], "keep must be at most"),
    ([team.TargetEncoding("s", of="shop", smoothing="x")], "smoothing"),
    (["debt / income"], "FEATURES holds 'debt / income'"),
]


@pytest.mark.parametrize(("operators", "said"), WRONG)
def test_a_wrong_declaration_is_one_line(operators: list, said: str) -> None:
    with pytest.raises(ProjectError) as error:
        derived.check(operators, Selection(), KINDS, {"y", "when"})  # a date itself is no number
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_part_of_a_date_is_a_feature_though_the_date_is_none() -> None:
    cycle = team.Cyclical("season", of="when", part="month")
    parts = [cycle, team.Ratio("r", of=("a", "when.month"))]
    derived.check(parts, Selection(), KINDS, {"y", "when"})


def test_a_wrong_selection_is_one_line() -> None:
    with pytest.raises(
        ProjectError, match=r"features.py, SELECTION: method: 'best' is none of anova"
    ):
        derived.check([], Selection("best"), KINDS, set())


def test_a_recipe_learns_once_from_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = Selection.choose
    monkeypatch.setattr(Selection, "choose", lambda *a: calls.append(1) or real(*a))
    data = Data(X, labels(X), SPEC, 1, recipe=derived.Recipe(EVERY, Selection("anova", keep=5), 0))
    first, second = data.learnt("trees")[0], data.learnt("trees")[0]
    assert len(calls) == 2  # once for each kind of model
    np.testing.assert_array_equal(first.x, second.x)
