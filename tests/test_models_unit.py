"""Fitters of every task: graphs repeat them on any row, and nothing learns from its own answer."""

import importlib
from functools import partial
from types import SimpleNamespace

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import package
from onnx import TensorProto, helper

ROWS = 1200


def load(task: str) -> SimpleNamespace:
    """Return the modules of a task that models need; what else a task has is binary's here."""
    folder = package.sources("binary")
    (folder / "models.py").unlink()
    (folder / "models.py").symlink_to(package.own(task) / package.PACKAGE / "models.py")
    for path in (package.own(task) / package.PACKAGE / "engine/model").glob("*.py"):
        if not (folder / "engine/model" / path.name).exists():
            (folder / "engine/model" / path.name).symlink_to(path)
    package.load(name := f"models_of_{task}", folder)
    names = (
        "models",
        "training",
        "splitting",
        "engine.task",
        "engine.folds",
        "engine.model.libraries",
        "engine.model.search",
        "engine.model.stacking",
        "engine.model.boosting",
        "engine.model.graph",
        "engine.model.outcome",
    )
    names += ("engine.model.fitting", "engine.model.linear", "engine.model.scorer")
    found = {n.split(".")[-1]: importlib.import_module(f"{name}.{n}") for n in names}
    return SimpleNamespace(**found)


TASKS = {task: load(task) for task in ("binary", "regression", "multiclass")}
CLASSES = ("low", "middle", "high", "none has it")
NAMES = [(task, name) for task, code in TASKS.items() for name in code.models.FITTERS]
NAMES += [("regression", name) for name in ("absolute", "poisson", "tweedie")]


def rows(task: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return hostile but ordinary columns: thirds, large and tiny numbers, gaps, rare levels."""
    rng = np.random.default_rng(seed)
    thirds = rng.integers(0, 40, ROWS) / 3
    large, tiny = 1e9 + rng.normal(0, 1e6, ROWS), rng.lognormal(-25, 1, ROWS)
    gaps = np.where(rng.random(ROWS) < 0.2, np.nan, rng.normal(size=ROWS))
    few, many = rng.integers(0, 4, ROWS), np.minimum(rng.geometric(0.05, ROWS), 60)
    signal = 0.1 * thirds + (large - 1e9) / 1e6 + np.nan_to_num(gaps) + np.sin(many) + (few == 2)
    noisy = signal + rng.normal(0, 0.5, ROWS)
    x = np.column_stack([thirds, large, tiny, gaps, few, many]).astype(np.float32)
    y = {"binary": (noisy > np.median(noisy)).astype(np.int8), "regression": np.exp(noisy)}
    y["multiclass"] = np.searchsorted(np.quantile(noisy, [0.5, 0.95]), noisy)
    return x, y[task]


def data(task: str, y: np.ndarray | None = None):
    code = TASKS[task]
    x, target = rows(task)
    numeric = tuple(code.scorer.NumericFeature(n, n) for n in ("a", "b", "c", "d"))
    levels = (tuple(map(str, range(4))), tuple(map(str, range(60))))
    categories = (
        code.scorer.CategoricalFeature(n, n, v) for n, v in zip("ef", levels, strict=True)
    )
    spec = code.scorer.FeatureSpec(numeric, tuple(categories))
    levels = CLASSES if task == "multiclass" else ()
    return code.fitting.Data(x, target if y is None else y, spec, 1, levels)


def variants(x: np.ndarray, width: int = 4) -> dict[str, np.ndarray]:
    """Return rows that were never seen: missing, unseen, huge, tiny, neighbouring."""

    def changed(values: np.ndarray) -> np.ndarray:
        return np.column_stack([values.astype(np.float32), x[:, width:]])

    numbers, unseen = x[:, :width], x.copy()
    unseen[:, width:] = (4, 60)
    return {
        "real": x,
        "missing": changed(np.full_like(numbers, np.nan)),
        "unseen": unseen,
        "huge": changed(numbers * np.float32(1e6)),
        "far": changed(np.sign(numbers) * np.float32(-1e30)),
        "tiny": changed(numbers * np.float32(1e-9)),
        "zero": changed(np.zeros_like(numbers)),
        "above": changed(np.nextafter(numbers, np.float32(np.inf))),
        "below": changed(np.nextafter(numbers, np.float32(-np.inf))),
    }


def answers(task: str, model, spec, x: np.ndarray) -> np.ndarray:
    """Return what the nodes of a model answer, in double precision."""
    code = TASKS[task].graph
    graph = code.Graph()
    graph.node("Identity", [code.predicted(graph, model, len(spec.numeric))], "out")
    return run(code, graph, x)


def run(code, graph, x: np.ndarray) -> np.ndarray:
    """Return the output `out` of a graph."""
    inputs = [code.info("x", TensorProto.FLOAT, x.shape[1])]
    outputs = [code.info("out", TensorProto.DOUBLE, None)]
    body = helper.make_graph(graph.nodes, "model", inputs, outputs, graph.initializers)
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_model(body, opset_imports=sets, ir_version=10)
    onnx.checker.check_model(made)
    opened = onnxruntime.InferenceSession(made.SerializeToString())
    found = opened.run(None, {"x": np.ascontiguousarray(x)})[0]
    return found[:, 0] if found.shape[1] == 1 else found


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_a_graph_repeats_its_model_on_rows_never_seen(task: str, name: str) -> None:
    models, given = TASKS[task].models, data(task)
    params = {"rounds": 30, "members": 2} if name not in models.LADDER[:4] else {}
    fitter = models.FITTERS.get(name)
    if fitter is None:
        fitter = partial(TASKS[task].boosting.fit, models.of_objective(name)["lightgbm"])
    targets = [given.y]
    if task == "regression":  # far from 0 for its spread; without zeros, with negative values
        targets += [1e7 + given.y, given.y - 1] if name not in ("poisson", "tweedie") else []
        targets += [np.floor(given.y), np.full(ROWS, 3.0)]
    for y in targets:
        fitted = fitter(given._replace(y=y), 3, params)
        for kind, x in variants(given.x).items():
            expected = fitted.predict(x)
            assert np.isfinite(expected).all(), kind
            found = answers(task, fitted.model, given.spec, x)
            unit = 1.0
            if task == "regression":
                unit = np.maximum(y.std(), np.abs(expected - y.mean()))
            if task == "multiclass":
                assert expected.shape == (len(x), len(CLASSES))
                assert expected.sum(axis=1) == pytest.approx(1)
            assert (np.abs(found - expected) <= 1e-5 * np.maximum(unit, 1e-9)).all(), kind


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_level_is_told_by_the_answers_of_other_rows(task: str) -> None:
    """Of noise, a row's own answer in the mean of its level would be a strong feature."""
    rng = np.random.default_rng(5)
    code = TASKS[task]
    given = data(task, rng.integers(0, 2, ROWS).astype(np.float64))
    given.x[:, 5] = rng.integers(0, 60, ROWS)
    seen, tables = code.boosting._with_statistics(given, given.y, 0)
    plain = code.boosting._with_tables(given.x, tables)
    assert abs(np.corrcoef(seen[:, 5], given.y)[0, 1]) < 0.1
    assert np.corrcoef(plain[:, 5], given.y)[0, 1] > 0.15
    assert np.array_equal(seen[:, :4], given.x[:, :4], equal_nan=True)


def test_a_prediction_of_logarithms_becomes_one_of_the_mean() -> None:
    code, given = TASKS["regression"], data("regression")
    order = np.random.default_rng(0).permutation(ROWS)
    folds = [
        (np.sort(np.delete(order, part)), order[part]) for part in np.split(np.arange(ROWS), 4)
    ]
    kind = code.models.of_objective("squared")["lightgbm_log"]
    params, predictions = code.boosting.cross_validate(kind, given, folds, 0, {}, 200)
    means = np.concatenate(predictions)
    y = np.concatenate([given.y[valid] for _, valid in folds])
    assert params["smearing"] > 1.03
    assert abs((y / means).mean() - 1) < 1e-6
    plain = code.models.FITTERS["lightgbm_log"](given, 0, params | {"smearing": 1.0})
    moved = code.models.FITTERS["lightgbm_log"](given, 0, params)
    ratio = moved.predict(given.x) / plain.predict(given.x)
    np.testing.assert_allclose(ratio, params["smearing"], rtol=1e-9)


def test_counts_refuse_what_they_cannot_be() -> None:
    code, given = TASKS["regression"], data("regression")
    refused = code.models.goals.ProjectError
    for name in ("poisson", "tweedie"):
        kind = code.models.of_objective(name)["lightgbm"]
        with pytest.raises(refused, match="negative values: override MOD-05"):
            code.boosting.fit(kind, given._replace(y=given.y - 5), 0, {"rounds": 3})


@pytest.mark.parametrize("task", TASKS)
def test_a_blend_has_what_the_plan_names_and_statistics_never_alone(task: str) -> None:
    code, given = TASKS[task], data(task)
    linear = "ridge" if task == "regression" else "logistic_regression"
    blended, tuned = code.training.blended, [*code.models.TUNED]
    assert blended([linear, "lightgbm"], given, tuned=True) == []
    assert blended([linear, "lightgbm", "blend"], given, tuned=False) == [
        linear,
        "lightgbm",
        *(["lightgbm_statistics"] if task != "multiclass" else []),
    ]
    yes_or_no = msgspec.structs.replace(given.spec.categorical[0], levels=("no", "yes"))
    for categories in ((), (yes_or_no,)):
        few = given._replace(spec=msgspec.structs.replace(given.spec, categorical=categories))
        names = blended([linear, "lightgbm", "blend"], few, tuned=True)
        assert names == [linear, "lightgbm", *tuned]
    assert set(code.models.LADDER) - {"blend", "stack"} <= set(code.models.FITTERS)
    assert not {*code.models.STATISTICS.values()} & set(code.models.LADDER)


@pytest.mark.parametrize("repeats", [1, 2])
def test_no_row_decides_when_the_model_stops_that_it_is_scored_by(
    monkeypatch: pytest.MonkeyPatch, repeats: int
) -> None:
    code, given, asked = TASKS["binary"], data("binary"), []
    best = [5, 9, 9] * repeats

    class Known:
        def __init__(self, number: int) -> None:
            self.curve = [float(abs(done + 1 - best[number])) for done in range(20)]

        @staticmethod
        def sized(rows: int) -> dict[str, int]:
            return {}

        @classmethod
        def together(cls, jobs):
            return [cls(number) for number, _ in enumerate(jobs)]

        def sums(self, x: np.ndarray, rounds: int, workers: int) -> np.ndarray:
            asked.append(rounds)
            return np.zeros(len(x))

    monkeypatch.setitem(code.boosting.LIBRARIES, "lightgbm", Known)
    folds = []
    for _ in range(repeats):  # the second time each fold shares rows with all of the first
        order = np.arange(ROWS) if not folds else np.arange(ROWS).reshape(3, -1).T.ravel()
        parts = np.split(order, 3)
        folds += [(np.setdiff1d(order, part), part) for part in parts]
    kind = code.models.KINDS["lightgbm"]
    params, _ = code.boosting.cross_validate(kind, given, folds, 0, {}, 20)
    assert params["rounds"] == 9 and asked == [9, 5, 5] * repeats
    asked.clear()
    code.boosting.cross_validate(kind, given, folds[:1], 0, {}, 20)
    assert asked == [5]  # no other fold tells


def test_members_without_a_share_are_not_fitted() -> None:
    outcome = TASKS["binary"].outcome
    members = ["lightgbm", "lightgbm_statistics", "lightgbm_extra"]
    found = dict.fromkeys(["class_prior", *members, "blend"])
    shares = {"lightgbm": 0.4, "lightgbm_extra": 0.6}
    compared = outcome.Compared(found, shares, members, None)
    assert compared.needed(["class_prior", "blend"]) == ["class_prior", *shares]
    assert compared.needed(["lightgbm"]) == ["lightgbm"]
    assert compared.needed(["stack"]) == members


def test_members_of_a_blend_deal_their_refits_by_share() -> None:
    outcome = TASKS["regression"].outcome

    def refits(chosen: str, members: int = 2, **shares: float) -> list[int]:
        params = {"rounds": 9, "members": members}
        one = outcome.CrossValidated([], np.empty(0), [], 0.0, params)
        found = {**dict.fromkeys(shares, one), "blend": one._replace(params={})}
        if "ridge" in shares:
            found["ridge"] = found["blend"]
        given = outcome.Compared(found, shares, [*shares], None).settings(chosen)
        assert given["blend"] == {} and all(given[name].get("rounds", 9) == 9 for name in shares)
        return [given[name].get("members", 0) for name in shares]

    assert refits("blend", lightgbm=0.12, lightgbm_statistics=0.88) == [1, 3]
    assert refits("blend", lightgbm=0.4, ridge=0.2, lightgbm_statistics=0.4) == [2, 0, 2]
    assert refits("blend", a=0.28, b=0.16, c=0.28, d=0.28) == [3, 1, 2, 2]
    assert refits("blend", a=0.5, b=0.3, c=0.2) == [3, 2, 1]
    assert refits("blend", ridge=0.2, lightgbm=0.8) == [0, 2]  # one has nobody to deal with
    assert refits("lightgbm", lightgbm=0.5, lightgbm_statistics=0.5) == [2, 2]
    assert refits("blend", 1, a=0.5, b=0.5) == [1, 1]  # a large table has one


@pytest.mark.parametrize("columns", [5, 1001])
def test_a_penalty_is_the_one_whose_errors_are_least_on_rows_left_out(columns: int) -> None:
    from scipy import sparse
    from sklearn.linear_model import Ridge, RidgeCV

    linear = TASKS["regression"].linear
    rng = np.random.default_rng(0)
    x = rng.normal(3, 1, (200, columns)) * (rng.random((200, columns)) < 0.5)
    y = x[:, :3].sum(axis=1) + rng.normal(7, 4, 200)
    penalties = np.logspace(-1, 4, 11)
    weights, intercept = linear.ridge(sparse.csr_matrix(x), y, penalties, 0)
    best = RidgeCV(penalties).fit(x, y).alpha_
    assert penalties[0] < best < penalties[-1]
    exact = Ridge(best).fit(x, y).predict(x)
    tolerance = 1e-9 if columns == 5 else 1e-2  # conjugate gradients end near the minimum
    assert np.abs(x @ weights + intercept - exact).max() < tolerance * y.std()


@pytest.mark.parametrize("task", TASKS)
def test_shares_of_a_blend_are_found_out_of_fold(task: str) -> None:
    code = TASKS[task]
    rng = np.random.default_rng(0)
    given = data(task)
    # Two that err independently beside one that knows nothing.
    middle = given.y * 0.6 + 0.2 if task == "binary" else given.y
    errors = rng.normal(0, 0.1 if task == "binary" else given.y.std() / 2, (2, ROWS))
    oof = {"a": middle + errors[0], "b": middle + errors[1], "c": np.full(ROWS, given.y.mean())}
    if task == "binary":
        oof = {name: np.clip(values, 0.01, 0.99) for name, values in oof.items()}
    metric = "roc_auc" if task == "binary" else "rmse"
    shares = code.fitting.blend_shares(partial(code.models.loss, metric, given.y), oof)
    assert abs(sum(shares.values()) - 1) < 1e-12 and min(shares.values()) > 0
    assert shares.get("c", 0) < 0.2 and min(shares["a"], shares["b"]) > 0.3


def test_a_large_table_is_told_by_one_fold_of_drawn_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, fitting = TASKS["binary"].outcome, TASKS["binary"].fitting
    monkeypatch.setattr(fitting, "HOLDOUT_ROWS", 60)
    monkeypatch.setattr(fitting, "FIT_ROWS", 150)
    folds = [(np.arange(200), np.arange(200, 300)), (np.arange(300), np.arange(300, 400))]
    y = np.arange(400) % 2
    some, notes = fitting.eased(folds, y, 1, by_time=False)
    ((train, valid),) = some
    assert len(train) == 150 and len(valid) == 60
    assert "fitted to 150 of its rows" in notes[0] and "fitted to 150 of these rows" in notes[1]
    assert (np.diff(train) > 0).all() and train.max() < 300 <= valid.min()
    assert fitting.eased(folds, y[:50], 1, by_time=False) == (folds, [])
    # Each window of time tells with its share, and a class that is too rare to draw stays whole.
    windows, notes = fitting.eased(folds, y, 1, by_time=True)
    assert [(len(train), len(valid)) for train, valid in windows] == [(75, 30), (75, 30)]
    assert "a fold's models are fitted to 75 of its rows" in notes[0]
    assert fitting.eased(folds, np.arange(400) > 395, 1, by_time=True) == (folds, [])
    found = outcome.Split(np.arange(400), np.arange(0), some, [])
    # One fold scored in parts, so that a difference has a standard error.
    monkeypatch.setattr(outcome, "score", lambda _, y, p: float(p.mean()))
    given = data("binary")
    scores = outcome.scores_of(None, given, found, [np.arange(60, dtype=float)])
    assert len(scores) == outcome.HOLDOUT_PARTS and np.std(scores) > 0


@pytest.mark.parametrize("library", ["lightgbm", "catboost", "xgboost"])
@pytest.mark.parametrize("method", ["tpe", "random", "grid"])
def test_a_search_stays_in_its_space_and_repeats_itself(method: str, library: str) -> None:
    code = TASKS["binary"].search
    space = code.SPACES[library]
    first = {name: steps[1] for name, (*_, steps) in space.items()}
    done = []
    for _ in range(12):
        params = code.proposed(method, 0, space, first, done)
        # Whoever made the trials so far: the next one is the same in another process.
        assert params == code.proposed(method, 0, space, first, list(done))
        done.append(code.Trial(params, sum(params.values()), 0.0))
    assert done[0].params == first
    for name, (low, high, steps) in space.items():
        values = [trial.params[name] for trial in done]
        assert all(low <= value <= high for value in values)
        assert len({*values}) > 2
        if method == "grid":
            assert {*values} <= {*steps}
    if method == "grid":
        assert len({tuple(trial.params.values()) for trial in done[1:]}) == 11


def test_a_checkpoint_keeps_finished_trials_and_no_others(tmp_path) -> None:
    code, path = TASKS["binary"].search, tmp_path / "tuning.jsonl"
    made_with = {"data": "abc", "space": {"depth": (4, 8, (4, 6))}}
    kept = code.Checkpoint(path, made_with)
    trials = [code.Trial({"depth": depth}, 0.1 * depth, 0.5) for depth in (4, 6)]
    for trial in trials:
        kept.add("catboost", trial)
    kept.add("catboost, fold 1", trials[0])
    whole = path.read_bytes()
    for cut in (0, 5, 40):  # a kill cuts the line of the trial that it stops
        path.write_bytes(whole[: len(whole) - cut])
        again = code.Checkpoint(path, made_with)
        assert again.ignored == [] and again.trials("catboost") == trials
        assert again.trials("catboost, fold 1") == trials[: 1 if not cut else 0]
    other = code.Checkpoint(path, {**made_with, "data": "abd"})
    assert other.ignored == ["data"] and other.trials("catboost") == []
    assert len(path.read_text().splitlines()) == 1


def project(code: SimpleNamespace, **facts) -> SimpleNamespace:
    """Return what training reads of a project."""
    known = {"primary_metric": "roc_auc", "baselines": [], "objective": "squared", "split": "x"}
    settings = SimpleNamespace(seed=3, members=1, max_rounds=20, threads=1)
    config = SimpleNamespace(training=settings)
    return SimpleNamespace(facts=SimpleNamespace(**(known | facts)), config=config)


def loss(task: str, y: np.ndarray, p: np.ndarray) -> float:
    """Return the mean squared error, or the log loss."""
    if task == "regression":
        return float(np.square(y - p).mean())
    known = np.where(y, p, 1 - p) if p.ndim == 1 else p[np.arange(len(y)), y]
    return float(-np.log(np.maximum(known, 1e-9)).mean())


LINEAR = {
    "binary": "logistic_regression",
    "regression": "ridge",
    "multiclass": "logistic_regression",
}


@pytest.fixture(scope="module", params=TASKS)
def stacked(request: pytest.FixtureRequest):
    """Return a task's models, compared on folds that are drawn twice, and the stack's predictor."""
    task = request.param
    code, given = TASKS[task], data(task)
    patched = pytest.MonkeyPatch()
    patched.setattr(code.models, "loss", lambda _, y, p: loss(task, y, p))
    patched.setattr(code.outcome, "score", lambda _, y, p: -loss(task, y, p))
    folds = [
        (np.flatnonzero(part != fold), np.flatnonzero(part == fold))
        for part in (np.random.default_rng(n).permutation(ROWS) % 3 for n in range(2))
        for fold in range(3)
    ]
    parts = code.splitting.Split(np.arange(ROWS), np.arange(0), folds, [], repeats=2)
    names = [LINEAR[task], "lightgbm", "blend", "stack"]
    asked = project(code, candidates=names)
    compared = code.training.compare(asked, given, parts, {})
    params = {"rounds": 20}
    fitted = {name: code.training.fit(asked, name, given, params) for name in compared.members}
    made = compared.predictor("stack", fitted)
    yield task, code, given, parts, compared, made
    patched.undo()


def test_a_stack_is_a_second_model_in_the_graph(stacked) -> None:
    task, code, given, _, compared, made = stacked
    assert compared.members[:2] == [LINEAR[task], "lightgbm"]
    found = compared.found
    assert len(found["stack"].predictions) == 6 and np.isfinite(found["stack"].oof).all()
    losses = {name: loss(task, given.y, found[name].oof) for name in found}
    assert losses["stack"] < 1.02 * min(losses[name] for name in compared.members)
    for kind, x in variants(given.x).items():
        expected = made._blend(x)
        graph = code.graph.Graph()
        predictions = [
            code.graph.predicted(graph, member.model, len(given.spec.numeric))
            for member in made.members
        ]
        total = made.second.emit(graph, predictions)
        graph.node("Identity", [code.graph.linked(graph, made.second.link, total)], "out")
        answered = run(code.graph, graph, x)
        unit = np.maximum(given.y.std(), np.abs(expected)) if task == "regression" else 1.0
        assert (np.abs(answered - expected) <= 1e-5 * unit).all(), kind


def test_a_second_model_never_sees_the_rows_that_it_is_judged_by(stacked) -> None:
    """A member that knows the answers of noise by heart, in one fold alone, helps no other fold."""
    _, code, given, parts, *_ = stacked
    rng = np.random.default_rng(0)
    y = rng.permutation(given.y)
    levels = len(given.levels) or 1
    shape = (ROWS, levels) if levels > 1 else (ROWS,)
    noise = rng.dirichlet(np.ones(levels), ROWS) if levels > 1 else rng.random(ROWS)
    told = np.eye(levels)[y] if levels > 1 else y.astype(float)
    predictions = [noise[valid].reshape(-1, *shape[1:]) for _, valid in parts.folds]
    knowing = [values.copy() for values in predictions]
    knowing[0] = told[parts.folds[0][1]]
    fresh = given._replace(y=y)
    _, honest = code.stacking.out_of_fold(fresh, parts.folds, 2, [predictions, predictions])
    _, found = code.stacking.out_of_fold(fresh, parts.folds, 2, [predictions, knowing])
    # The fold's own model learned from other folds, in which nothing was known.
    own = code.stacking.out_of_fold(fresh, parts.folds[:3], 1, [predictions[:3], knowing[:3]])[1]
    assert np.allclose(own[0], found[0])
    plain = code.stacking.fit(
        fresh.rows(np.concatenate([parts.folds[n][1] for n in (1, 2)])),
        [np.concatenate(predictions[1:3])] * 2,
    )
    assert np.allclose(found[0], plain.predict([predictions[0], knowing[0]]), atol=1e-6)
    assert all(np.isfinite(fold).all() for fold in honest)


def test_in_time_a_second_model_learns_from_earlier_folds_alone() -> None:
    code, given = TASKS["regression"].stacking, data("regression")
    edges = np.array_split(np.arange(ROWS), 4)
    folds = [(np.concatenate(edges[: n + 1]), edges[n + 1]) for n in range(3)]
    rng = np.random.default_rng(1)
    members = [
        [given.y[valid] + rng.normal(0, s, len(valid)) for _, valid in folds] for s in (1, 2)
    ]
    _, found = code.out_of_fold(given, folds, 1, members)
    assert np.allclose(found[0], np.mean([one[0] for one in members], axis=0))
    second = code.fit(given.rows(folds[0][1]), [one[0] for one in members])
    assert np.allclose(found[1], second.predict([one[1] for one in members]))
    # A single fold of a large table is told in parts.
    _, alone = code.out_of_fold(given, folds[-1:], 1, [one[-1:] for one in members])
    assert np.isfinite(alone[0]).all() and len(alone[0]) == len(edges[3])
