"""The same examples in every run, the template's package as `package_name`, and the tiers.

The workers of pytest take files in this order: the longest come first, so that none is left alone
with one at the end.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import helpers.package  # noqa: F401  makes `package_name` importable, for every file of tests
import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

if TYPE_CHECKING:
    from helpers.buckets import Buckets
    from helpers.stream import Postgres

settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")
# Hypothesis also draws constants out of every module that is loaded, and which ones are loaded
# depends on the tests that a worker ran before: no draw would come again.
providers._get_local_constants = lambda: providers._local_constants  # type: ignore[attr-defined]

TIERS = {
    "install": (
        *("test_projects", "test_tutorial", "test_bounds", "test_schedulers"),
        "test_containers",
    ),
    "project": (
        *("test_survival", "test_regression_project", "test_multiclass_project"),
        *("test_multilabel_project", "test_anomaly_project", "test_clustering_project"),
        "test_recommendation_project",
        *("test_forecasting_project", "test_streaming"),
        *("test_features_project", "test_monorepo", "test_privacy"),
        *("test_regression_use", "test_threads", "test_large_tables", "test_images_project"),
        "test_labels",
    ),
    "update": (
        *("test_ml_update", "test_bridge", "test_change_of_mind", "test_update_lab"),
        *("test_releases", "test_plan_updates", "test_adoption"),
    ),
}
PLACES = {name: (tier, place) for tier, names in TIERS.items() for place, name in enumerate(names)}


def tier(item: pytest.Item) -> tuple[str, int]:
    """Return the tier of a test, which its file tells, and the place of the file in it."""
    return PLACES.get(item.path.stem, ("unit", 0))


@pytest.fixture(scope="module")
def postgres() -> "Iterator[Postgres]":
    """A real PostgreSQL for a file of tests."""
    from helpers.stream import Postgres

    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="module")
def buckets() -> "Iterator[Buckets]":
    """A real object store for a file of tests."""
    from helpers.buckets import Buckets

    server = Buckets()
    yield server
    server.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in red what could not be tested on this machine: a skip alone is easily overlooked."""
    skipped = [one.longrepr[-1] for one in terminalreporter.stats.get("skipped", [])]
    for reason in sorted({text for text in skipped if "NOT TESTED: " in text}):
        count = skipped.count(reason)
        terminalreporter.write_sep("!", f"{reason} ({count} skipped)", red=True, bold=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, and put the longest files first."""
    for item in items:
        item.add_marker(tier(item)[0])
    order = [*TIERS, "unit"]
    items.sort(key=lambda item: (order.index(tier(item)[0]), tier(item)[1]))
