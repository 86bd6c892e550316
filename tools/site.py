"""Build the documentation as a site, with a gallery of a project for each task.

uv run --group site python tools/site.py FOLDER [--no-gallery]

Everything stands in FOLDER as in this repository, so that links between documents work as they are;
files that they link to are copied beside them. The gallery renders and runs each project on its
sample data, which takes some minutes: its plan, its reports and its tree are shown.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from copier import run_copy

ROOT = Path(__file__).resolve().parents[1]
START = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
# One project for each task; together they show each mode and depth.
SHOWN: tuple[dict[str, Any], ...] = (
    {"preset": "churn", "plan_depth": "light", "deployment_modes": ["rest", "batch"]},
    {"preset": "credit", "plan_depth": "regulated", "deployment_modes": ["rest", "grpc"]},
    {"preset": "ticket_routing", "plan_depth": "standard", "deployment_modes": ["rest"]},
    {"preset": "product_text", "plan_depth": "light", "deployment_modes": ["rest"]},
    {"preset": "visual_defect", "plan_depth": "light", "deployment_modes": ["batch"]},
    {"preset": "machine_faults", "plan_depth": "standard", "deployment_modes": ["streaming"]},
    {"preset": "house_price", "plan_depth": "standard", "deployment_modes": ["rest", "edge"]},
    {"preset": "demand", "plan_depth": "standard", "deployment_modes": ["batch"]},
    {"preset": "segmentation", "plan_depth": "light", "deployment_modes": ["batch"]},
    {"preset": "machine_monitoring", "plan_depth": "standard", "deployment_modes": ["streaming"]},
    {"preset": "recommender", "plan_depth": "light", "deployment_modes": ["rest"]},
)
TITLES = {"plan.html": "whole", "plan_exec.html": "one page"}
SECTIONS = {
    "Tutorial": ["docs/tutorial.md"],
    "How to": "docs/how-to",
    "Reference": "docs/reference",
    "Explanation": ["docs/architecture.md", "docs/explanation", "docs/benchmarks.md"],
    "Examples": "docs/examples",
    "Decisions": "docs/decisions",
    "Requirements": ["docs/requirements.md"],
    "Take part": ["CONTRIBUTING.md", "CHANGELOG.md"],
}


def copied(target: Path) -> None:
    """Copy the documents, and what they link to, to the places that they have here."""
    waiting = [ROOT / name for name in START] + sorted((ROOT / "docs").rglob("*.md"))
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        place = target / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".md":
            shutil.copy2(path, place)
            continue
        text = path.read_text(encoding="utf-8")
        place.write_text(LINK.sub(partial(told, path=path), text), encoding="utf-8")
        linked = [(path.parent / link).resolve() for link in LINK.findall(text)]
        waiting += [file for file in linked if file.is_file()]


def told(found: re.Match[str], path: Path) -> str:
    """Return a link as it is, or, of a folder, that of the file which lists it."""
    there = (path.parent / found[1]).resolve()
    if not there.is_dir():
        return found[0]
    return f"]({os.path.relpath(ROOT / 'docs/architecture.md', path.parent)}"


def navigation(target: Path) -> list[Any]:
    """Return the parts of the site by what a reader wants (Diátaxis), each with its pages."""
    found: list[Any] = [{"Start": ["README.md", "docs/README.md"]}]
    for title, where in SECTIONS.items():
        pages: list[str] = []
        for name in [where] if isinstance(where, str) else where:
            path = target / name
            files = sorted(path.glob("*.md")) if path.is_dir() else [path]
            pages += [str(file.relative_to(target)) for file in files]
        found.append({title: pages})
    if (target / "gallery").is_dir():
        found.append({"Gallery": ["gallery/README.md"]})
    return found


def gallery(target: Path) -> None:
    """Render and run a project for each task; write a page that leads to what each made."""
    rows = []
    for answers in SHOWN:
        place = target / "gallery" / answers["preset"]
        place.mkdir(parents=True)
        rows.append(shown(answers, place))
    head = "| Project | Task | Delivered by | Plan | Reports on made-up data | Files |"
    lines = [
        "# Gallery",
        "A project for each task, as the template writes it and `ml run` leaves it on its sample "
        "data, before anybody has filled in a word.",
        "\n".join([head, "|---|---|---|---|---|---|", *rows]),
    ]
    (target / "gallery/README.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def shown(answers: dict[str, Any], place: Path) -> str:
    """Make one project, copy its pages to `place`, and return its row of the table."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a working tree with changes is fine here
        project = Path(folder, answers["preset"])
        run_copy(str(ROOT), project, answers, defaults=True, quiet=True, vcs_ref="HEAD")
        files = sorted(str(p.relative_to(project)) for p in project.rglob("*") if p.is_file())
        given = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
        plan = yaml.safe_load((project / "plan/plan.yaml").read_text(encoding="utf-8"))["answers"]
        env = {**os.environ, "PYTHONPATH": str(project / "src"), "ML_TRAINING__TRACK": "false"}
        command = [sys.executable, "-m", given["package_name"]]
        for arguments in (["run"], ["plan", "report", "--html"], ["plan", "report"]):
            print(answers["preset"], *arguments, flush=True)
            subprocess.run([*command, *arguments], cwd=project, env=env, check=True)
        pages = sorted(project.glob("reports/*.html"))
        for page in pages:
            shutil.copy2(page, place / page.name)
    (place / "files.txt").write_text("\n".join(files) + "\n", encoding="utf-8")
    name = answers["preset"]
    plans = [page.name for page in pages if page.name.startswith("plan")]
    others = [page.name for page in pages if page.name not in plans]

    def links(names: list[str]) -> str:
        return ", ".join(f"[{TITLES.get(one, Path(one).stem)}]({name}/{one})" for one in names)

    return (
        f"| {name} | {plan['task_type']} | {', '.join(plan['deployment_modes'])} | "
        f"{links(plans)} ({answers['plan_depth']}) | {links(others)} | "
        f"[{len(files)}]({name}/files.txt) |"
    )


def main() -> None:
    """Build the site into the folder that is named first."""
    names = [name for name in sys.argv[1:] if not name.startswith("-")]
    if len(names) != 1 or Path(names[0]).exists():
        sys.exit("give one folder that is not there yet: tools/site.py FOLDER [--no-gallery]")
    target = Path(names[0]).resolve()
    copied(target / "pages")
    if "--no-gallery" not in sys.argv:
        gallery(target / "pages")
    settings = {
        "site_name": "ML Model Planner",
        "docs_dir": "pages",
        "site_dir": "site",
        "theme": {"name": "mkdocs", "highlightjs": False},
        "nav": navigation(target / "pages"),
        "validation": {"links": {"anchors": "warn"}},
    }
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    (target / "mkdocs.yml").write_text(text, encoding="utf-8")
    sys.exit(subprocess.call([sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=target))


if __name__ == "__main__":
    main()
