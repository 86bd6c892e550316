"""The libraries of boosting: each trains trees, and gives them as plain data.

LightGBM is always there. CatBoost and XGBoost are extras, which a project installs when its plan
names them as candidates.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ProjectError
from .plain import Matrix, Nodes

SMALL = 15_000  # rows up to which trees are small
LARGE = 50_000  # rows from which on each tree may add more
PATIENCE = 50  # trees without a better loss on other rows
MEAN_PATIENCE = 30  # of the mean loss of all folds, which is less rough; a tenth of many
LOWEST = np.finfo(np.float32).min


class Job(NamedTuple):
    """What is trained: trees of rows `x` and goals `y`, at most `rounds` for each sum.

    `codes` are the columns that hold codes of categories, `levels` counts the classes of several.
    `valid` are rows and goals whose loss ends the training early. `told` hears of each round.
    """

    x: Matrix
    y: NDArray[Any]
    valid: tuple[Matrix, NDArray[Any]] | None
    codes: list[int]
    levels: int
    rounds: int
    seed: int
    workers: int
    settings: dict[str, Any]
    told: Callable[[int], None]

    @property
    def rate(self) -> float:
        """What each tree adds of what it has learnt."""
        return 0.1 if len(self.y) >= LARGE else 0.05


class Booster(Protocol):
    """Trained trees. `curve` holds the loss on other rows after each round."""

    PRESET: ClassVar[dict[str, Any]]
    curve: list[float]

    def __init__(self, job: Job) -> None: ...

    @classmethod
    def together(cls, jobs: Iterable[Job]) -> "Sequence[Booster]":
        """Train folds of the same table; a loss on other rows ends each, or all at once."""
        return [cls(job) for job in jobs]

    @staticmethod
    def sized(rows: int) -> dict[str, Any]:
        """Return settings that follow from the number of rows; the preset may serve all."""
        return {}

    def sums(self, x: Matrix, rounds: int | None, workers: int) -> NDArray[np.float64]:
        """Return what the first `rounds` trees add up to, of shape (rows,) or (rows, outputs)."""
        ...

    def plant(self, nodes: Nodes, first: int, share: float) -> int:
        """Add the trees, from number `first` on; return the number that follows."""
        ...


class LightGBM(Booster):
    """The fewest settings that held on fourteen public tables (Ke et al. 2017)."""

    PRESET: ClassVar[dict[str, Any]] = {
        "min_data_in_leaf": 10,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "feature_fraction": 0.6,
        "lambda_l2": 1.0,
        "cat_smooth": 20,
        "max_cat_to_onehot": 8,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }

    def __init__(self, job: Job) -> None:
        import lightgbm as lgb

        settings = {**self.PRESET, **self.sized(len(job.y)), "learning_rate": job.rate}
        settings |= {"seed": job.seed, "num_threads": job.workers, **job.settings}
        if job.levels:
            settings["num_class"] = job.levels
        train = lgb.Dataset(job.x, job.y, params=settings, categorical_feature=job.codes)
        self.booster = lgb.Booster(settings, train)
        self.curve: list[float] = []
        self.is_large = len(job.y) >= LARGE
        if job.valid is not None:
            self.booster.add_valid(train.create_valid(*job.valid, params=settings), "v")
            return
        for done in range(job.rounds):
            self.booster.update()
            job.told(done + 1)
        self._free()

    @classmethod
    def together(cls, jobs: Iterable[Job]) -> "list[LightGBM]":
        """Train round by round, until the mean loss on other rows has grown no better for long."""
        found: list[LightGBM] = []
        sizes: list[int] = []
        for job in jobs:
            found.append(cls(job))
            sizes.append(len(job.valid[1]) if job.valid else 0)
        patience = MEAN_PATIENCE if len(found) > 1 else PATIENCE
        losses: list[float] = []
        while len(losses) < job.rounds:
            for one in found:
                one.booster.update()
                one.curve.append(one.booster.eval_valid()[0][2])
            losses.append(float(np.average([one.curve[-1] for one in found], weights=sizes)))
            job.told(len(losses))
            best = int(np.argmin(losses))
            if len(losses) - best > max(patience, best // 10):
                break
        for one in found:
            one._free()
        return found

    def _free(self) -> None:
        """Drop the rows; where there are many, what the library knows of them takes memory, too."""
        if self.is_large:
            self.booster.model_from_string(self.booster.model_to_string())
        self.booster.free_dataset()

    @staticmethod
    def sized(rows: int) -> dict[str, Any]:
        """Return how many leaves a tree has at most."""
        return {"num_leaves": 15 if rows < SMALL else 63}

    def sums(self, x: Matrix, rounds: int | None, workers: int) -> NDArray[np.float64]:
        """Return what the first trees add up to."""
        return np.asarray(
            self.booster.predict(x, raw_score=True, num_iteration=rounds, num_threads=workers)
        )

    def plant(self, nodes: Nodes, first: int, share: float) -> int:
        """Add the trees, which take turns by output."""
        trees = self.booster.dump_model()["tree_info"]
        for place, tree in enumerate(trees):
            _add_lightgbm(
                nodes, first + place, tree["tree_structure"], place % nodes.outputs, share
            )
        return first + len(trees)


def _add_lightgbm(nodes: Nodes, tree: int, root: dict[str, Any], output: int, share: float) -> None:
    count = 1
    waiting = [(root, 0)]
    while waiting:
        node, number = waiting.pop()
        if "leaf_value" in node:
            nodes.leaf(tree, number, {output: node["leaf_value"] * share})
            continue
        left, right = count, count + 1
        count += 2
        waiting += [(node["left_child"], left), (node["right_child"], right)]
        feature = node["split_feature"]
        if node["decision_type"] == "<=":
            threshold = node["threshold"]
            nan_left = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0
            nodes.branch(tree, number, feature, "BRANCH_LEQ", threshold, left, right, int(nan_left))
            continue
        # A set of codes becomes a chain of equalities that share their true branch.
        codes = [float(code) for code in node["threshold"].split("||")]
        for index, code in enumerate(codes):
            last = index == len(codes) - 1
            following = right if last else count
            nodes.branch(tree, number, feature, "BRANCH_EQ", code, left, following, 0)
            if not last:
                number = count
                count += 1


class CatBoost(Booster):
    """Oblivious trees: all nodes of a level ask the same (Prokhorenkova et al. 2018).

    A missing number is given as the lowest one there is, which it may be told from all others by.
    """

    PRESET: ClassVar[dict[str, Any]] = {
        "depth": 6,
        "l2_leaf_reg": 3.0,
        "bootstrap_type": "Bernoulli",  # by its default one a target that trees know stops them
        "subsample": 0.8,
        "rsm": 1.0,
    }

    def __init__(self, job: Job) -> None:
        catboost = import_module("catboost")

        settings = {**self.PRESET, "learning_rate": job.rate, "random_seed": job.seed}
        settings |= {"iterations": job.rounds, "thread_count": job.workers, **job.settings}
        settings |= {"allow_writing_files": False, "logging_level": "Silent"}
        settings |= {"allow_const_label": True, "use_best_model": False}
        # It adds up only what classes it has seen.
        self.seen = np.unique(job.y) if job.levels else None
        self.outputs, self.absent = job.levels or 1, float(np.log(0.5 / len(job.y)))
        train, valid = self._pool(job.x, job.y, job.workers), None
        if job.valid is not None:
            settings |= {"od_type": "Iter", "od_wait": PATIENCE}
            valid = self._pool(*job.valid, job.workers)
        self.booster = catboost.CatBoost(settings)
        self.booster.fit(train, eval_set=valid, callbacks=[_Told(job.told)])
        curves = self.booster.get_evals_result().get("validation", {})
        self.curve: list[float] = next(iter(curves.values()), [])

    def sums(self, x: Matrix, rounds: int | None, workers: int) -> NDArray[np.float64]:
        """Return what the first trees add up to."""
        ended = min(rounds or 0, self.booster.tree_count_)  # 0: all
        asked = {"prediction_type": "RawFormulaVal", "ntree_end": ended, "thread_count": workers}
        found = np.asarray(self.booster.predict(_lowest(x), **asked), dtype=np.float64)
        return found if self.seen is None else self._all(found)

    def _pool(self, x: Matrix, y: NDArray[Any], workers: int) -> Any:
        catboost = import_module("catboost")

        if self.seen is not None:
            known = np.isin(y, self.seen)
            x, y = x[known], np.searchsorted(self.seen, y[known])
        return catboost.Pool(_lowest(x), y, thread_count=workers)

    def _all(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums of all classes: one that no row had counts as half a row."""
        found = np.full((len(sums), self.outputs), self.absent)
        found[:, self.seen] = sums
        return found

    def plant(self, nodes: Nodes, first: int, share: float) -> int:
        """Add the trees; a row goes to the leaf whose bits are what it is above."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.json")
            self.booster.save_model(str(path), format="json")
            model = json.loads(path.read_bytes())
        scale, bias = model["scale_and_bias"]
        trees, columns = model["oblivious_trees"], [0] if self.seen is None else self.seen.tolist()
        absent = [output for output in range(nodes.outputs) if output not in columns]
        for number, tree in enumerate(trees, first):
            splits = (tree["splits"] or [])[::-1]  # the first is the lowest bit
            leaves = scale * np.reshape(tree["leaf_values"], (-1, len(columns)))
            leaves = share * (leaves + np.array(bias) / len(trees))
            others = dict.fromkeys(absent, share * self.absent / len(trees))
            inner = 2 ** len(splits) - 1
            for place in range(inner):
                level = (place + 1).bit_length() - 1
                split = splits[level]
                feature, border = split["float_feature_index"], float(np.float32(split["border"]))
                below, above = 2 * place + 1, 2 * place + 2
                nodes.branch(number, place, feature, "BRANCH_LEQ", border, below, above, 1)
            for place, leaf in enumerate(leaves, inner):
                nodes.leaf(number, place, dict(zip(columns, leaf.tolist(), strict=True)) | others)
        return first + len(trees)


class _Told:
    """What CatBoost tells of each round."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self.told = told

    def after_iteration(self, info: Any) -> bool:
        self.told(info.iteration)
        return True


def _lowest(x: Matrix) -> Matrix:
    return np.where(np.isnan(x), LOWEST, x)


class XGBoost(Booster):
    """Trees by histograms (Chen and Guestrin 2016)."""

    PRESET: ClassVar[dict[str, Any]] = {
        "max_depth": 6,
        "min_child_weight": 1.0,
        "subsample": 0.8,
        "colsample_bytree": 0.6,
        "lambda": 1.0,
        "tree_method": "hist",
        "verbosity": 0,
    }

    def __init__(self, job: Job) -> None:
        xgboost = import_module("xgboost")

        settings = {**self.PRESET, "eta": job.rate, "seed": job.seed, "nthread": job.workers}
        settings |= job.settings
        if job.levels:
            settings["num_class"] = job.levels

        base: Any = xgboost.callback.TrainingCallback

        class Told(base):  # type: ignore[misc]
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                job.told(epoch + 1)
                return False

        curves: dict[str, Any] = {}
        ended: dict[str, Any] = {}
        train = xgboost.DMatrix(job.x, job.y, nthread=job.workers)
        if job.valid is not None:
            valid = xgboost.DMatrix(*job.valid, nthread=job.workers)
            ended = {"evals": [(valid, "v")], "early_stopping_rounds": PATIENCE}
            ended |= {"evals_result": curves, "verbose_eval": False}
        self.booster = xgboost.train(settings, train, job.rounds, callbacks=[Told()], **ended)
        self.curve = next(iter(curves["v"].values())) if curves else []

    def sums(self, x: Matrix, rounds: int | None, workers: int) -> NDArray[np.float64]:
        """Return what the first trees add up to."""
        xgboost = import_module("xgboost")

        rows = xgboost.DMatrix(x, nthread=workers)
        ended = min(rounds or 0, self.booster.num_boosted_rounds())  # 0: all
        found = self.booster.predict(rows, output_margin=True, iteration_range=(0, ended))
        return np.asarray(found, dtype=np.float64)

    def plant(self, nodes: Nodes, first: int, share: float) -> int:
        """Add the trees; a row goes left when it is below the condition."""
        model = json.loads(bytes(self.booster.save_raw("json")))
        model = model["learner"]["gradient_booster"]["model"]
        for number, (tree, output) in enumerate(
            zip(model["trees"], model["tree_info"], strict=True), first
        ):
            conditions = np.array(tree["split_conditions"], dtype=np.float32).tolist()
            for node, (left, condition) in enumerate(
                zip(tree["left_children"], conditions, strict=True)
            ):
                if left < 0:
                    nodes.leaf(number, node, {output: condition * share})
                    continue
                feature, right = tree["split_indices"][node], tree["right_children"][node]
                missing = int(tree["default_left"][node])
                nodes.branch(number, node, feature, "BRANCH_LT", condition, left, right, missing)
        return first + len(model["trees"])


LIBRARIES: dict[str, type[Booster]] = {
    "lightgbm": LightGBM,
    "catboost": CatBoost,
    "xgboost": XGBoost,
}


def require(library: str) -> None:
    """Import a library; ProjectError that says how to install one that is not there."""
    if find_spec(library) is None:
        raise ProjectError(
            f"the plan's candidates (MOD-02) name {library}, which is not installed: run "
            f"`uv sync --group {library}`, or add it to `default-groups` in pyproject.toml"
        )
    import_module(library)  # now, or the first model of it would seem slow
