"""`ml update`: nothing that people wrote is lost, and there is a way back from everything.

Two updates and the refusals run as users run them, with Copier's own command on a template in git.
The other cases call the same code with Copier in this process, which saves ten seconds each.
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_plan_updates as lab
import yaml
from copier._cli import CopierApp
from helpers import package  # makes `package_name` importable
from helpers.rendering import (
    ROOT,
    check_answers_anew,
    command,
    copy_template,
    different,
    fast_copier,
    git,
    publish,
    recorded,
    render,
    tree,
)

from package_name.engine import git as git_child
from package_name.engine.errors import ProjectError
from package_name.planner import blocks, update

FEATURES = "src/churn_model/features.py"
SERVICE = "src/churn_model/engine/serving/rest.py"
TOUCHED = {".copier-answers.yml", "PLAN.md", "docs/model_card.md", "plan/plan.yaml"}  # by cost_fn
TRAINING = "src/churn_model/training.py"
GONE = "tests/model/test_metrics.py"  # a file of binary projects, which v1.1.0 removes
PICTURES = {"docs/logo.png": b"\x89PNG\0logo", "docs/mark.png": b"\x89PNG\0mark"}
OURS = b"\x89PNG\0ours"


def edit(folder: Path, name: str, old: str, new: str) -> None:
    """Replace the first place of a text in a file."""
    path = folder / name
    content = path.read_text(encoding="utf-8")
    assert old in content, name
    path.write_text(content.replace(old, new, 1), encoding="utf-8")


def append(folder: Path, name: str, text: str) -> None:
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template in git: v1.0.0, and v1.1.0 which changes one thing of each kind."""
    folder = copy_template(tmp_path_factory.mktemp("template") / "ml model planner")
    for name, content in PICTURES.items():
        (folder / "template" / name).write_bytes(content)
    publish(folder, tag="v1.0.0")
    source = "template/src/{{ package_name }}"
    append(folder, f"{source}/training.py", "\n# of the template\n")
    append(folder, f"{source}/cli.py.jinja", "\n\nHINT = 'of the template'\n")
    (folder / "template/docs/logo.png").write_bytes(b"\x89PNG\0new")
    git(folder, "mv", "template/docs/runbook.md.jinja", "template/docs/handbook.md.jinja")
    append(folder, "template/docs/handbook.md.jinja", "\nOne line more.\n")
    git(
        folder,
        "rm",
        "-q",
        str(package.own("binary").relative_to(package.TEMPLATE.parent) / f"{GONE}.jinja"),
    )
    append(folder, "template/docs/model_card.md.jinja", "\nOne line more.\n")
    append(folder, "template/.gitignore", "/scratch/\n")
    edit(folder, "template/config.yaml.jinja", "folds: 5", "folds: 4")
    append(folder, "questions/operation.yml", "\nshifts:\n  type: int\n  default: 3\n")
    check_answers_anew(folder)
    publish(folder, tag="v1.1.0")
    return folder


@pytest.fixture(scope="module")
def made(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project of v1.0.0 in git, with a blank in its path, made by Copier's command."""
    folder = tmp_path_factory.mktemp("made") / "my project"
    copy = ["copier", "copy", "--defaults", "--quiet", "--vcs-ref", "v1.0.0"]
    done = command(*copy, str(template), str(folder))
    assert done.returncode == 0, done.stderr
    git(folder, "init", "-q")
    commit(folder)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "my project", symlinks=True))


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "ours")


def ml(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ml` as a user would."""
    name = next((project / "src").iterdir()).name
    env = {**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "80"}
    started = [sys.executable, "-m", name, *arguments]
    done = subprocess.run(
        started, cwd=project, env=env, check=False, capture_output=True, text=True, timeout=300
    )
    done.stderr = re.sub(r"(?m)^\.\.\. update.*\n", "", done.stderr)  # of a machine with other work
    return done


def all_of(project: Path) -> dict[str, bytes]:
    """Return every file but git's own, the lock of `ml`, and what undo needs."""
    own = (".git/", ".ml.lock", ".ml.update/")
    return {name: content for name, content in tree(project).items() if not name.startswith(own)}


def in_process(folder: Path, file: Path, was: Any, *arguments: str) -> str:
    """Run Copier's command line on a folder, without a process of its own."""
    out, err = io.StringIO(), io.StringIO()
    with (
        fast_copier(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        started = ["copier", *arguments, f"--answers-file={file.name}", str(folder)]
        code = CopierApp.run(started, exit=False)[1]
    assert code == 0, err.getvalue()
    return out.getvalue()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "_copier", in_process)


# ---------------------------------------------------------------- as users run it


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((None, "none", "pbd.none"), "none (new, pbd.none)"),
        ((["a"], ["a", "b"], "mod.b"), "a -> a, b (mod.b)"),
        ((None, 3), "none -> 3"),
    ],
)
def test_a_decision_that_is_new_changes_nothing(change: tuple[Any, ...], said: str) -> None:
    assert update._shown(change) == said


def test_a_mode_is_switched_off_and_all_is_taken_back(project: Path, tmp_path: Path) -> None:
    edit(project, SERVICE, '"""', '"""Ours. ')
    for identifier in ("DEP-03", "EVAL-01"):
        mark = f"<!-- plan:answer {identifier} -->\n"
        edit(project, "PLAN.md", f"{mark}_No answer yet._", f"{mark}We want {identifier}.")
    commit(project)
    for identifier in ("DEP-03", "EVAL-01"):
        assert ml(project, "plan", "approve", identifier, "--by", "@eva").returncode == 0
    commit(project)
    for name in ("data/raw/mine.csv", "models/v1/model.onnx", ".env"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("ignored by git, and dear to us")
    before, service = all_of(project), (project / SERVICE).read_bytes()

    done = ml(project, "update", "--to", "v1.0.0", "--data", "deployment_modes=[batch]")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    told = " ".join(done.stdout.split())
    for words in (
        "version v1.0.0 answers availability: 0.995 -> none",
        "deployment_modes: rest, batch -> batch",
        "DEP-03 rollout: ",
        "reapprove DEP-03 ",
        f"kept {SERVICE} -> {SERVICE}.yours",
        "stale approval",
        "ml update --undo",
    ):
        assert words in told, words
    assert (project / f"{SERVICE}.yours").read_bytes() == service
    fresh = render(tmp_path / "fresh", source=Path(recorded_source(project)), commit="v1.0.0",
                   deployment_modes=["batch"])  # fmt: skip
    ours = {"PLAN.md", "config.yaml", f"{SERVICE}.yours", "data/raw/mine.csv",
            "models/v1/model.onnx", ".env", "reports/audit.jsonl"}  # fmt: skip
    assert set(different(all_of(project), tree(fresh))) == ours
    assert "?? " + f"{SERVICE}.yours" in git(project, "status", "--porcelain").splitlines()
    ruff = command("ruff", "check", "--no-cache", str(project))
    assert ruff.returncode == 0, ruff.stdout

    done = ml(project, "update", "--undo")
    assert (done.returncode, done.stderr) == (0, "")
    assert all_of(project) == before
    assert git(project, "status", "--porcelain") == ""
    done = ml(project, "update", "--undo")
    assert (done.returncode, done.stderr) == (2, "error: there is no update to take back\n")


def recorded_source(project: Path) -> str:
    return str(yaml.safe_load((project / ".copier-answers.yml").read_text())["_src_path"])


def test_a_new_version_with_conflicts_fails_loudly_and_keeps_everything(project: Path) -> None:
    append(project, TRAINING, "\n# ours\n")
    append(project, "src/churn_model/cli.py", "\n\nHINT = 'ours'\n")
    append(project, "docs/runbook.md", "\nCall Bob first.\n")
    append(project, GONE, "\n# ours\n")
    edit(project, "config.yaml", "seed: 7", "seed: 8")
    for name in PICTURES:
        (project / name).write_bytes(OURS)
    (project / "docs/model_card.md").unlink()
    commit(project)
    before = all_of(project)

    done = ml(project, "update")
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: conflicts in src/churn_model/cli.py, src/churn_model/training.py: .*--undo\n",
        done.stderr,
    )
    told = " ".join(done.stdout.split())
    for words in ("version v1.0.0 -> v1.1.0", "shifts: none -> 3", "added docs/handbook.md"):
        assert words in told, words
    kept = ["docs/logo.png", "docs/runbook.md", GONE]
    for name in kept:
        assert f"{name} -> {name}.yours" in told
        assert (project / f"{name}.yours").read_bytes() == before[name]
    now = all_of(project)
    assert now["docs/logo.png"] == b"\x89PNG\0new"
    assert now["docs/mark.png"] == OURS
    assert now["config.yaml"] == before["config.yaml"]
    assert not {"docs/model_card.md", "docs/runbook.md", GONE} & set(now)
    for name, ours in ((TRAINING, "# ours"), ("src/churn_model/cli.py", "HINT = 'ours'")):
        assert f"<<<<<<< HEAD\n{ours}\n=======\n" in now[name].decode().replace("\n\n", "\n")
    assert b"/scratch/" in now[".gitignore"]

    # The code has conflicts: `ml` says where, and can still take the update back.
    done = ml(project, "plan", "check")
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*cli\.py, line \d+: .*\n", done.stderr)
    done = ml(project, "update", "--undo")
    assert (done.returncode, done.stderr) == (0, "")
    assert all_of(project) == before
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--data", "pos_rate=15"],
            "pos_rate: give 0.0001 to 0.9999, such as 0.15 (--data=pos_rate=15)",
        ),
        (
            ["--data", "owner=Eva", "--data", "n_rows=many"],
            "n_rows: give a number, such as 50000 (--data=o",
        ),
        (["--data", "deployment_modes=[kafka"], "deployment_modes: give a list, such as [rest"),
        (["--data", "deployment_modes=[kafka]"], "deployment_modes: give a list, such as [rest"),
        (["--data", "cost_tn=50"], "cost_tn: give less than cost_fp"),
        (["--data", "cost_fn"], "--data cost_fn: give NAME=VALUE"),
        (["--data", "ownr=Eva"], "--data ownr: no such question: owner?"),
        (["--data", "time=day"], "--data time: no such question: time_column?"),
        (["--data", "given=x", "--data", "cost_fn=abc"], "no question is called given"),
        (["--to", "v9.0.0"], "ml model planner has no such version: Unknown revision: 'v9.0.0'"),
        (["--undo", "--dry-run"], "--undo takes no other option"),
    ],
)
def test_what_cannot_be_is_one_line(made: Path, arguments: list[str], message: str) -> None:
    version = [] if {"--to", "--undo"} & set(arguments) else ["--to", "v1.0.0"]
    before = tree(made)
    done = ml(made, "update", "--dry-run", *version, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert tree(made) == before


@pytest.mark.parametrize("address", ["{}/gone", "file://{}/gone.git"])
def test_a_template_out_of_reach_is_named(project: Path, address: str) -> None:
    answers = project / ".copier-answers.yml"
    address = address.format(project.parent)
    lines = answers.read_text().splitlines(keepends=True)
    lines = [f"_src_path: {address}\n" if "_src_path" in line else line for line in lines]
    answers.write_text("".join(lines))
    commit(project)
    done = ml(project, "update")
    assert done.returncode == 2
    start = f"error: the template at {address} is out of reach: "
    assert done.stderr.startswith(start) and done.stderr.count("\n") == 1


@pytest.mark.parametrize("address", [".", "ml model planner", "../gone"])
def test_an_address_that_tells_not_where_the_template_is_is_named(
    project: Path, address: str
) -> None:
    """Copier looks from the folder in which it runs: the project would be its own template."""
    edit(project, ".copier-answers.yml", recorded_source(project), address)
    commit(project)
    before = all_of(project)
    with pytest.raises(ProjectError, match=rf"address {re.escape(address)} tells not where it is"):
        update.run(project, [], None, dry_run=False)
    assert all_of(project) == before


def test_a_template_that_is_no_repository_any_more_is_named(project: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(recorded_source(project), tmp_path / "template"))
    edit(project, ".copier-answers.yml", recorded_source(project), str(source))
    commit(project)
    shutil.rmtree(source / ".git")
    with pytest.raises(ProjectError, match="is out of reach: not a git repository"):
        update.run(project, [], None, dry_run=False)
    git(tmp_path, "init", "-q")
    with pytest.raises(ProjectError, match=f"a folder of the repository {tmp_path}"):
        update.run(project, [], None, dry_run=False)


@pytest.mark.parametrize(
    ("here", "address"), [("ml model planner", "."), (".", "ml model planner/")]
)
def test_the_whole_address_of_a_local_template_is_recorded(
    template: Path, tmp_path: Path, fast: None, here: str, address: str
) -> None:
    project = tmp_path / "project"
    copy = ["copier", "copy", "--defaults", "--quiet", "--vcs-ref", "v1.0.0"]
    done = command(*copy, address, str(project), cwd=template.parent / here)
    assert done.returncode == 0, done.stderr
    assert recorded_source(project) == str(template.resolve())
    git(project, "init", "-q")
    commit(project)
    assert update.run(project, ["cost_fn=90"], "v1.0.0", dry_run=False).result.startswith("done")


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (
            "Traceback ...\nModuleNotFoundError: No module named 'churn.planner.progress'\n",
            "not by the code of before, which knows other files: run `ml plan check`",
        ),
        ("Traceback ...\nMemoryError: 8 GB\n", "MemoryError: 8 GB"),
    ],
)
def test_a_check_that_lacks_files_of_the_new_answers_says_so(
    project: Path, fast: None, monkeypatch: pytest.MonkeyPatch, lost: str, words: str
) -> None:
    """The code of before knows nothing of progress.yaml, which the next depth brings."""
    real = update._start

    def start(command: list[str], *rest: Any) -> tuple[int, str, str]:
        return (1, "", lost) if "plan" in command else real(command, *rest)

    monkeypatch.setattr(update, "_start", start)
    done = update.run(project, ["plan_depth=standard"], "v1.0.0", dry_run=False)
    assert done.check == [words]


def test_another_task_and_back_keeps_what_people_wrote(project: Path, fast: None) -> None:
    edit(project, "PLAN.md", "_No answer yet._", "Calls of the second week show it.")
    listed = "FEATURES: Sequence[Operator | Past] = [\n"
    declared = '    Ratio("use", of=("a", "b")),\n    Lag("before", of="a"),\n'
    edit(project, FEATURES, listed, f"{listed}{declared}")
    commit(project)
    owned = ("PLAN.md", "config.yaml", "contracts/dataset.odcs.yaml", "plan/overrides.yaml")
    owned = (*owned, FEATURES)
    before = {name: (project / name).read_bytes() for name in owned}
    every = ("regression", "multiclass", "multilabel", "anomaly", "clustering")
    for task in (*every, "recommendation", "forecasting", "binary"):
        done = update.run(project, [f"task_type={task}"], "v1.0.0", dry_run=False)
        assert done.check == ["not by the code of another task: run `ml plan check`"]
        assert not done.conflicts and not done.kept
        assert "Calls of the second week show it." in (project / "PLAN.md").read_text("utf-8")
        commit(project)
    assert {name: (project / name).read_bytes() for name in owned} == before


def test_a_version_that_the_template_lost_has_a_way_out(project: Path) -> None:
    """A template that was copied with changes not yet committed makes one."""
    edit(project, ".copier-answers.yml", "_commit: v1.0.0", "_commit: ff7ceb8")
    commit(project)
    done = ml(project, "update", "--data", "cost_fn=90")
    mend = "Unknown revision: 'ff7ceb8'; write the nearest one that it has into .copier-answers.yml"
    assert done.returncode == 2 and mend in done.stderr and done.stderr.count("\n") == 1
    edit(project, ".copier-answers.yml", "_commit: ff7ceb8", "_commit: v1.0.0")
    commit(project)
    assert ml(project, "update", "--data", "cost_fn=90", "--to", "v1.0.0").returncode == 0


def test_nothing_to_do_is_good(project: Path) -> None:
    edit(project, ".copier-answers.yml", "_commit: v1.0.0", "_commit: v1.1.0")
    commit(project)
    done = ml(project, "update", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["version"] == ["v1.1.0", "v1.1.0"]
    assert said["result"].startswith("nothing to do") and not said["changed"]


# ---------------------------------------------------------------- refusals before Copier runs


def no_git(project: Path) -> None:
    shutil.rmtree(project / ".git")


def ignored_by_an_outer_repository(project: Path) -> None:
    shutil.rmtree(project / ".git")
    git(project.parent, "init", "-q")
    (project.parent / ".gitignore").write_text("*\n")
    git(project.parent, "commit", "-q", "--allow-empty", "-m", "none")


def never_committed(project: Path) -> None:
    no_git(project)
    git(project, "init", "-q")


def left_out_of_an_outer_repository(project: Path) -> None:
    no_git(project)
    (project.parent / "other").write_text("ours")
    git(project.parent, "init", "-q")
    git(project.parent, "add", "other")
    git(project.parent, "commit", "-q", "-m", "other")


def damaged(project: Path) -> None:
    (project / ".git/HEAD").unlink()


def moved_worktree(project: Path) -> None:
    main = project.parent / "main"
    project.rename(main)
    git(main, "worktree", "add", "-q", "--detach", str(project))
    main.rename(main.with_name("elsewhere"))


def moved_submodule(project: Path) -> None:
    shutil.rmtree(project / ".git")
    (project / ".git").write_text("gitdir: ../../.git/modules/ml/churn\n")


def dirty(project: Path) -> None:
    append(project, "README.md", "more")
    (project / "new.txt").write_text("new")


def unsolved(project: Path) -> None:
    append(project, "README.md", "\n<<<<<<< before updating\n")
    commit(project)


def merging(project: Path) -> None:
    git(project, "checkout", "-q", "-b", "other")
    for branch, text in (("other", "theirs"), ("main", "ours")):
        git(project, "checkout", "-q", branch)
        append(project, "README.md", text)
        commit(project)
    with contextlib.suppress(subprocess.CalledProcessError):
        git(project, "merge", "other")


def rejected(project: Path) -> None:
    (project / "README.md.rej").write_text("@@")


def cruft(project: Path) -> None:
    (project / ".cruft.json").write_text("{}")
    commit(project)


def no_answers(project: Path) -> None:
    (project / ".copier-answers.yml").unlink()
    commit(project)


def edited_answers(project: Path) -> None:
    edit(project, ".copier-answers.yml", "cost_fn: 70", "cost_fn: 90")
    commit(project)


def interrupted(project: Path) -> None:
    (project / ".ml.update").mkdir()
    (project / ".ml.update/.gitignore").write_text("*\n")
    (project / ".ml.update/state.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_git, "not in git: `git init`, then `git add . && git commit`"),
        (never_committed, "nothing is committed yet in .*my project: `git add"),
        (ignored_by_an_outer_repository, "ignores the project: `git check-ignore -v .copier"),
        (left_out_of_an_outer_repository, "^.copier-answers.yml is not committed in the repo"),
        (damaged, "^git cannot read .*/.git: not a git repository"),
        (moved_worktree, "was moved or copied: run `git worktree repair`"),
        (moved_submodule, "leads to ../../.git/modules/ml/churn, .*: move the submodule back"),
        (dirty, "^README.md, new.txt: not committed: `git add"),
        (unsolved, "^README.md: a conflict is left"),
        (merging, "^README.md: a conflict is left"),
        (rejected, "^README.md.rej: a conflict is left"),
        (cruft, "run `cruft update`"),
        (no_answers, "restore it with git"),
        (edited_answers, "^cost_fn was edited in .*`ml update --data cost_fn=VALUE`"),
        (interrupted, "run `ml update --undo` first"),
    ],
)
def test_a_project_that_is_not_ready_is_refused(
    project: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(project)
    before = tree(project)
    with pytest.raises(ProjectError, match=message) as error:
        update.run(project, ["cost_fn=80"], "v1.0.0", dry_run=False)
    assert "\n" not in str(error.value)
    changed = different(tree(project), before)
    assert [name for name in changed if name != ".git/index"] == []


def test_copier_is_found_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    file, was = tmp_path / "answers.yml", {"_src_path": "x"}
    with pytest.raises(ProjectError, match="needs Copier: install uv, or copier>=9"):
        update._copier(tmp_path, file, was, "recopy")
    for tool in ("uvx", "copier"):  # the one on the path comes first
        (tmp_path / tool).write_text(f'#!/bin/sh\necho {tool} "$@"\n')
        (tmp_path / tool).chmod(0o755)
        given = "" if tool == "copier" else " copier>=9.19.1,<10"
        said = update._copier(tmp_path, file, was, "recopy")
        assert said == f"{tool}{given} recopy --answers-file=answers.yml {tmp_path}\n"


# ---------------------------------------------------------------- with Copier in this process


def test_a_dry_run_says_all_and_changes_nothing(project: Path, fast: None) -> None:
    append(project, TRAINING, "\n# ours\n")
    append(project, GONE, "\n# ours\n")
    commit(project)
    before = tree(project)
    given = ["deployment_modes=[batch]", "shifts=4", "pos_rate=5 %", "cost_fn=90,00", "entity=none"]
    report = update.run(project, given, None, dry_run=True)
    assert report.answers["pos_rate"] == (0.15, 0.05) and report.answers["cost_fn"] == (70.0, 90.0)
    assert report.answers["entity"] == ("customer_id", "")
    assert report.conflicts == [TRAINING]
    assert report.kept == {GONE: f"{GONE}.yours"}
    assert report.answers["shifts"] == (None, 4)
    assert report.version == ("v1.0.0", "v1.1.0")
    assert SERVICE in report.removed and "docs/handbook.md" in report.added
    assert "DEP-03" in report.plan
    assert report.result == "a dry run: nothing has changed"
    assert different(tree(project), before) in ([], [".git/index"])  # which `git status` refreshes


def test_a_figure_that_nobody_gave_follows(project: Path, fast: None) -> None:
    update.run(project, ["build_cost=90000"], "v1.0.0", dry_run=False)
    commit(project)
    report = update.run(project, ["pos_rate=0.05"], "v1.0.0", dry_run=False)
    assert report.answers["min_metric"] == (0.65, 0.075)
    plan = yaml.safe_load((project / "plan/plan.yaml").read_text())
    origins = plan["origins"]
    assert {name for name, origin in origins.items() if origin == "given"} == {
        *("pos_rate", "build_cost")
    }
    assert plan["answers"]["build_cost"] == 90000, "what somebody gave stays"


def test_a_dry_run_takes_files_as_they_are(project: Path, tmp_path: Path, fast: None) -> None:
    """What is not committed counts as an update would see it after `git add . && git commit`."""
    outer = tmp_path / "outer"
    outer.mkdir()
    project = project.rename(outer / "ml")
    shutil.rmtree(project / ".git")
    git(outer, "init", "-q")
    commit(outer)
    append(project, TRAINING, "\n# ours\n")
    append(project, "README.md", "Ours.\n")
    (project / "docs/handbook.md").write_text("ours\n")
    git(project, "add", "README.md")
    (project / "deploy/crontab").unlink()
    before, index = tree(outer), git(project, "ls-files", "--stage")
    tried = update.run(project, ["cost_fn=90"], None, dry_run=True)
    mend = "training.py: not committed: `git add . && git commit` first"
    assert tried.check[0].startswith("ml/README.md, ml/") and tried.check[0].endswith(mend)
    assert tried.result == "a dry run: nothing has changed"
    changed = [name for name in different(tree(outer), before) if name != ".git/index"]
    assert changed == [] and git(project, "ls-files", "--stage") == index
    assert tried.conflicts == ["docs/handbook.md", TRAINING]
    commit(outer)
    done = update.run(project, ["cost_fn=90"], None, dry_run=False)
    for name in ("answers", "plan", "added", "changed", "removed", "kept", "conflicts"):
        assert getattr(tried, name) == getattr(done, name), name


@pytest.mark.parametrize("version", ["v1.0.0", "v1.1.0"])
def test_an_updated_project_equals_a_fresh_one(
    template: Path, project: Path, tmp_path: Path, fast: None, version: str
) -> None:
    given = ["deployment_modes=[rest]", "package_name=risk", "owner=Risk: team 'A'"]
    update.run(project, given, version, dry_run=False)
    answers = recorded(project)
    assert answers["owner"] == "Risk: team 'A'" and "batch_schedule" not in answers
    fresh = render(tmp_path / "fresh", source=template, commit=version, **answers)
    team = ["config.yaml", "contracts/dataset.odcs.yaml"]
    assert set(different(all_of(project), tree(fresh))) <= set(team)


@pytest.mark.parametrize("given", [[], ["package_name=risk"]])
def test_an_edited_file_that_moved_is_merged_in_its_new_place(
    template: Path, project: Path, tmp_path: Path, given: list[str]
) -> None:
    moves = {
        "src/*/engine/bench.py": "src/*/engine/model/speed.py",
        "src/*/splitting.py": "src/*/engine/splitting.py",
        "src/*/engine/metrics.py": "../outside.py",
        "docs/model_card.md": "docs/model/card.md",
    }
    newer = Path(shutil.copytree(template, tmp_path / "newer"))
    source = newer / "template/src/{{ package_name }}"
    (source / "planner/moved.yaml").write_text(yaml.safe_dump(moves))
    (newer / "template/docs/model").mkdir()
    git(source, "mv", "engine/bench.py", "engine/model/speed.py")
    git(source, "mv", "splitting.py", "engine/splitting.py")
    git(newer / "template/docs", "mv", "model_card.md.jinja", "model/card.md.jinja")
    edit(source, "engine/model/speed.py", '"""', '"""Of the template. ')
    publish(newer, tag="v2.0.0")
    answers = project / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(str(template), str(newer)))
    append(project, "src/churn_model/engine/bench.py", "\n# ours\n")
    edit(project, "docs/model_card.md", "library_name: onnx", "library_name: ours")
    commit(project)
    before = all_of(project)

    report = update.run(project, given, "v2.0.0", dry_run=False)
    now = all_of(project)
    place = "src/risk" if given else "src/churn_model"
    merged = now[f"{place}/engine/model/speed.py"]
    assert merged.startswith(b'"""Of the template. ') and merged.endswith(b"# ours\n")
    assert b"library_name: ours" in now["docs/model/card.md"]
    assert report.moved[f"{place}/engine/bench.py"] == f"{place}/engine/model/speed.py"
    gone = {f"{place}/engine/bench.py", f"{place}/splitting.py", "docs/model_card.md"}
    assert gone.isdisjoint(now) and not report.conflicts and not report.kept
    assert f"{place}/engine/metrics.py" in now  # a map that leads outside moves nothing
    if not given:
        commit(project)
        update.run(project, [], "v1.0.0", dry_run=False)
        assert all_of(project) == before


def test_a_renamed_package_takes_along_what_people_wrote(
    made: Path, tmp_path: Path, fast: None
) -> None:
    project = tmp_path / "all of us" / "team a" / "my project"
    shutil.copytree(made, project, ignore=shutil.ignore_patterns(".git"))
    git(tmp_path / "all of us", "init", "-q")
    append(project, TRAINING, "\n# ours\n")
    (project / "src/churn_model/own.py").write_text("from .errors import ProjectError\n")
    commit(tmp_path / "all of us")
    (tmp_path / "all of us/elsewhere.txt").write_text("not committed")
    before = all_of(project)
    report = update.run(project, ["package_name=risk"], "v1.0.0", dry_run=False)
    assert report.moved == {"src/churn_model": "src/risk"}
    assert not report.kept and not report.conflicts and report.check == ["no error"]
    assert (project / "src/risk/training.py").read_bytes() == before[TRAINING]
    assert (project / "src/risk/own.py").exists()
    assert not (project / "src/churn_model").exists()
    assert update.undo(project) == {}
    assert all_of(project) == before
    assert git(project, "status", "--porcelain") == "?? elsewhere.txt"


def test_another_template_may_have_answers_too(template: Path, tmp_path: Path, fast: None) -> None:
    project = tmp_path / "project"
    other = {"_commit": "v7", "_src_path": "gone", "package_name": "x", "cost_fn": 1}
    project.mkdir()
    (project / ".copier-answers.yml").write_text(yaml.safe_dump(other))
    copy = ["copier", "copy", "--defaults", "--quiet", "--answers-file", ".copier-answers.ml.yml"]
    done = command(*copy, "--vcs-ref", "v1.0.0", str(template), str(project))
    assert done.returncode == 0, done.stderr
    git(project, "init", "-q")
    commit(project)
    report = update.run(project, ["cost_fn=90"], None, dry_run=False)
    assert report.version == ("v1.0.0", "v1.1.0")
    assert report.check == ["by the code of v1.0.0: run `ml plan check` when you trust v1.1.0"]
    assert yaml.safe_load((project / ".copier-answers.yml").read_text()) == other
    ours = yaml.safe_load((project / ".copier-answers.ml.yml").read_text())
    assert (ours["_commit"], ours["cost_fn"]) == ("v1.1.0", 90)


def test_a_file_that_git_ignores_is_not_overwritten(project: Path, fast: None) -> None:
    append(project, ".gitignore", "/docs/handbook.md\n")
    commit(project)
    (project / "docs/handbook.md").write_text("mine")
    with pytest.raises(ProjectError, match=r"^docs/handbook\.md is in the way, and not in git"):
        update.run(project, [], None, dry_run=False)
    assert (project / "docs/handbook.md").read_text() == "mine"
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize("works", [True, False])
def test_the_lock_file_follows(
    project: Path, fast: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    does = "grep -c fastapi pyproject.toml > uv.lock; true" if works else "exit 1"
    uv.write_text(f"#!/bin/sh\n[ \"$*\" = 'lock --quiet' ] || exit 2\n{does}\n")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    (project / "uv.lock").write_text("1\n")
    commit(project)
    report = update.run(project, ["deployment_modes=[batch]"], "v1.0.0", dry_run=False)
    assert (project / "uv.lock").read_text() == ("0\n" if works else "1\n")
    assert ("uv.lock" in report.changed) == works
    assert ("uv.lock is as before: run `uv lock`" in report.check) != works
    update.undo(project)
    assert (project / "uv.lock").read_text() == "1\n"


def test_what_people_do_after_an_update_is_not_lost(project: Path, fast: None) -> None:
    before = all_of(project)
    update.run(project, ["deployment_modes=[batch]"], "v1.0.0", dry_run=False)
    append(project, "README.md", "\nWritten later.\n")
    (project / "new.txt").write_text("Written later.")
    git(project, "add", ".")
    assert update.undo(project) == {"README.md": "README.md.yours"}
    assert "Written later." in (project / "README.md.yours").read_text()
    extra = {"README.md.yours", "new.txt"}
    assert set(different(all_of(project), before)) == extra

    git(project, "clean", "-q", "--force")
    git(project, "reset", "-q", "--hard")
    assert all_of(project) == before
    update.run(project, ["deployment_modes=[batch]"], "v1.0.0", dry_run=False)
    commit(project)
    update.undo(project)  # a commit alone is no hindrance
    assert all_of(project) == before
    commit(project)
    update.run(project, ["deployment_modes=[rest]"], "v1.0.0", dry_run=False)
    append(project, "README.md", "\nWritten later.\n")
    commit(project)
    now = all_of(project)
    with pytest.raises(ProjectError, match=r"README\.md: changed and committed since"):
        update.undo(project)
    assert all_of(project) == now


@pytest.mark.parametrize("seed", range(2))
def test_random_changes_never_misplace_or_lose_a_text(
    tmp_path: Path, fast: None, monkeypatch: pytest.MonkeyPatch, plan: Path, seed: int
) -> None:
    """The cases of the plan's own update tests, merged by `ml update`."""

    def merged(template: Path, folder: Path, share: float, seed: int, **data: Any) -> Any:
        render(folder, source=template, commit="v1.0.0")
        path = folder / "PLAN.md"
        text, filled = lab.fill(path.read_text(encoding="utf-8"), share, random.Random(seed))
        path.write_text(text, encoding="utf-8")
        git(folder, "init", "-q")
        commit(folder)
        given = [f"{n}={v if isinstance(v, str) else json.dumps(v)}" for n, v in data.items()]
        update.run(folder, given, None, dry_run=False)
        return path.read_text(encoding="utf-8"), filled

    monkeypatch.setattr(lab, "update", merged)
    lab.test_random_changes_never_misplace_or_lose_a_text(plan, tmp_path, seed)


def test_a_reworded_question_is_no_conflict(tmp_path: Path, fast: None, plan: Path) -> None:
    """Answers stay; who has not answered reads the new words, even who signed up for it."""

    def reword(chunks: list[str]) -> list[str]:
        return [chunk.replace('"human": "', '"human": "Again: ') for chunk in chunks]

    source = lab.change(plan, tmp_path / "template", reword)
    folder = render(tmp_path / "project", source=source, commit="v1.0.0")
    path = folder / "PLAN.md"
    text, filled = lab.fill(path.read_text(encoding="utf-8"), 0.5, random.Random(1))
    before = {key: part for key, part in blocks.parse(text).items() if key[0] == "human"}
    for key in before:
        part = blocks.parse(text)[key]
        part.attributes["owner"] = "@ann"
        text = blocks.rewrite(text, part)
    path.write_text(text, encoding="utf-8")
    git(folder, "init", "-q")
    commit(folder)
    assert update.run(folder, [], None, dry_run=False).conflicts == []
    parts = blocks.parse(path.read_text(encoding="utf-8"))
    assert 0 < len(filled) < len(before)
    for key, part in before.items():
        now = parts[key]
        assert now.attributes == {**part.attributes, "owner": "@ann"}
        assert now.question == f"Again: {part.question}"
        assert now.lines == part.lines or key[1] not in filled


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab.template.__wrapped__(tmp_path_factory)


# ---------------------------------------------------------------- a user's environment and files


def test_settings_and_variables_of_a_user_do_not_reach_our_git(
    project: Path, tmp_path: Path, fast: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs = "[tag]\ngpgsign=true\n[commit]\ngpgsign=true\n[gpg]\nprogram=false\n"
    (tmp_path / "config").write_text(signs + "[merge]\nconflictStyle=diff3\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    index = (project / ".git/index").read_bytes()
    monkeypatch.setenv("GIT_EDITOR", "false")
    report = update._git(project, "status", "--porcelain")
    assert report == ""
    for name, value in (("DIR", ".git"), ("INDEX_FILE", ".git/index"), ("WORK_TREE", "/")):
        monkeypatch.setenv(f"GIT_{name}", value if value == "/" else str(project / value))
    given = ["cost_fn=90"]
    with monkeypatch.context() as patch:  # Copier in this process would see the variables
        patch.setattr(update, "_copier", clean_copier)
        assert "PLAN.md" in update.run(project, given, "v1.0.0", dry_run=True).changed
        assert (project / ".git/index").read_bytes() == index
        assert update.run(project, given, "v1.0.0", dry_run=False).conflicts == []
        update.undo(project)
    for name in ("DIR", "INDEX_FILE", "WORK_TREE"):
        monkeypatch.delenv(f"GIT_{name}")
    assert git(project, "status", "--porcelain") == ""


def clean_copier(*arguments: Any) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DIR", "INDEX_FILE", "WORK_TREE"):
            patch.delenv(f"GIT_{name}")
        return in_process(*arguments)


def test_a_child_sees_no_foreign_repository_asks_nothing_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_TRACE", "GIT_CONFIG_PARAMETERS", "SSH_ASKPASS", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -i key")
    code, output, _ = git_child.start([sys.executable, "-c", "import os; print(*os.environ)"], None)
    names = set(output.split())
    assert code == 0 and {"GIT_SSH_COMMAND", "GIT_TERMINAL_PROMPT", "PATH"} <= names
    assert not names & {"GIT_DIR", "GIT_TRACE", "GIT_CONFIG_PARAMETERS", "SSH_ASKPASS"}
    asks = "import os; print(repr(input() if os.isatty(0) else os.read(0, 9)), os.getsid(0))"
    _, output, _ = git_child.start([sys.executable, "-c", asks], tmp_path)
    assert output.startswith("b''") and output.split()[1] != str(os.getsid(0))
    monkeypatch.setattr(git_child, "SECONDS", 0.5)
    with pytest.raises(ProjectError, match="took longer than"):
        git_child.start(["sh", "-c", "sleep 60 & wait"], tmp_path)


def test_the_reason_of_git_is_told(tmp_path: Path) -> None:
    told = "fatal: detected dubious ownership in repository at '/p'\nTo add an exception, call:\n\n"
    reason = git_child._reason(f"{told}\tgit config --global --add safe.directory /p\n")
    mend = "`git config --global --add safe.directory /p`"
    assert reason == f"detected dubious ownership in repository at '/p': {mend}"
    assert git_child._reason("warning: x\nerror: no such ref\nhint: y") == "no such ref"


@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
def test_text_that_git_was_told_not_to_look_at_is_kept(
    project: Path, fast: None, flag: str
) -> None:
    git(project, "update-index", flag, "PLAN.md", "README.md")
    append(project, "PLAN.md", "MY LOCAL NOTE\n")
    before = all_of(project)
    with pytest.raises(ProjectError, match=r"^PLAN\.md: not as git has it.* --no-skip-worktree"):
        update.run(project, ["cost_fn=90"], "v1.0.0", dry_run=False)
    assert all_of(project) == before


@pytest.mark.parametrize("name", [TRAINING, "docs/handbook.md", GONE])
def test_text_saved_while_an_update_runs_is_kept(
    project: Path, fast: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Changed, appeared and to be removed: saved after all is merged, right before it is placed."""
    place, before = update._place, all_of(project)

    def late(*arguments: Any) -> None:
        if len(arguments) > 3:  # not the way back
            append(project, name, "saved meanwhile\n")
        place(*arguments)

    monkeypatch.setattr(update, "_place", late)
    with pytest.raises(ProjectError, match=f"^{name} was changed during the update"):
        update.run(project, [], None, dry_run=False)
    now = all_of(project)
    assert now[name] == before.get(name, b"") + b"saved meanwhile\n"
    assert different(now, before) == [name]
    assert not (project / ".ml.update").exists()


def test_modes_and_links_are_kept(project: Path, fast: None) -> None:
    git(project, "mv", "docs", "documentation")
    git(project, "mv", "PLAN.md", "documentation/PLAN.md")
    (project / "docs").symlink_to("documentation")
    (project / "PLAN.md").symlink_to("documentation/PLAN.md")
    commit(project)
    (project / "documentation/PLAN.md").chmod(0o600)
    report = update.run(project, ["cost_fn=90"], None, dry_run=False)
    assert "documentation/handbook.md" in report.added and not report.conflicts
    assert "90" in (project / "PLAN.md").read_text()
    assert (project / "docs").is_symlink() and (project / "PLAN.md").is_symlink()
    assert (project / "documentation/PLAN.md").stat().st_mode & 0o777 == 0o600
    update.undo(project)
    assert (project / "documentation/PLAN.md").stat().st_mode & 0o777 == 0o600
    assert git(project, "status", "--porcelain") == ""


def test_a_folder_elsewhere_is_not_written(project: Path, tmp_path: Path, fast: None) -> None:
    shutil.move(project / "docs", tmp_path / "elsewhere")
    (project / "docs").symlink_to(tmp_path / "elsewhere")
    commit(project)
    before = tree(tmp_path / "elsewhere")
    report = update.run(project, [], None, dry_run=False)
    assert "docs is a link: what the template has there is not taken over" in report.check
    assert tree(tmp_path / "elsewhere") == before and (project / "docs").is_symlink()


def test_line_ends_of_a_project_are_its_own(project: Path, fast: None) -> None:
    (project / ".gitattributes").write_text("* -text\n")
    for name in git(project, "ls-files", "*.md", "src").splitlines():
        path = project / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    commit(project)
    report = update.run(project, ["cost_fn=90"], "v1.0.0", dry_run=False)
    assert not report.conflicts and not report.kept
    plan = (project / "PLAN.md").read_bytes()
    assert plan.count(b"\r\n") == plan.count(b"\n") > 0
    assert git(project, "diff", "--numstat", "PLAN.md").split()[0] != str(plan.count(b"\n"))


def test_a_filter_of_git_is_not_run(project: Path, fast: None) -> None:
    """Git LFS, say, with objects that are not here."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    (project / "docs/big.bin").write_text(pointer)
    append(project, ".gitattributes", "*.bin filter=lfs -text\n")
    git(project, "config", "filter.lfs.clean", "cat")
    git(project, "config", "filter.lfs.smudge", "false")
    git(project, "config", "filter.lfs.required", "true")
    commit(project)
    report = update.run(project, ["cost_fn=90"], "v1.0.0", dry_run=False)
    assert report.result.startswith("done") and not report.conflicts
    assert (project / "docs/big.bin").read_text() == pointer


def test_the_new_version_runs_no_code(project: Path, tmp_path: Path, template: Path) -> None:
    evil = Path(shutil.copytree(template, tmp_path / "evil"))
    mark = tmp_path / "ran"
    for name in ("__init__", "planner/check"):
        words = f"\nfrom pathlib import Path as _P\n\n_P({str(mark)!r}).touch()\n"
        append(evil, f"template/src/{{{{ package_name }}}}/{name}.py", words)
    publish(evil, tag="v1.7.0")
    answers = project / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(recorded_source(project), str(evil)))
    commit(project)
    done = ml(project, "update", "--to", "v1.7.0")
    assert done.returncode == 0, done.stderr
    assert "_P(" in (project / "src/churn_model/__init__.py").read_text()
    assert not mark.exists()
    assert "run `ml plan check` when you trust v1.7.0" in " ".join(done.stdout.split())


def test_the_check_of_answers_cannot_be_answered(template: Path, tmp_path: Path) -> None:
    copy = ["copier", "copy", "--defaults", "--quiet", "--vcs-ref", "v1.0.0"]
    wrong = ["--data", "given=x", "--data", "cost_fn=abc"]
    done = command(*copy, *wrong, str(template), str(tmp_path / "project"))
    assert done.returncode != 0 and "no question is called given" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "project").exists()


def test_what_a_killed_update_leaves_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "ml-update-killed").mkdir()
    (tmp_path / "ml-update-killed/PLAN.md").write_text("of a killed update")
    with update._temporary() as first:
        assert [path.name for path in tmp_path.iterdir()] == [first.name]
        with update._temporary():  # another update works: it is let alone
            assert first.exists()
        assert first.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "reason",
    ["fatal: write error: No space left on device", "fatal: x: write error. Out of diskspace"],
)
def test_a_full_temporary_folder_is_named(reason: str) -> None:
    with pytest.raises(ProjectError, match="no space left in "):
        words = f"echo '{reason}' >&2; exit 128"
        git_child.start(["sh", "-c", words], None)
    with pytest.raises(ProjectError, match="No space left on device"), update._temporary():
        full()


@pytest.mark.nightly
def test_settings_and_variables_of_a_user_do_not_reach_copier(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real command, and for the whole user: Copier clones and asks git on its own."""
    settings(project)
    local = (project / ".git/config").read_text().partition("[tag]")[2]
    (tmp_path / "config").write_text(f"[core]\nautocrlf = true\n[tag]{local}")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    for name, value in (("DIR", ".git"), ("INDEX_FILE", ".git/index"), ("WORK_TREE", ".")):
        monkeypatch.setenv(f"GIT_{name}", str(project / value))
    monkeypatch.setenv("GIT_EDITOR", str(tmp_path / "program"))
    before = all_of(project)
    (tmp_path / "ran").unlink(missing_ok=True)
    done = ml(project, "update", "--to", "v1.0.0", "--data", "cost_fn=90")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()
    now = all_of(project)
    assert set(different(now, before)) == TOUCHED
    assert not [name for name in TOUCHED if b"\r" in now[name]]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="NOT TESTED: needs root"
)
@pytest.mark.parametrize("whose", ["project", "template"])
def test_a_checkout_of_another_user_is_named_with_the_way_out(
    project: Path, tmp_path: Path, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = Path(shutil.copytree(recorded_source(project), tmp_path / "template"))
    answers = project / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(recorded_source(project), str(template)))
    commit(project)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    folder = {"project": project, "template": template}[whose]
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    for _ in range(1 if whose == "project" else 2):  # the template and its .git
        done = ml(project, "update", "--to", "v1.0.0", "--data", "cost_fn=90")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "detected dubious ownership" in done.stderr
        (mend,) = re.findall("`(git config --global --add safe.directory .*?)`", done.stderr)
        subprocess.run(mend, shell=True, check=True)
    done = ml(project, "update", "--to", "v1.0.0", "--data", "cost_fn=90")
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- repositories of every kind


def worktree(project: Path) -> Path:
    git(project, "worktree", "add", "-q", "--detach", "../tree")
    return project.parent / "tree"


def submodule(project: Path) -> Path:
    outer = project.parent / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    add = ("submodule", "add", "-q", str(project), "ml/churn")
    git(outer, "-c", "protocol.file.allow=always", *add)
    commit(outer)
    return outer / "ml/churn"


def with_a_submodule(project: Path) -> Path:
    library = project.parent / "library"
    library.mkdir()
    (library / "lib.py").write_text("ours = 1\n")
    publish(library)
    add = ("submodule", "add", "-q", str(library), "vendor/library")
    git(project, "-c", "protocol.file.allow=always", *add)
    commit(project)
    return project


def clone(project: Path, *options: str) -> Path:
    git(project, "config", "uploadpack.allowFilter", "true")
    git(project, "commit", "-q", "--allow-empty", "-m", "one more")
    git(project.parent, "clone", "-q", *options, project.as_uri(), "clone")
    return project.parent / "clone"


def shallow(project: Path) -> Path:
    return clone(project, "--depth=1")


def partial(project: Path) -> Path:
    return clone(project, "--filter=blob:none")


def borrowed(project: Path) -> Path:
    git(project.parent, "clone", "-q", "--shared", str(project), "clone")
    return project.parent / "clone"


def sparse(project: Path) -> Path:
    git(project, "status")  # which looks at times again, as in a clone
    git(project, "sparse-checkout", "set", "--no-cone", "/*", "!/tests/", "!/deploy/")
    assert not (project / "tests").exists()
    return project


def split_index(project: Path) -> Path:
    git(project, "update-index", "--split-index")
    git(project, "config", "feature.manyFiles", "true")
    return project


def rebasing(project: Path) -> Path:
    append(project, "README.md", "\nOne line more.\n")
    commit(project)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_SEQUENCE_EDITOR", "sed -i 1ibreak")
        git(project, "rebase", "-q", "-i", "HEAD~1")
    assert (project / ".git/rebase-merge").is_dir()
    return project


def settings(project: Path) -> Path:
    """Settings of the repository that start programs or change what git prints and writes."""
    program = project.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch '{project.parent}/ran'\nexit 1\n")
    program.chmod(0o755)
    hooks = project.parent / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction"):
        shutil.copy(program, hooks / name)
    given = {
        **dict.fromkeys(("tag.gpgSign", "commit.gpgSign", "submodule.recurse"), "true"),
        **dict.fromkeys(
            ("core.fsmonitor", "core.editor", "core.pager", "diff.external"), "PROGRAM"
        ),
        **dict.fromkeys(("gpg.program", "merge.tool", "sequence.editor"), "PROGRAM"),
        **dict.fromkeys(("color.ui", "color.status", "color.grep", "color.diff"), "always"),
        **{"core.hooksPath": str(hooks), "status.showUntrackedFiles": "no"},
        **{"merge.conflictStyle": "diff3", "merge.ff": "only", "core.abbrev": "4"},
        **{"grep.lineNumber": "true", "status.relativePaths": "true", "diff.noprefix": "true"},
        **{"core.quotePath": "true", "status.branch": "true", "status.short": "false"},
    }
    for name, value in given.items():
        git(project, "config", name, str(program) if value == "PROGRAM" else value)
    return project


def line_ends_of_windows(project: Path) -> Path:
    git(project, "config", "core.autocrlf", "true")
    (project / ".gitattributes").unlink()
    commit(project)
    for name in git(project, "ls-files").splitlines():
        (project / name).unlink()
    git(project, "checkout", "-q", "--", ".")
    assert b"\r\n" in (project / "PLAN.md").read_bytes()
    return project


def detached(project: Path) -> Path:
    git(project, "checkout", "-q", "--detach")
    return project


def sha256(project: Path) -> Path:
    shutil.rmtree(project / ".git")
    git(project, "init", "-q", "--object-format=sha256")
    commit(project)
    return project


DAILY = [worktree, rebasing, settings, sparse]
NIGHTLY = [submodule, with_a_submodule, shallow, partial, borrowed, split_index, detached, sha256]
NIGHTLY += [line_ends_of_windows]
ODD = [*DAILY, *(pytest.param(odd, marks=pytest.mark.nightly) for odd in NIGHTLY)]


@pytest.mark.parametrize("odd", ODD)
def test_an_update_in_a_repository_of_any_kind(
    project: Path, fast: None, odd: Callable[[Path], Path]
) -> None:
    folder = odd(project)
    before, head = all_of(folder), git(folder, "rev-parse", "HEAD")
    ran = project.parent / "ran"
    ran.unlink(missing_ok=True)
    report = update.run(folder, ["cost_fn=90"], "v1.0.0", dry_run=False)
    assert report.result.startswith("done") and not report.conflicts and not report.kept
    assert not ran.exists()
    assert set(different(all_of(folder), before)) == TOUCHED
    assert git(folder, "rev-parse", "HEAD") == head
    assert set(git(folder, "diff", "--no-ext-diff", "--name-only").splitlines()) == TOUCHED
    shown = git(folder, "diff", "--no-ext-diff", "--numstat", "PLAN.md").split("\t")
    assert shown[:2] == ["10", "10"], "what follows from the cost, not all of it"
    ran.unlink(missing_ok=True)  # by git of this test
    update.undo(folder)
    assert different(all_of(folder), before) == []
    append(folder, "README.md", "\nOurs.\n")
    tried = update.run(folder, ["cost_fn=90"], "v1.0.0", dry_run=True)
    assert set(tried.changed) == TOUCHED and tried.check[0].startswith("README.md: not committed")
    assert not ran.exists()


# ---------------------------------------------------------------- kills and full disks


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path, dict[str, str | None]]:
    """Return a project in git, what an update makes of it, and the files that differ."""
    root, merged = tmp_path / "root", tmp_path / "merged"
    contents = {"a.txt": ("1", "2"), "b/c.txt": ("1", None), "d/e.txt": (None, "2"),
                "f": (None, "2"), "g.txt": ("1", "1")}  # fmt: skip
    for folder, index in ((root, 0), (merged, 1)):
        for name, versions in contents.items():
            if versions[index] is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(versions[index])
    publish(root)
    seen = {name: update._hash(root / name) for name in ("a.txt", "b/c.txt", "d/e.txt", "f")}
    return root, merged, seen


CALLS = ("shutil.copyfile", "os.rename", "os.remove", "os.mkdir", "open")


def fail_at(number: int, failure: Callable[[], Any]) -> None:
    """Let one change of a file in this process fail: the one with this number."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in CALLS and not (event == "open" and not str(arguments[1]).strip("rb")):
            count += 1
            if count == number:
                failure()

    sys.addaudithook(hook)


def full() -> None:
    raise OSError(28, "No space left on device")


def in_a_child(call: Callable[[], Any], number: int, failure: Callable[[], Any]) -> int:
    """Run something in a copy of this process that fails at a change; return its exit code."""
    child = os.fork()
    if child == 0:
        fail_at(number, failure)
        with contextlib.suppress(BaseException):
            call()
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("failure", [lambda: os._exit(9), full], ids=["kill", "full disk"])
def test_there_is_always_a_way_back(
    small: tuple[Path, Path, dict[str, str | None]], failure: Callable[[], Any]
) -> None:
    root, merged, seen = small
    before, after = all_of(root), all_of(merged)
    state = root / ".ml.update/state.json"
    codes = []
    for number in range(1, 90):
        codes.append(in_a_child(lambda: update._apply(root, merged, seen), number, failure))
        assert all_of(root) == after or codes[-1]
        if state.exists():
            assert failure is not full or not codes[-1], "it takes itself back"
            update.undo(root)
        assert all_of(root) == before
        if not codes[-1]:
            break
    assert all(codes[:10]) and not codes[-1]

    codes = []
    for number in range(1, 20):
        update._apply(root, merged, seen)
        codes.append(in_a_child(lambda: update.undo(root), number, failure))
        if state.exists():
            update.undo(root)
        assert all_of(root) == before
    assert codes[0] and not codes[-1] and not state.exists()


def test_the_team_owns_what_the_template_says() -> None:
    settings = next(yaml.safe_load_all((ROOT / "copier.yml").read_text().split("\n---\n")[0]))
    owned = [name for name in settings["_skip_if_exists"] if name.startswith("/")]
    assert sorted(update.TEAM) == sorted(name.lstrip("/") for name in owned)
