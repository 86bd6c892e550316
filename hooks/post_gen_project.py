"""Cookiecutter and cruft bridge: fill the project that they have just made with Copier's render."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml  # cookiecutter depends on it

# Cookiecutter renders this file first; what it puts here is the JSON text of all answers.
answers = json.loads({{cookiecutter | tojson | tojson}})  # noqa: F821


def template() -> tuple[str, str | None]:
    """Return template address and commit, so that Copier renders what was checked out for us."""
    address, checkout = answers["_template"], answers.get("_repo_dir")
    started_in = Path(os.environ.get("PWD") or Path.cwd())  # hooks run inside the new project
    if "://" not in address and (started_in / address).is_dir():
        address = str((started_in / address).resolve())
    commit = answers.get("_commit")  # from cruft
    if not commit and checkout and (started_in / checkout / ".git").exists():
        commit = run("git", "-C", str(started_in / checkout), "rev-parse", "HEAD")
    if not commit:  # a zip file or a plain folder
        return str((started_in / (checkout or address)).resolve()), None
    if "://" in address and not address.endswith(".git") and not address.startswith("git+"):
        address = f"git+{address}"
    return address, commit


def run(*command: str) -> str:
    """Run git or Copier without a question; no repository that a git hook names is theirs."""
    kept = r"GIT_(ASKPASS|SSH|SSL|HTTP|PROXY|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_|VALUE_))"
    env = {n: v for n, v in os.environ.items() if n[:4] != "GIT_" or re.match(kept, n)}
    env["GIT_TERMINAL_PROMPT"] = "0"
    options = {"env": env, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    try:
        done = subprocess.run(command, check=False, timeout=600, **options)
    except subprocess.TimeoutExpired:
        sys.exit(f"{command[0]} took longer than 600 seconds")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1]
        sys.exit(re.sub(r".* has no attribute (['\"])(.*)\1", r"\2", last))
    for line in re.findall(r"^\w+: .* is read as .*$", done.stderr, re.MULTILINE):
        print(line)
    return done.stdout.strip()


def copier() -> list[str]:
    """Return the command that starts Copier on this machine."""
    if importlib.util.find_spec("copier"):
        return [sys.executable, "-m", "copier"]
    if shutil.which("copier"):
        return ["copier"]
    if shutil.which("uvx"):
        return ["uvx", "copier>=9.19.1,<10"]
    sys.exit("Copier is needed: install 'copier>=9.19.1' next to cookiecutter or cruft, or uv")


def main() -> None:
    """Render into a temporary folder, then copy what is not there yet into the project."""
    Path(".bridge").unlink(missing_ok=True)
    if Path(".copier-answers.yml").exists():
        sys.exit("This is a project already: change it with `cruft update` or `copier update`")
    address, commit = template()
    asked = {k: v for k, v in answers.items() if not k.startswith("_") and v != "auto"}
    given = {k: "" if v == "-" else v for k, v in asked.items()}  # no such column
    with tempfile.TemporaryDirectory() as temporary:
        data_file, out = Path(temporary, "answers.yml"), Path(temporary, Path.cwd().name)
        data_file.write_text(yaml.safe_dump(given, allow_unicode=True), encoding="utf-8")
        command = [*copier(), "copy", "--defaults", "--data-file", str(data_file)]
        command += ["--vcs-ref", commit] if commit else []
        command += [address, str(out)]
        run(*command)
        shutil.copytree(out, ".", dirs_exist_ok=True, copy_function=copy_new)


def copy_new(source: str, target: str) -> None:
    """Copy a file, unless there is one: with --overwrite-if-exists too, it may be somebody's."""
    if os.path.lexists(target):
        print(f"kept as it was: {Path(target)}")
    else:
        shutil.copy2(source, target)


main()
