"""Rows as points of a plane: like rows lie together, and the same rows give the same picture."""

import numpy as np
import pytest
from helpers import package  # noqa: F401  makes `package_name` importable

from package_name.engine import picture
from package_name.engine.model.scorer import CategoricalFeature, FeatureSpec, NumericFeature
from package_name.engine.report import charts

SPEC = FeatureSpec(
    tuple(NumericFeature(name, name) for name in "abc"),
    (CategoricalFeature("kind", "kind", ("x", "y", "z")),),
)


def two_groups() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    group = np.arange(200) % 2
    numbers = rng.normal(size=(200, 3)) + 8 * group[:, None]
    numbers[::9, 1] = np.nan
    return np.column_stack([numbers, group]).astype(np.float32), group


def test_two_groups_lie_apart_and_a_picture_is_the_same_each_time() -> None:
    x, group = two_groups()
    found = picture.drawn(SPEC, x, lambda rows: rows[:, 0].astype(float), 1)
    for name in ("pca", "tsne"):
        points = np.array(found[name])
        middles = np.array([points[group == number].mean(axis=0) for number in (0, 1)])
        nearest = np.linalg.norm(points[:, None] - middles, axis=2).argmin(axis=1)
        assert (nearest == group).mean() > 0.95, name
    assert 0.5 < found["explained"] <= 1
    assert np.corrcoef(found["shades"], x[:, 0])[0, 1] > 0.9
    assert found == picture.drawn(SPEC, x, lambda rows: rows[:, 0].astype(float), 1)


def test_principal_components_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    x = np.random.default_rng(3).normal(size=(120, 3)).astype(np.float32)
    spec = FeatureSpec(SPEC.numeric, ())
    found = np.array(picture.drawn(spec, x, lambda rows: rows[:, 0].astype(float), 0)["pca"])
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    theirs = PCA(2).fit_transform(scaled)
    assert np.abs(np.abs(found) - np.abs(theirs)).max() < 2e-3


@pytest.mark.parametrize("x", [np.ones((50, 4)), np.ones((2, 4)), np.full((9, 4), np.nan)])
def test_rows_that_do_not_differ_give_no_picture(x: np.ndarray) -> None:
    x[:, 3] = 0
    assert picture.drawn(SPEC, x.astype(np.float32), lambda rows: rows[:, 0], 0) == {}


def test_a_cloud_is_drawn_from_light_to_dark() -> None:
    svg = str(charts.cloud([(0, 0), (1, 2), (3, 1)], [1.0, 0.0, 0.5], "Rows"))
    assert svg.count("<circle") == 3
    assert svg.index('fill-opacity="0.10"') < svg.index('fill-opacity="0.90"')
