"""Licences of installed packages and of sources in one table, with what needs attention.

A package is `shipped` when serving needs it: the image installs those, and hands them on. What is
said follows the licence's own words: a pointer for who decides, no legal advice.
"""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Any

import msgspec

from . import storage
from .data import sources
from .errors import ProjectError
from .formats import count
from .settings import Project

REPORT = "reports/licences.json"
UNKNOWN = "unknown"
# What a licence's words ask somebody to look at, the gravest first.
CONCERNS = (
    (r"\bAGPL|Affero", "users of a service get the source too"),
    (r"non-?commercial|\bNC\b|research (use )?only", "not for business"),
    (r"no-?deriv|\bND\b", "what is made of it may not be passed on"),
    (r"\bLGPL|Lesser General", "who gets it may replace it: ship it as a package of its own"),
    (r"\bGPL|General Public", "who gets it gets the source of the whole"),
    (r"share-?alike|\bSA\b|\bODbL\b", "what is made of it keeps this licence"),
    (r"proprietary|all rights reserved|commercial", "read the contract that allows its use"),
)


class Licence(msgspec.Struct, frozen=True, kw_only=True):
    """A licence of a package or a source; `concern` is empty where nothing asks for a look."""

    kind: str
    name: str
    version: str = ""
    licence: str
    shipped: bool
    concern: str = ""


def run(project: Project) -> dict[str, Any]:
    """Write reports/licences.json: what needs attention first, then the rest by name."""
    found = [*_packages(project), *_sources(project), *_weights(project)]
    found.sort(key=lambda one: (not one.concern, not one.shipped, one.kind, one.name.lower()))
    report = {
        "attention": sum(bool(one.concern) for one in found),
        "shipped": sum(one.shipped and one.kind == "package" for one in found),
        "licences": [msgspec.to_builtins(one) for one in found],
    }
    storage.write_json(project.path(REPORT), report)
    return report


def told(report: dict[str, Any], *, every: bool = False) -> str:
    """Return a table of what needs attention, or of all, and how many there are."""
    rows = [one for one in report["licences"] if every or one["concern"]]
    cells = [
        [
            f"{one['kind']} {one['name']} {one['version']}".strip(),
            one["licence"],
            "shipped" if one["shipped"] else "not shipped",
            one["concern"],
        ]
        for one in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    kinds = [one["kind"] for one in report["licences"]]
    models = kinds.count("weights")
    brought = f"{count(models, 'pretrained model')}; " if models else ""
    lines.append(
        f"{count(kinds.count('package'), 'package')}, {report['shipped']} of them shipped; "
        f"{count(kinds.count('source'), 'source')}; "
        f"{brought}"
        f"{report['attention']} to look at: {REPORT} has all"
    )
    return "\n".join(lines)


def concern(licence: str) -> str:
    """Say what the words of a licence ask somebody to look at, or ""."""
    if licence in ("", UNKNOWN):
        return "nobody says under which terms: find out"
    # Of several to choose from, one without a concern is enough.
    choices = re.split(r"\bOR\b", licence)
    said = [next((why for words, why in CONCERNS if _has(words, one)), "") for one in choices]
    return "" if "" in said else said[0]


def _has(words: str, licence: str) -> bool:
    kept = re.sub(r"GPL[-\w.]*\s+WITH\s+[\w-]+", "", licence)  # an exception for what links to it
    return bool(re.search(words, kept, re.IGNORECASE))


def _packages(project: Project) -> Iterator[Licence]:
    shipped = _shipped(project)
    seen = set[str]()
    for found in distributions():
        name = found.metadata["Name"] or ""
        if not name or _plain(name) in seen:
            continue
        seen.add(_plain(name))
        licence = _licence(found)
        yield Licence(
            kind="package",
            name=name,
            version=found.version,
            licence=licence,
            shipped=_plain(name) in shipped,
            concern=concern(licence),
        )


def _licence(found: Distribution) -> str:
    """Return a package's licence: its expression, its classifiers, or its own short words."""
    metadata = found.metadata
    if expressions := metadata.get_all("License-Expression"):
        return str(expressions[0])
    classified = [
        str(line).rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if str(line).startswith("License ::") and not str(line).endswith("OSI Approved")
    ]
    if classified:
        return " and ".join(classified)
    written = str((metadata.get_all("License") or [""])[0]).strip()
    return " ".join(written.splitlines()[0].split())[:60] if written else UNKNOWN


def _shipped(project: Project) -> set[str]:
    """Return the packages that serving needs, with all that those need."""
    path = project.path("pyproject.toml")
    try:
        known = tomllib.loads(path.read_text(encoding="utf-8"))
        left = [*known["project"]["dependencies"], {"include-group": "serving"}]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ProjectError(f"{path.name}: no dependencies can be read: {error}") from None
    found = set[str]()
    while left:
        if isinstance(requirement := left.pop(), dict):  # all modes, each of which has an image
            left += known.get("dependency-groups", {}).get(requirement["include-group"], [])
            continue
        name = _plain(re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0])
        if name in found or re.search(r";.*\bextra\b", requirement):
            continue
        try:
            left += distribution(name).requires or []
        except PackageNotFoundError:
            continue  # of another system
        found.add(name)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _weights(project: Project) -> Iterator[Licence]:
    """Return pretrained models by the README of each folder; a bundle hands on what it names.

    Its head is that of a model card: `license: mit` between two lines of dashes.
    """
    manifests = project.path("models").glob("v*/manifest.json")
    named = {
        part
        for manifest in manifests
        for name in storage.read_json(manifest, dict[str, Any]).get("pretrained", {})
        for part in Path(name).parts[1:2]
    }
    folder = project.path("pretrained")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith((".", "README")) or path.suffix == ".md":
            continue
        card = path / "README.md" if path.is_dir() else path.with_suffix(".md")
        text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        said = re.search(r"^licen[sc]e:[ \t]*(\S.*)$", head[1] if head else "", re.MULTILINE)
        licence = said[1].strip().strip("'\"") if said else UNKNOWN
        yield Licence(
            kind="weights",
            name=path.name,
            licence=licence,
            shipped=path.name in named,
            concern=concern(licence),
        )


def _sources(project: Project) -> Iterator[Licence]:
    for source in sources.of(project.contract_path):
        said = source.licence.strip() or UNKNOWN
        own = said.lower() in ("none needed", "our own", "ours", "own")
        yield Licence(
            kind="source",
            name=source.server,
            licence=said,
            shipped=False,
            concern="" if own or not source.used else concern(said),
        )
