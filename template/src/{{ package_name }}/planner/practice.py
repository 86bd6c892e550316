"""`ml plan score`: how much of good practice runs by itself, by the rubric of the ML Test Score.

Source: Breck, Cai, Nielsen, Salib, Sculley: The ML Test Score: a rubric for ML production readiness
and technical debt reduction. IEEE Big Data 2017. It has seven tests in each of four sections; one
that people did and wrote down counts half, one that is done by itself counts whole, and the score
is the smallest sum of a section, 0 to 7: what is monitored well and tested badly is tested badly.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..engine.formats import number
from ..engine.settings import Project
from .blocks import Parts, read, survey

# Where a host of code looks: at checks, at who owns what, at what it does about old packages.
HOSTS = {
    "github": {
        "checks": ".github/workflows/ci.yml",
        "owners": ".github/CODEOWNERS",
        "watched": ".github/dependabot.yml",
    },
    "gitlab": {
        "checks": ".gitlab-ci.yml",
        "owners": ".gitlab/CODEOWNERS",
        "watched": ".gitlab-ci.yml:uv audit",
    },
}
# Up to which score each sentence holds, from the paper.
MEANING = {
    0: "more of a research project than a system for production",
    1: "not totally untested, but there may be serious holes in reliability",
    2: "a first pass at production readiness; more investment may be needed",
    3: "reasonably tested, but more of the tests may be automated",
    5: "strong levels of automated testing and monitoring",
    7: "exceptional levels of automated testing and monitoring",
}


class Practice(NamedTuple):
    """One test of the rubric; evidence is `path`, `path:key` of JSON, or `path:text` of a file.

    A name in braces is one of HOSTS.
    """

    section: str
    asks: str
    evidence: str  # what a run leaves behind when the project does it by itself; "" for nothing
    block: str  # where people write that they did it
    personal: bool = False  # asked only where rows are about people


class Found(NamedTuple):
    """What one test of the rubric has: 0, 0.5 or 1, and why."""

    section: str
    asks: str
    points: float
    why: str


RUBRIC = [
    Practice(
        "data", "a schema says what is expected", "reports/data_quality.json:rules", "DATA-01"
    ),
    Practice("data", "each feature brings something", "reports/explain.json:global", "EVAL-03"),
    Practice("data", "no feature costs too much", "", "COST-01"),
    Practice(
        "data", "features keep to what policy allows", "{checks}:ml contract check", "PRIV-02"
    ),
    Practice("data", "privacy is controlled", "reports/erased/*.json", "PRIV-01", personal=True),
    Practice("data", "a feature is added quickly", "reports/explain.json:made", "DATA-03"),
    Practice("data", "code of features is tested", "models/*/golden.json", "DATA-03"),
    Practice("model", "every setting is reviewed", "{owners}", "TEAM-01"),
    Practice("model", "measured gain is real gain", "reports/experiment.json", "EVAL-08"),
    Practice("model", "settings are tuned", "reports/tuning.json", "EVAL-03"),
    Practice("model", "what age does is known", "reports/retrain.json:checks", "MON-02"),
    Practice("model", "no simpler model is as good", "reports/metrics.json:baselines", "EVAL-03"),
    Practice("model", "slices are good enough", "reports/metrics.json:slices", "EVAL-06"),
    Practice("model", "groups of people are compared", "", "FAIR-01", personal=True),
    Practice("pipeline", "training can be repeated", "uv.lock", "EVAL-03"),
    Practice("pipeline", "the model has unit tests", "tests/model/test_*.py", "EVAL-03"),
    Practice("pipeline", "the whole pipeline is tested", "{checks}:ml run", "DEP-03"),
    Practice("pipeline", "a gate judges each model", "reports/metrics.json:gate", "EVAL-03"),
    Practice("pipeline", "one row can be followed", "reports/explain.json:global", "EVAL-03"),
    Practice("pipeline", "new models go live in stages", "", "DEP-03"),
    Practice("pipeline", "an earlier model may return", "models/registry.json:previous", "OPS-01"),
    Practice("monitoring", "packages are watched", "{watched}", "SUP-01"),
    Practice("monitoring", "inputs are watched", "reports/drift.json:features", "MON-02"),
    Practice("monitoring", "training and use agree", "models/*/golden.json", "DEP-03"),
    Practice("monitoring", "age is watched", "reports/retrain.json:checks", "MON-02"),
    Practice("monitoring", "numbers are watched", "reports/drift.json:prediction", "MON-02"),
    Practice("monitoring", "speed is watched", "reports/bench.json", "OPS-01"),
    Practice("monitoring", "errors are watched", "reports/drift.json:performance", "MON-02"),
]


def run(project: Project) -> dict[str, Any]:
    """Return score, meaning, the sum of each section, and what each test has."""
    found = [*judge(project)]
    sums: dict[str, float] = {}
    for one in found:
        sums[one.section] = sums.get(one.section, 0.0) + one.points
    score = min(sums.values())
    meaning = MEANING[min(most for most in MEANING if score <= most)]
    tests = [one._asdict() for one in found]
    return {"score": score, "meaning": meaning, "sections": sums, "tests": tests}


def judge(project: Project) -> Iterator[Found]:
    """Yield what each test of the rubric has; figures of made-up data count half."""
    parts, _ = survey(read(project.path("PLAN.md")))
    for asked in RUBRIC:
        points, why = _points(project, parts, asked)
        yield Found(asked.section, asked.asks, points, why)


def text(found: dict[str, Any]) -> str:
    """Return what `run` found as lines, the sum of each section above its tests."""
    lines = []
    for section, total in found["sections"].items():
        lines.append(f"{section}: {number(total)} of 7")
        own = (one for one in found["tests"] if one["section"] == section)
        lines += [f"  {number(o['points']):>3}  {o['asks']}: {o['why']}" for o in own]
    end = f"ML Test Score {number(found['score'])}, the least of them: {found['meaning']}"
    return "\n".join([*lines, end])


def _points(project: Project, parts: Parts, asked: Practice) -> tuple[float, str]:
    if asked.personal and not project.plan.answers["personal_data"]:
        return 1.0, "not needed, as no row is about a person"
    evidence = asked.evidence.format(**HOSTS[project.plan.answers["code_host"]])
    path, made_up = _evidence(project.root, evidence)
    if path and not made_up:
        return 1.0, path
    if path:
        return 0.5, f"{path}, of made-up data"
    part = parts.get(("human", asked.block))
    if part is not None and not part.open:
        return 0.5, f"by hand, as {asked.block} says"
    block = asked.block if part is not None else ""
    lacks = [_lacking(project.root, evidence), block and f"{block} is open"]
    missing = " and ".join(filter(None, lacks))
    return 0.0, missing or "nothing here does it"


def _evidence(root: Path, what: str) -> tuple[str, bool]:
    """Return the first file that shows it, "" for none, and whether its data are made up."""
    pattern, _, key = what.partition(":")
    of_model = pattern.startswith("models/")
    for path in sorted(root.glob(pattern)) if pattern else ():
        name = path.relative_to(root).as_posix()
        if path.suffix != ".json":
            if key in path.read_text(encoding="utf-8"):
                return name, False
            continue
        report = _report(path)
        if report is not None and (not key or report.get(key)):
            # A model is of the data that its training says.
            of = _report(root / "reports/training.json") if of_model else report
            return name, bool(of and of.get("made_up"))
    return "", False


def _lacking(root: Path, what: str) -> str:
    """Say what of the evidence is not there: a file, or what a file should hold."""
    pattern, _, key = what.partition(":")
    if not key or not any(root.glob(pattern)):
        return pattern and f"no {pattern}"
    return f"nothing under `{key}` in {pattern}" if ".json" in pattern else f"no {key} in {pattern}"


def _report(path: Path) -> dict[str, Any] | None:
    """Return a report, None where it is not there or no JSON object."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None
