"""What differs between two versions: inputs, settings, model and results on their test rows."""

from pathlib import Path
from typing import Any, NamedTuple

from .. import storage
from ..errors import CheckFailed, ProjectError
from ..formats import number
from ..settings import Project
from . import registry
from .scorer import EVALUATED, MANIFEST, Manifest

NONE = "-"
INPUTS = ("data", "contract", "code", "features", "plan", "setting")  # what a model follows from


class Difference(NamedTuple):
    """A fact of both versions; `kind` is one of INPUTS, "model" or "metric"."""

    kind: str
    name: str
    before: Any
    after: Any

    @property
    def said(self) -> str:
        """The fact as a line: its name, both values and, of a metric, the gain."""
        before, after = _text(self.before), _text(self.after)
        line = f"{self.kind:<9} {self.name:<28} {before:>22}  {after:>22}"
        if self.kind == "metric" and None not in (self.before, self.after):
            line += f"  {self.after - self.before:+.4f}"
        return line


def compare(project: Project, before: str, after: str) -> list[Difference]:
    """Return what differs between two versions, and their metrics, equal or not.

    ProjectError for a version that is not there. Metrics of different test rows are no gain.
    """
    versions = registry.read(project)
    for version in (before, after):
        registry.named(versions, version, " to compare")
    found = [_facts(project, version) for version in (before, after)]
    names = dict.fromkeys(name for facts in found for name in facts)
    return [
        Difference(*name, *values)
        for name in names
        if (values := [facts.get(name) for facts in found])[0] != values[1] or name[0] == "metric"
    ]


def table(versions: tuple[str, str], found: list[Difference]) -> str:
    """Return the differences as a table, with what follows for the metrics."""
    head = f"{'':<9} {'':<28} {versions[0]:>22}  {versions[1]:>22}"
    lines = [head, *(difference.said for difference in found)]
    inputs = sorted({difference.kind for difference in found} & {*INPUTS}, key=INPUTS.index)
    if any(d.name == "test rows" for d in found):
        lines.append("The test rows differ: the metrics do not tell which version is better.")
    elif inputs:
        lines.append(f"Both were judged on the same rows; {', '.join(inputs)} changed.")
    elif all(difference.before == difference.after for difference in found):
        lines.append("Made from the same, and alike in every metric.")
    return "\n".join(lines)


def check(versions: tuple[str, str], found: list[Difference]) -> None:
    """CheckFailed when two versions were made from the same and do not answer alike."""
    if any(difference.kind in INPUTS for difference in found):
        return
    apart = [d.name for d in found if d.before != d.after]
    if apart:
        raise CheckFailed(
            f"{' and '.join(versions)} were made from the same data, contract, code and settings, "
            f"but differ in {', '.join(apart)}: a package, the machine or a seed is another"
        )


def _facts(project: Project, version: str) -> dict[tuple[str, str], Any]:
    folder = registry.folder(project, version)
    manifest = storage.read_json(folder / MANIFEST, Manifest)
    trained = storage.read_json(folder / "training.json", dict[str, Any])
    split = trained.get("split", {})
    commit = manifest.commit and manifest.commit[:7] + " and changes" * manifest.changed
    facts: dict[tuple[str, str], Any] = {
        ("data", "rows"): manifest.data_sha256[:7],
        ("data", "development rows"): split.get("development_rows", NONE),
        ("data", "test rows"): str(split.get("test_sha256", NONE))[:7],
        ("contract", "columns and rules"): manifest.contract_sha256[:7],
        ("code", "commit"): commit or "no git",
    }
    facts |= {("features", name): "there" for name in manifest.features}
    facts |= {("plan", name): value for name, value in (trained.get("plan") or {}).items()}
    facts |= {
        ("setting", f"{group}.{name}"): value
        for group, values in trained.get("settings", {}).items()
        for name, value in values.items()
    }
    params = trained["candidates"].get(manifest.champion, {}).get("params", {})
    facts |= {("model", "champion"): manifest.champion}
    facts |= {("model", name): value for name, value in params.items()}
    return facts | {("metric", name): value for name, value in _metrics(folder).items()}


def _metrics(folder: Path) -> dict[str, float | None]:
    """Return the metrics of the test set by name; none before `ml evaluate`."""
    if not (folder / EVALUATED).exists():
        return {}
    report = storage.read_json(folder / EVALUATED, dict[str, Any])
    try:
        return {name: one["value"] for name, one in report["champion"]["metrics"].items()}
    except (KeyError, TypeError):
        place = f"models/{folder.name}/{EVALUATED}"
        raise ProjectError(f"{place} has no metrics: `ml evaluate` makes it again") from None


def _text(value: Any) -> str:
    if isinstance(value, float):
        return number(value, 4)
    if isinstance(value, list | tuple | dict):
        value = ", ".join(map(str, value)) or NONE
    text = NONE if value is None else str(value)
    return text if len(text) <= 22 else f"{text[:19]}..."
