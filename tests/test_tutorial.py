"""What the documents tell readers to do is done, in order, on a machine like theirs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.documents import ROOT, Reader, alike, compare, environment, fences
from helpers.rendering import copy_template, publish

GUIDES = (
    *("run-in-production", "fill-the-plan", "bring-your-own-data", "change-your-mind"),
    "adopt",
)
DAILY = ("run-in-production", "change-your-mind")  # serving, and updates


@pytest.fixture
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone of this repository, as it is in the working tree."""
    folder = copy_template(tmp_path_factory.mktemp("reader") / "ml-model-planner")
    publish(folder)
    return folder


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment(tmp_path_factory.mktemp("python") / "fresh")


@pytest.fixture
def reader(clone: Path, env: dict[str, str]) -> Iterator[Reader]:
    one = Reader(clone, env)
    yield one
    one.close()


@pytest.mark.nightly
def test_tutorial(reader: Reader, clone: Path) -> None:
    reader.follow(ROOT / "docs" / "tutorial.md")
    reference = (ROOT / "docs" / "reference" / "reports.md").read_text(encoding="utf-8")
    told = []
    for name, fields in re.findall(r"^\| `(\S+\.json)` \| `ml .*?` \| (.*) \|$", reference, re.M):
        path = clone.parent / "flight-delay" / name
        if path.exists():  # some are made by commands that the page does not need
            report = json.loads(path.read_text(encoding="utf-8"))
            assert re.findall(r"`(\w+)`", fields) == list(report), name
            told.append(name)
    assert len(told) >= 9


@pytest.mark.nightly
def test_a_number(reader: Reader) -> None:
    reader.follow(ROOT / "docs" / "how-to" / "predict-a-number.md")


@pytest.mark.nightly
def test_one_of_several_classes(reader: Reader) -> None:
    reader.follow(ROOT / "docs" / "how-to" / "choose-among-classes.md")


@pytest.mark.nightly
def test_several_labels(reader: Reader) -> None:
    reader.follow(ROOT / "docs" / "how-to" / "give-several-labels.md")


@pytest.mark.nightly
def test_anomalies(reader: Reader) -> None:
    reader.follow(ROOT / "docs" / "how-to" / "find-anomalies.md")


@pytest.mark.nightly
def test_segments(reader: Reader) -> None:
    reader.follow(ROOT / "docs" / "how-to" / "find-segments.md")


@pytest.mark.nightly
def test_lists(reader: Reader) -> None:
    reader.follow(ROOT / "docs" / "how-to" / "recommend.md")


@pytest.mark.nightly
def test_a_feature(reader: Reader, clone: Path) -> None:
    first = next(f for f in fences(ROOT / "README.md") if f.language == "bash")
    reader.run(f"cd '{clone}'\n{first.text}", f"README.md:{first.line}")
    reader.follow(ROOT / "docs" / "how-to" / "add-a-feature.md")


@pytest.mark.parametrize(
    "guides", [DAILY, pytest.param(GUIDES, marks=pytest.mark.nightly)], ids=["daily", "all"]
)
def test_readme_and_guides(reader: Reader, clone: Path, guides: tuple[str, ...]) -> None:
    tests = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    for fence in fences(ROOT / "README.md"):
        if fence.language == "bash" and fence.text.strip() != tests:  # which runs this very test
            reader.run(f"cd '{clone}'\n{fence.text}", f"README.md:{fence.line}")
    reader.run(f"cd '{clone.parent / 'my-model'}'", "README.md")
    for name in guides:
        reader.follow(ROOT / "docs" / "how-to" / f"{name}.md")


def test_every_document_with_commands_is_followed() -> None:
    followed = {"README.md", "docs/tutorial.md", *(f"docs/how-to/{name}.md" for name in GUIDES)}
    followed |= {"docs/how-to/predict-a-number.md", "docs/how-to/choose-among-classes.md"}
    followed |= {"docs/how-to/find-anomalies.md", "docs/how-to/add-a-feature.md"}
    followed |= {"docs/how-to/find-segments.md", "docs/how-to/give-several-labels.md"}
    followed |= {"docs/how-to/recommend.md"}
    followed |= {"docs/how-to/monorepo.md"}  # by tests/test_monorepo.py
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    found = {
        page.relative_to(ROOT).as_posix()
        for page in pages
        if any(fence.language in ("bash", "console", "sh", "shell") for fence in fences(page))
    }
    assert found == followed


def test_the_tool_names_the_leakage_and_not_the_author() -> None:
    """No answer or edit of the tutorial touches the columns that know the outcome."""
    told = [f.text for f in fences(ROOT / "docs" / "tutorial.md") if f.language in ("bash", "diff")]
    leaks = re.compile(r"\b(dep_delay|dep_time|arr_time|air_time)\b")
    assert not any(leaks.search(text) for text in told)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("done in 2.1 s", "done in 71.9 s", True),
        ("`roc_auc` 0.62", "`roc_auc` 0.6311", True),
        ("`roc_auc` 0.62", "`roc_auc` 0.71", False),
        ("261 045 rows", "261 046 rows", True),
        ("5 folds", "4 folds", False),
        ("gate passed", "gate closed", False),
        ('{"errors":[]...', '{"errors":[],"id":"x"}', True),
        ('{"errors":[1]...', '{"errors":[2]}', False),
    ],
)
def test_outputs_are_compared_by_what_they_say(shown: str, printed: str, same: bool) -> None:
    assert alike(shown, printed) is same


def test_a_line_that_did_not_come_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"page:1: not in the output: b"):
        compare("a\nb\n", "a\nc\n", "page:1")
