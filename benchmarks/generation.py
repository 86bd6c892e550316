# /// script
# requires-python = ">=3.11"
# dependencies = ["copier>=9.19.1,<10"]
# ///
"""CPU of `copier copy` and `copier update` against smaller templates; a fresh copy to its report.

Two templates to compare with: one question and one file, and one question and as many files as
ours, in the same folders, with no expression in them: what Copier itself takes for each file.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from common import ROOT, call, median

RUNS = 5
ONE, FILES, OURS = "one question, one file", "one question, our files as they are", "this template"
QUESTION = "_templates_suffix: .jinja\npackage_name: {type: str, default: churn_model}\n"
GIT = ("git", "-c", "user.name=b", "-c", "user.email=b@b", "-c", "commit.gpgsign=false")


def cpu() -> float:
    """Return the CPU seconds of all commands so far: other work on the machine does not count."""
    times = os.times()
    return times.children_user + times.children_system


def commit(folder: Path) -> Path:
    """Make a folder a repository of one commit."""
    call("git", "init", "-q", cwd=folder)
    call(*GIT, "add", "--all", "--force", cwd=folder)
    call(*GIT, "commit", "-qm", "x", cwd=folder)
    return folder


def templates(work: Path) -> dict[str, Path]:
    """Write the templates; ours as a user has it, as one pack of its last commit's history."""
    ours, one, files = (work / name for name in ("ours", "one", "files"))
    call("git", "clone", "-q", "--no-local", ROOT, ours, cwd=work)
    answers = "{{ _copier_conf.answers_file }}.jinja"
    shutil.copytree(ours / "template", files / "template")
    for path in [*files.rglob("*.jinja")]:
        if path.name != answers:
            path.rename(path.with_suffix(""))
    (files / "copier.yml").write_text(f"_subdirectory: template\n{QUESTION}")
    one.mkdir()
    (one / "copier.yml").write_text(QUESTION)
    for folder in (one, files / "template"):
        (folder / answers).write_text("{{ _copier_answers | to_nice_yaml }}")
    return {ONE: commit(one), FILES: commit(files), OURS: ours}


def seconds(*command: str | Path, cwd: Path, **env: str) -> float:
    """Return the CPU seconds of a command."""
    before = cpu()
    call(*command, cwd=cwd, **env)
    return cpu() - before


def costs(work: Path) -> Path:
    """Print what a copy and an update cost; return a project of this template."""
    copier = (sys.executable, "-m", "copier")
    copy = (*copier, "copy", "--defaults", "-q", "--vcs-ref", "HEAD")
    update = (*copier, "update", "--defaults", "-q", "--vcs-ref", ":current:")
    # Python's own cache of modules: none, as in the first run of an environment, or a warm one.
    none = {"PYTHONPYCACHEPREFIX": f"{work}/none", "PYTHONDONTWRITEBYTECODE": "1"}
    warm = {"PYTHONPYCACHEPREFIX": f"{work}/warm", "PYTHONDONTWRITEBYTECODE": ""}
    known, project = templates(work), work / "project"
    found: dict[tuple[str, str], list[float]] = {}
    for index in range(RUNS + 1):
        for which, template in known.items():
            shutil.rmtree(project, ignore_errors=True)
            first = seconds(*copy, template, project, cwd=work, **none)
            shutil.rmtree(project)
            again = seconds(*copy, template, project, cwd=work, **warm)
            updated = seconds(*update, cwd=commit(project), **warm)
            for what, value in (("copy, first", first), ("copy", again), ("update", updated)):
                found.setdefault((what, which), []).extend([value] if index else [])
    print("| what | CPU s | ratio |\n|---|---|---|")
    for (what, which), values in found.items():
        ratio = median([a / b for a, b in zip(values, found[what, ONE], strict=True)])
        print(f"| copier {what}: {which} | {median(values):.2f} | {ratio:.2f} |")
    return project


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        project = costs(Path(name))
        sync, _ = call("uv", "sync", "-q", cwd=project)
        given = ("--data", "horizon_months=48")
        updated = seconds("uv", "run", "ml", "update", *given, cwd=commit(project))
        run, _ = call("uv", "run", "ml", "run", cwd=project)
        print(f"| ml update, one answer | {updated:.2f} | |\n\n| what | seconds |\n|---|---|")
        print(f"| uv sync, warm cache | {sync:.1f} |")
        print(f"| ml run: sample data to report and plan | {run:.1f} |")


if __name__ == "__main__":
    main()
