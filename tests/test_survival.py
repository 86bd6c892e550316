"""What a generated project survives: each case is one clear line or a correct result, and no loss.

Tables of cases: a name, what is done to a trained project, the command, its exit code, and words of
the one line on stderr (or of stdout, when the command is to succeed). Every command is the real
one. Kills come at the moments when files change, counted by an audit hook inside the command.
"""

import csv
import datetime as dt
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from helpers import package, warm  # noqa: F401  makes `package_name` importable
from helpers.rendering import render

from package_name import evaluation, pipeline, training
from package_name.engine import bench, progress
from package_name.engine.data import ingest, validation
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.formats import number
from package_name.engine.model import registry, tracking
from package_name.engine.settings import Project
from package_name.planner import evidence

Table = dict[str, Any]
SMALL = {
    "ML_DATA__SOURCE": "my.csv",
    "ML_TRAINING__FOLDS": "3",
    "ML_TRAINING__MAX_ROUNDS": "30",
    "ML_TRAINING__MEMBERS": "1",
    "ML_TRAINING__THREADS": "1",
    "ML_TRAINING__TRACK": "false",
    "ML_EVALUATION__BOOTSTRAP": "50",
}
CONTRACT = "contracts/dataset.odcs.yaml"
CHAMPION = "models/v1"
KEPT = ("PLAN.md", "config.yaml", CONTRACT, "plan/", "models/", "data/processed/valid.parquet")


class Made:
    """A rendered project on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start `ml` with these arguments."""
        return subprocess.Popen(
            [sys.executable, "-m", "churn_model", *command],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": "src", **SMALL, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ml(self, *command: str, **env: str) -> tuple[int, str, str]:
        """Run `ml`; return its exit code, stdout and stderr."""
        env = {**os.environ, "PYTHONPATH": "src", **SMALL, **env}
        code, out, err = warm.ml("churn_model", command, self.folder, env)
        lines = [line for line in err.splitlines(keepends=True) if not line.startswith("... ")]
        return code, out, "".join(lines)  # without the lines of long steps

    def good(self, *command: str, **env: str) -> str:
        """Run `ml`, which must succeed without a word on stderr; return its stdout."""
        code, out, err = self.ml(*command, **env)
        assert (code, err) == (0, ""), f"ml {' '.join(command)}: {code}\n{err}"
        return out

    def bad(self, *command: str, code: int, says: str, but: Any = "/", **env: str) -> None:
        """Run `ml`, which must end with this code and one line, and lose nothing `but` names."""
        before = self.kept(but)
        found, out, err = self.ml(*command, **env)
        assert found == code, f"ml {' '.join(command)}: {found}\n{out}\n{err}"
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert says in err
        assert self.kept(but) == before

    def kept(self, but: Any = "/") -> dict[str, str]:
        """Return the hashes of what a failing command must leave alone."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        names = {path.relative_to(self.folder).as_posix(): path for path in files}
        kept = (n for n in sorted(names) if n.startswith(KEPT) and not n.startswith(but))
        return {name: sha256(names[name]) for name in kept}

    def leftovers(self) -> list[str]:
        """Return the names of temporary files."""
        found = [*self.folder.rglob(".*.tmp"), *self.folder.rglob(".tmp-*")]
        return [path.relative_to(self.folder).as_posix() for path in found]

    def report(self, name: str) -> Any:
        """Read a report."""
        return json.loads((self / f"reports/{name}.json").read_bytes())

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the first place of a text in a file."""
        text = (self / name).read_text(encoding="utf-8")
        assert old in text, name
        (self / name).write_text(text.replace(old, new, 1), encoding="utf-8")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def table(rows: int = 400) -> Table:
    """Return columns that satisfy the contract and tell the target clearly."""
    rng = np.random.default_rng(4)
    tenure, calls = rng.integers(1, 60, rows), rng.poisson(2, rows)
    charge, days = rng.normal(60, 20, rows).clip(5, 200).round(2), rng.integers(0, 60, rows)
    logit = 2.5 * (calls - 2) - 0.12 * (tenure - 30) + 0.1 * (charge - 60) + 0.1 * (days - 30)
    return {
        "customer_id": [f"c{index % (rows // 2)}" for index in range(rows)],
        "snapshot_date": [dt.date(2025, 1, 1) + dt.timedelta(index) for index in range(rows)],
        "tenure_months": tenure.tolist(),
        "monthly_charge": charge.tolist(),
        "support_calls_90d": calls.tolist(),
        "data_usage_gb": rng.normal(10, 2, rows).clip(0).round(1).tolist(),
        "days_since_login": days.tolist(),
        "plan": rng.choice(["basic", "standard", "premium"], rows).tolist(),
        "payment_method": rng.choice(["invoice", "wallet"], rows).tolist(),
        "region": rng.choice(["R01", "R02"], rows).tolist(),
        "paperless": rng.choice(["true", "false"], rows).tolist(),
        "churned": (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(str).tolist(),
    }


def written(columns: Table, delimiter: str = ",", end: str = "\n") -> str:
    """Return a table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerows([columns, *zip(*columns.values(), strict=True)])
    return text.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with data, reports, a filled plan and a champion; leave it as it is."""
    made = Made(render(tmp_path_factory.mktemp("survival") / "project"))
    (made / "my.csv").write_text(written(table()))
    made.good("run")
    return made.folder


@pytest.fixture
def made(trained: Path, tmp_path: Path) -> Made:
    """Return a copy of the trained project."""
    return Made(shutil.copytree(trained, tmp_path / "project"))


@pytest.fixture
def fresh(trained: Path, tmp_path: Path) -> Made:
    """Return a project as rendered, with the table beside it."""
    made = {"data", "models", "reports"}  # at the top: the package has a folder `data` too

    def ignore(folder: str, names: list[str]) -> set[str]:
        return {"__pycache__", *(made if Path(folder) == trained else ())} & {*names}

    copy = Made(shutil.copytree(trained, tmp_path / "fresh", ignore=ignore))
    render(tmp_path / "rendered")
    shutil.copy(tmp_path / "rendered/PLAN.md", copy / "PLAN.md")
    return copy


# Data

Change = Callable[[Table], Table | str | bytes]


def put(column: str, value: Any, first: int | None = None) -> Change:
    """Replace the first values of a column, or all."""

    def change(columns: Table) -> Table:
        count = len(columns[column]) if first is None else first
        return columns | {column: [value] * count + columns[column][count:]}

    return change


def without(column: str) -> Change:
    return lambda columns: {name: columns[name] for name in columns if name != column}


def rows(count: int) -> Change:
    return lambda columns: {name: values[:count] for name, values in columns.items()}


BAD_DATA: dict[str, tuple[Change, int, str]] = {
    "wrong types everywhere": (
        put("monthly_charge", "dear"),
        2,
        "column 'monthly_charge': none of its values, such as 'dear', can be read as number",
    ),
    "wrong types in half": (put("monthly_charge", "dear", 200), 1, "50\u00a0% of 400 rows were"),
    "a missing feature": (without("plan"), 2, "column 'plan' is missing from the data (feature"),
    "a missing target": (without("churned"), 2, "column 'churned' is missing from the data"),
    "a missing time": (without("snapshot_date"), 2, "'snapshot_date' is missing from the data"),
    "an empty file": (lambda _: b"", 2, "my.csv: the file is empty"),
    "a header alone": (rows(0), 2, "column names but no rows"),
    "blank lines": (lambda _: "\n \n\n", 2, "no rows"),
    "one row": (rows(1), 1, "1 of 1 rows are usable"),
    "one class": (put("churned", "false"), 1, "0 times its positive value 'true'"),
    "a target without values": (put("churned", ""), 2, "column 'churned' has no value in any row"),
    "a needed column without values": (put("plan", ""), 2, "column 'plan' has no value in any row"),
    "infinities everywhere": (put("monthly_charge", "inf"), 1, "`monthly_charge: infinite`"),
    "the same key everywhere": (
        lambda t: put("snapshot_date", "2025-01-01")(put("customer_id", "c1")(t)),
        1,
        "`customer_id, snapshot_date: conflicting key` (399 rows)",
    ),
    "bytes that are not UTF-8": (
        lambda t: written(put("region", "Süd", 3)(t)).encode("latin-1"),
        2,
        "(0xfc) is not utf-8: set the file's encoding in config.yaml",
    ),
    "NUL bytes": (put("plan", "ba\0sic"), 1, "`plan: levels` (400 rows)"),
    "a Parquet file named CSV": (lambda _: b"PAR1\x15\x04\x15\x90", 2, "my.csv is Parquet: rename"),
    "a quote that never closes": (
        lambda t: written(t) + '"c1,2025\n',
        2,
        "line 402: a quote that opens there is not closed",
    ),
    "a row too long": (lambda t: written(t) + "1," * 20 + "\n", 2, "line 402 has 21 fields"),
    "two columns of one name": (
        lambda t: written(t).replace("region", "plan", 1),
        2,
        "two columns have the name 'plan'",
    ),
    "one class in the test period": (
        lambda t: t | {"churned": t["churned"][:300] + ["false"] * 100},
        2,
        "at least 2 rows of each class are needed",
    ),
}


def place(made: Made, content: Table | str | bytes) -> None:
    content = written(content) if isinstance(content, dict) else content
    (made / "my.csv").write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_stop_the_run_and_leave_the_champion(made: Made, name: str) -> None:
    change, code, says = BAD_DATA[name]
    place(made, change(table()))
    valid_rows_may_change = name == "one class in the test period"  # only the split can tell
    # The plan says what the last look at the rows found.
    rows = "data/processed/" if valid_rows_may_change else "/"
    made.bad("run", code=code, says=says, but=("PLAN.md", rows))


ODD_DATA: dict[str, tuple[Change, int, dict[str, int]]] = {
    "wrong types in a few rows": (
        put("monthly_charge", "dear", 3),
        397,
        {"monthly_charge: type": 3},
    ),
    "infinities in a few rows": (
        put("monthly_charge", "inf", 3),
        397,
        {"monthly_charge: infinite": 3, "monthly_charge: maximum": 3},
    ),
    "a target missing in a few rows": (put("churned", "", 3), 397, {}),
    "some rows twice": (
        lambda t: {name: values + values[:5] for name, values in t.items()},
        400,
        {"customer_id, snapshot_date: duplicate key": 5},
    ),
    "extra columns": (lambda t: t | {"mood": ["good"] * 400}, 400, {}),
    "constant columns": (
        lambda t: put("plan", "basic")(put("tenure_months", 5)(put("monthly_charge", 9.5)(t))),
        400,
        {},
    ),
    "columns without a value": (
        lambda t: put("data_usage_gb", "")(put("days_since_login", "NA")(put("region", "")(t))),
        400,
        {},
    ),
    "dates that may be day or month first": (
        put("snapshot_date", "03/04/2026", 3),
        397,
        {"snapshot_date: type": 3},
    ),
    "a byte order mark and Windows lines": (
        lambda t: ("\ufeff" + written(t, end="\r\n")).encode(),
        400,
        {},
    ),
    "semicolons": (lambda t: written(t, delimiter=";"), 400, {}),
}


@pytest.mark.parametrize("name", ODD_DATA)
def test_odd_data_give_a_correct_result(made: Made, name: str) -> None:
    change, valid, broken = ODD_DATA[name]
    place(made, change(table()))
    made.good("run")
    quality = made.report("data_quality")
    assert quality["valid"] == valid
    assert {rule: count for rule, count in quality["rules"].items() if count} == broken
    assert pl.read_parquet(made / "data/processed/valid.parquet").height == valid


def many_formats(columns: Table) -> Table:
    forms = ("%Y-%m-%d", "%d.%m.%Y", "%b %d, %Y")
    days = enumerate(columns["snapshot_date"])
    return columns | {"snapshot_date": [day.strftime(forms[n % 3]) for n, day in days]}


DRAFTED: dict[str, Change] = {
    "dates in three formats": many_formats,
    "10,000 categories": lambda t: (
        t | {"shop": [f"s{n * 7919 % 10_000}" for n in range(len(t["plan"]))]}
    ),
}


@pytest.mark.parametrize("name", DRAFTED)
def test_a_drafted_contract_copes_with(made: Made, name: str) -> None:
    columns = table(20_000 if name == "10,000 categories" else 400)
    place(made, DRAFTED[name](columns))
    made.good("contract", "infer", "my.csv", "--target", "churned", "--force")
    made.good("contract", "check")
    made.good("run")
    assert made.report("data_quality")["valid"] == len(columns["plan"])


# Bundles


def cut(name: str, share: float) -> Callable[[Made], None]:
    """Keep only a share of a file's bytes."""

    def damage(made: Made) -> None:
        path = made / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return damage


def flip(name: str) -> Callable[[Made], None]:
    """Change one bit in the middle of a file."""

    def damage(made: Made) -> None:
        content = bytearray((made / name).read_bytes())
        content[len(content) // 2] ^= 1
        (made / name).write_bytes(content)

    return damage


def of_another_contract(made: Made) -> None:
    """Change the contract after training, as a merge may do."""
    made.edit(CONTRACT, "name: monthly_charge", "name: monthly_fee")


DAMAGED: dict[str, tuple[Callable[[Made], None], str]] = {
    "a truncated graph": (cut(f"{CHAMPION}/model.onnx", 0.5), "model.onnx"),
    "an empty graph": (cut(f"{CHAMPION}/model.onnx", 0), "model.onnx"),
    "a changed bit in the graph": (flip(f"{CHAMPION}/model.onnx"), "model.onnx"),
    "a truncated manifest": (cut(f"{CHAMPION}/manifest.json", 0.5), "manifest.json"),
    "a graph that is gone": (lambda made: (made / f"{CHAMPION}/model.onnx").unlink(), "model.onnx"),
    "a bundle that is gone": (lambda made: shutil.rmtree(made / CHAMPION), "models/v1 is gone"),
    "a truncated registry": (cut("models/registry.json", 0.5), "`ml models --rebuild`"),
}
USERS = (
    ("score", "my.csv", "out.parquet"),
    ("serve", "--port", "0"),
    ("promote", "v1"),
    ("bench",),
)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_bundle_is_refused_by_all_who_load_it(made: Made, name: str) -> None:
    damage, says = DAMAGED[name]
    damage(made)
    for command in USERS:
        made.bad(*command, code=2, says=says)
    assert not (made / "out.parquet").exists()


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_champion_is_told_with_the_way_out(
    made: Made, project: Project, name: str
) -> None:
    damage, says = DAMAGED[name]
    registry.check_champion(project)
    damage(made)
    with pytest.raises(ProjectError, match=says) as error:
        registry.check_champion(project)
    assert "registry" in name or "`ml run --force` trains again" in str(error.value)


def test_a_run_with_nothing_to_do_notices_a_damaged_champion(made: Made) -> None:
    made.good("run")
    flip(f"{CHAMPION}/model.onnx")(made)
    says = "the champion is damaged: bundle v1: model.onnx is changed; restore it or train again"
    made.bad("run", code=2, says=says)
    made.bad("models", code=2, says=says)
    made.good("run", "--force")
    assert re.search(r"v2 +champion", made.good("models"))


def test_a_bundle_for_another_contract_is_not_promoted(made: Made) -> None:
    made.good("train")
    made.good("evaluate")
    of_another_contract(made)
    made.bad("promote", "v2", "--force", " ", code=1, says="the data contract has changed since")
    made.bad("promote", "v2", code=1, says="the data contract has changed since")
    assert "v1" in made.good("models")


def test_a_bundle_is_served_by_its_own_contract(made: Made) -> None:
    of_another_contract(made)
    made.good("score", "my.csv", "out.parquet")
    assert pl.read_parquet(made / "out.parquet")["problem"].null_count() == 400


# Kills

KILLER = """
import os, signal, sys
left, root = int(os.environ["KILL_AT"]), os.getcwd() + os.sep

def hook(event, args):
    global left
    if event == "open":
        changes = isinstance(args[0], str) and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR)
    else:
        changes = event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir")
    if changes and os.path.abspath(os.fsdecode(args[0])).startswith(root):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

if left:
    sys.addaudithook(hook)
"""


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a PYTHONPATH whose commands kill themselves before their KILL_AT-th file change."""
    folder = tmp_path_factory.mktemp("killer")
    (folder / "sitecustomize.py").write_text(KILLER)
    return f"{folder}{os.pathsep}src"


def kills(made: Made, command: tuple[str, ...], killer: str, points: Iterator[int]) -> int:
    """Kill a command at these moments, with what each kill left; return how many it survived."""
    count = 0
    for point in points:
        code, _, err = made.ml(*command, PYTHONPATH=killer, KILL_AT=str(point))
        if code == 0:
            return count
        assert code == -signal.SIGKILL, err
        whole(made)
        count += 1
    return count


def whole(made: Made) -> None:
    """Assert that every file which a reader may open is whole, and the champion loads."""
    for path in [*made.folder.glob("reports/*.json"), *made.folder.glob("models/**/*.json")]:
        json.loads(path.read_bytes())
    for path in made.folder.glob("data/**/*.parquet"):
        if not path.name.startswith("."):
            pl.read_parquet(path)
    yaml.safe_load((made / CONTRACT).read_bytes())
    assert "<!-- plan:" in (made / "PLAN.md").read_text(encoding="utf-8")
    if (made / "models/registry.json").exists():
        champion = json.loads((made / "models/registry.json").read_bytes())["champion"]
        assert champion is None or (made / f"models/{champion}/manifest.json").exists()


def registered(made: Made) -> Any:
    """Return the registry; of v2 only how many reports it knows, in place of their hashes."""
    found = json.loads((made / "models/registry.json").read_bytes())
    found["versions"]["v2"]["metrics_sha256"] = len(found["versions"]["v2"]["metrics_sha256"])
    return found


# All of them write through `storage`: a file, a registry and a table each day, the rest at night.
DAILY = (("validate",), ("promote", "v2"), ("score", "my.csv", "out.csv"))
SHORT = (
    ("contract", "sample", "--rows", "60"),
    ("contract", "infer", "my.csv", "--target", "churned", "--force"),
    ("ingest",),
    ("profile",),
    ("evaluate",),
    ("models", "--rebuild"),
    ("monitor", "my.csv"),
    ("plan", "sync"),
    ("plan", "approve", "EVAL-01", "--by", "@eva"),
)
KILLED = [*DAILY, *(pytest.param(command, marks=pytest.mark.nightly) for command in SHORT)]


@pytest.fixture(scope="module")
def twice(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with a second version, which was the champion once."""
    made = Made(shutil.copytree(trained, tmp_path_factory.mktemp("twice") / "project"))
    made.good("train")
    made.good("evaluate")
    made.good("promote", "v2", "--force", "a test")
    made.good("promote", "v1", "--force", "a test")
    made.edit("PLAN.md", "<!-- plan:answer EVAL-01 -->", "<!-- plan:answer EVAL-01 -->\nReviewed.")
    return made.folder


@pytest.mark.parametrize("command", KILLED, ids=" ".join)
def test_a_kill_at_any_moment_loses_nothing(
    twice: Path, killer: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    made = Made(shutil.copytree(twice, tmp_path / "killed"))
    assert kills(made, command, killer, iter(range(1, 100))) >= 2
    sound = Made(shutil.copytree(twice, tmp_path / "sound"))
    sound.good(*command)
    # It counts how often the test set was used, kills included; the registry has its hash.
    counted = "models/v2/metrics.json", "models/registry.json"
    assert made.kept(counted) == sound.kept(counted)
    assert registered(made) == registered(sound)
    assert made.leftovers() == []
    if "out.csv" in command:
        assert (made / "out.csv").read_bytes() == (sound / "out.csv").read_bytes()


@pytest.mark.nightly
def test_kills_in_a_whole_run_lose_nothing(fresh: Made, killer: str, trained: Path) -> None:
    moments = random.Random(5)
    steps = (moments.randint(2, 25) for _ in range(8))
    assert kills(fresh, ("run",), killer, steps) >= 4
    fresh.good("run")
    assert fresh.leftovers() == []
    assert json.loads((fresh / "models/registry.json").read_bytes())["champion"]
    assert fresh.report("metrics")["champion"] == Made(trained).report("metrics")["champion"]


def test_a_search_that_was_killed_gives_what_an_unbroken_one_gives(made: Made) -> None:
    process = made.start("tune", "--trials", "40")
    log = made / "data/processed/tuning.jsonl"
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") < 3):
        time.sleep(0.02)
    process.kill()
    process.communicate()
    finished = [line for line in log.read_text().splitlines(True) if line.endswith("\n")]
    assert len(finished) >= 3  # what the trials were made with, and two of them
    made.good("tune", "--trials", "4")
    resumed, kept = made.report("tuning"), log.read_text()
    assert kept.startswith("".join(finished)) and resumed["ignored"] == []
    log.unlink()
    made.good("tune", "--trials", "4")
    assert made.report("tuning") == resumed and log.read_text() == kept
    # Trials of other settings are of no use here, and are told of in one line.
    said = made.good("tune", "--trials", "1", ML_TRAINING__SEED="8")
    assert "earlier trials were made with other settings, so it began anew" in said


# The machine


def mount(*options: str, at: Path) -> Iterator[None]:
    """Mount a file system, which needs root; skip where that is not allowed."""
    command = ["mount", *options, str(at)]
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    try:
        done = subprocess.run([*sudo, *command], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"NOT TESTED: {error}")
    if done.returncode:
        pytest.skip(f"NOT TESTED: mount is not allowed here: {done.stderr.strip()}")
    yield
    subprocess.run([*sudo, "umount", "-l", str(at)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 24 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    owner = f"uid={os.geteuid()},size=24m"
    for _ in mount("-t", "tmpfs", "-o", owner, "tmpfs", at=folder):
        yield folder


def test_a_full_disk_is_told_and_nothing_is_lost(trained: Path, small_disk: Path) -> None:
    made = Made(shutil.copytree(trained, small_disk / "project"))
    made.good("contract", "sample", "--rows", "400")
    filler = small_disk / "filler"
    told = 0
    for left in (0, 20_000, 200_000):
        space = os.statvfs(small_disk)
        filler.write_bytes(b"x" * max(0, space.f_bavail * space.f_frsize - left))
        for command in (("run", "--force"), ("score", "my.csv", "out.csv"), ("plan", "sync")):
            before = made.kept()
            code, _, err = made.ml(*command, TMPDIR=str(small_disk))
            if code:
                told += 1
                assert (code, err.count("\n")) == (2, 1), err
                assert err.startswith("error: the disk is full: free some room"), err
                assert before.items() <= made.kept().items() or "run" in command
                whole(made)
        filler.unlink()
    assert told >= 3  # some need no more room than there is
    made.good("run")
    made.good("score", "my.csv", "out.csv")


@pytest.fixture
def read_only(trained: Path, tmp_path: Path) -> Iterator[Made]:
    """Return a project on a read-only file system."""
    made = Made(shutil.copytree(trained, tmp_path / "readonly"))
    for _ in mount("--bind", "-o", "ro", str(made.folder), at=made.folder):
        yield made


def test_a_read_only_project_says_so_and_still_reads(read_only: Made, tmp_path: Path) -> None:
    writing = [("run",), *(c for c in SHORT if c[0] not in ("score", "promote")), ("promote", "v1")]
    for command in writing:
        read_only.bad(*command, code=2, says="the project is read-only here")
    read_only.bad("score", "my.csv", "out.csv", code=2, says="read-only")
    read_only.good("score", "my.csv", str(tmp_path / "out.csv"))
    assert "v1" in read_only.good("models")
    assert "MOD-02" in read_only.good("plan", "why", "MOD-02")


def test_two_runs_at_once(made: Made) -> None:
    first = made.start("run", "--force", PYTHONUNBUFFERED="1")
    assert first.stdout is not None
    assert first.stdout.readline()  # its first step is done, so it holds the lock
    busy = "error: another ml command is working in this project"
    made.bad("promote", "v1", code=2, says=busy, but="models/")
    made.bad("run", code=2, says=busy, but="models/")
    assert "champion" in made.good("models")
    out, err = first.communicate(timeout=300)
    told = [line for line in err.splitlines() if not line.startswith("... ")]  # how far it is
    assert (first.returncode, told) == (0, []), out


def test_two_scorings_of_one_output_at_once(made: Made) -> None:
    place(made, table(60_000))
    both = [made.start("score", "my.csv", "out.csv") for _ in range(2)]
    codes = [process.communicate(timeout=300) and process.returncode for process in both]
    assert 0 in codes
    assert set(codes) <= {0, 2}
    with (made / "out.csv").open() as lines:
        assert sum(1 for _ in lines) == 60_001


# What was read is what was hashed


@pytest.fixture
def project(made: Made, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return the trained project for calls in this process."""
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    fresh = {"memory_mb": 1.0, "cold_start_ms": 1.0}  # a new process has no `package_name`
    monkeypatch.setattr(bench, "_fresh_process", lambda *_: fresh)
    monkeypatch.setattr(bench, "SECONDS", 0.1)
    return Project(made.folder)


def during(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, act: Callable[[], Any]) -> None:
    """Let `act` happen once, right after the first call of a function."""
    real, todo = getattr(where, name), [act]

    def call(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        if todo:
            todo.pop()()
        return result

    monkeypatch.setattr(where, name, call)


def test_a_contract_edited_while_training_runs_is_not_taken_for_the_one_that_was_read(
    made: Made, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (made / CONTRACT).read_text(encoding="utf-8")
    said: list[str] = []
    edit = lambda: made.edit(CONTRACT, "value: feature", "value: excluded")  # noqa: E731
    during(monkeypatch, training.features, "fit", edit)
    with pytest.raises(CheckFailed, match="v2 is not promoted: the data contract has changed"):
        pipeline.run(project, said.append, force=True)
    assert (made / "models/v2/contract.odcs.yaml").read_text(encoding="utf-8") == before
    assert any("train: warning: its inputs were changed meanwhile" in line for line in said)
    said.clear()
    with pytest.raises(CheckFailed, match="v3 is not promoted: it is worse than the champion"):
        pipeline.run(project, said.append)  # without the feature
    assert any("] train: done" in line for line in said), said
    features = json.loads((made / "models/v3/manifest.json").read_bytes())["features"]
    assert features != json.loads((made / "models/v2/manifest.json").read_bytes())["features"]
    said.clear()
    with pytest.raises(CheckFailed, match="v3 is not promoted"):
        pipeline.run(project, said.append)
    assert any("] train: up to date" in line for line in said), said


def test_a_source_replaced_while_it_is_read_is_hashed_as_it_was_read(
    made: Made, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = written(table()), written(table(300))
    replace = lambda *_: (made / "my.csv").write_text(new)  # noqa: E731
    during(monkeypatch, ingest.storage, "copy_hashed", replace)
    found = ingest.run(project)
    assert found["rows"] == 400
    assert found["source_sha256"] == hashlib.sha256(old.encode()).hexdigest()
    assert (made / "my.csv").read_text() == new
    assert not list((made / "data/raw").glob(".*"))
    found = ingest.run(project)
    assert (found["rows"], found["source_sha256"]) == (300, sha256(made / "my.csv"))
    (made / "my.csv").write_text("")
    with pytest.raises(ProjectError, match=r"my\.csv: the file is empty"):
        ingest.run(project)


TABLES = {"valid.parquet": training, "test.parquet": evaluation}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("damage", ["footer", "bit", "other rows"])
def test_a_processed_table_that_is_not_as_written_is_refused_and_made_again(
    made: Made, project: Project, name: str, damage: str
) -> None:
    path = made / "data/processed" / name
    good = path.read_bytes()
    if damage == "other rows":
        pl.read_parquet(path).head(60).write_parquet(path)
    else:
        content = bytearray(good)
        place = slice(-40, -8) if damage == "footer" else slice(len(good) // 2, len(good) // 2 + 1)
        content[place] = bytes(255 - byte for byte in content[place])
        path.write_bytes(content)
    with pytest.raises(ProjectError, match=rf"{name} is damaged or was changed since"):
        TABLES[name].run(project)
    (made / "data/processed/sha256.json").unlink()  # as in a project of an older version
    if damage == "footer":
        with pytest.raises(ProjectError, match=rf"{name} is damaged: run"):
            TABLES[name].run(project)
    if damage == "bit":
        return
    pipeline.run(project, lambda line: None)
    assert path.read_bytes() == good


@pytest.mark.parametrize("name", ["metrics", "data_quality"])
def test_a_report_that_decides_and_was_edited_is_made_again(
    made: Made, project: Project, name: str
) -> None:
    pipeline.run(project, lambda line: None)
    path = made / f"reports/{name}.json"
    good = path.read_bytes()
    path.write_bytes(re.sub(rb": 0\.\d+", b": 0.987654", good))
    assert path.read_bytes() != good
    pipeline.run(project, lambda line: None)
    assert b"0.987654" not in path.read_bytes()


def test_a_test_set_of_another_split_judges_no_version(project: Project) -> None:
    frame = pl.read_parquet(project.path("data/processed/test.parquet"))
    validation.store(project, "data/processed/test.parquet", frame.tail(50))
    with pytest.raises(ProjectError, match="its test rows may have been seen"):
        evaluation.run(project)


def test_a_champion_that_flags_every_row_fails_its_gate(made: Made) -> None:
    text = (made / "plan/plan.yaml").read_text(encoding="utf-8")
    for name, cost in (("cost_fn", 1e6), ("cost_fp", 1), ("cost_tp", 0)):
        text, count = re.subn(rf"(?m)^(  {name}:) [0-9.]+$", rf"\1 {cost}", text)
        assert count == 1  # the other one says where the answer comes from
    text = re.sub(r"(?m)^(  daily_capacity:) [0-9.]+$", r"\1 0", text)
    (made / "plan/plan.yaml").write_text(text, encoding="utf-8")
    overrides = "EVAL-05: {value: cost_optimal, reason: a test}\n"
    (made / "plan/overrides.yaml").write_text(overrides, encoding="utf-8")
    made.good("train")
    code, _, err = made.ml("evaluate")
    assert code == 1 and "it flags every row of the test set" in err, err
    assert "may be zero or a loss: 0 (0 to 0)" in err and "v2 fails its gate" in err
    assert "v2 is not promoted: its gate did not pass" in made.ml("promote", "v2")[2]
    made.good("plan", "sync")
    plan = (made / "PLAN.md").read_text(encoding="utf-8")
    verdict = next(line for line in plan.splitlines() if line.startswith("**Verdict:** **stop**"))
    assert verdict.count("may be zero or a loss") == 1, verdict
    page = (made / "reports/evaluation.html").read_text(encoding="utf-8")
    assert "Gate not passed" in page and "it flags every row of the test set" in page


def test_the_gate_judges_one_metric_by_its_own_name_value_and_limit(made: Made) -> None:
    """A metric of the team needs a limit of the team, and a model that was chosen by it."""
    rule = "EVAL-01: {value: pr_auc, reason: a test"
    (made / "plan/overrides.yaml").write_text(f"{rule}}}\n", encoding="utf-8")
    code, _, err = made.ml("evaluate")
    assert code == 1 and "it was chosen by ROC AUC, the plan asks for PR AUC" in err, err
    assert "the limit 0.65 (OBJ-01) is one of another metric" in err
    assert "PR AUC is" not in err and "ROC AUC is" not in err
    assert "OBJ-01" in made.ml("plan", "gate", "G0")[1]
    (made / "plan/overrides.yaml").write_text(f"{rule}, limit: 0.99}}\n", encoding="utf-8")
    made.good("train")
    code, _, err = made.ml("evaluate")
    value = made.report("metrics")["champion"]["metrics"]["pr_auc"]["value"]
    assert code == 1 and f"PR AUC is {number(value, 4)}; the plan asks for 0.99" in err, err


def test_a_good_model_of_a_case_that_does_not_pay_is_told_on_its_page(
    made: Made, project: Project
) -> None:
    path = made / "plan/plan.yaml"
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    plan["computed"]["VAL-01"]["break_even_benefit"]["value"] = 1e9
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    report = evaluation.run(project)
    assert report["gate"]["passed"] and "**stop**" in evidence.verdict(project)
    warning = report["gate"]["warnings"][-1]
    assert warning.startswith("the plan says stop: ") and "net present value is neg" in warning
    assert warning in (made / "reports/evaluation.html").read_text(encoding="utf-8")
    assert made.report("metrics")["gate"] == json.loads(json.dumps(report["gate"]))


def test_plan_and_report_tell_how_the_model_was_chosen(trained: Path) -> None:
    plan = (trained / "PLAN.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "| Model choice | Simplest within one standard error." in plan
    chosen = json.loads((trained / "reports/training.json").read_bytes())
    name = Project(trained).plan.named(chosen["chosen"])
    assert re.search(
        rf"Model choice \| Measured.*: {name}, ROC AUC 0\.\d+ over 3 folds, spread [\d.]+[.;]", plan
    )
    assert all({"mean", "se"} == set(gap) for gap in chosen["selection"]["behind"].values())
    page = (trained / "reports/evaluation.html").read_text(encoding="utf-8")
    assert "by the rule <em>simplest within one standard error</em> (MOD-04)" in page


def test_records_of_training_follow_a_folder_that_is_copied_and_never_cost_a_training(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = made.report("training")
    tracking.log(Project(made.folder), report)
    before = sorted(path.name for path in (made / "mlruns").rglob("manifest.json"))
    copy = Made(shutil.copytree(made.folder, tmp_path / "copy"))
    shutil.rmtree(made / "mlruns")
    (made / "mlruns").write_text("in the way")
    for _ in range(2):
        tracking.log(Project(copy.folder), report)
    assert before and len(list((copy / "mlruns").rglob("manifest.json"))) == 3
    assert capsys.readouterr().err == ""
    tracking.log(Project(made.folder), report)
    said = capsys.readouterr().err
    assert said.startswith("warning: v1 is trained and saved, but MLflow"), said
    assert said.count("\n") == 1


@pytest.mark.parametrize("store", ["closed port", "silent server", "damaged", "locked", "folder"])
def test_a_store_of_records_that_cannot_be_reached_costs_seconds(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: str
) -> None:
    """MLflow itself tries for 101 seconds to open a database, and for longer to reach a server."""
    database = made / "mlflow.db"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if store == "closed port":
            server.close()
        if store in ("closed port", "silent server"):
            monkeypatch.setenv("ML_TRAINING__TRACKING_URI", address)
        elif store == "damaged":
            database.write_text("no database, but many words" * 99)
        elif store == "folder":
            database.mkdir()
        else:
            held = sqlite3.connect(database)
            held.execute("BEGIN EXCLUSIVE")
        import mlflow  # noqa: F401  which alone takes seconds

        began = time.monotonic()
        tracking.log(Project(made.folder), made.report("training"))
        assert time.monotonic() - began < 20
    said = capsys.readouterr().err
    assert said.startswith("warning: v1 is trained and saved, but MLflow has no record"), said
    assert said.count("\n") == 1


def test_a_long_step_says_what_it_does_and_leaves_stdout_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "FIRST_S", 0.05)
    monkeypatch.setattr(progress, "EVERY_S", 0.05)
    with progress.shown("train"):
        time.sleep(0.08)
        with progress.part("trial", 3, 40):
            progress.tell("cross-validating lightgbm, fold", 2, 5)
            progress.detail("round", 1171)
            time.sleep(0.1)
        progress.tell("cross-validating lightgbm, fold", 2, 5)
        time.sleep(0.1)
    out, err = capsys.readouterr()
    trial = "... train, trial 3 of 40: cross-validating lightgbm, fold, 2 of 5, round {} (0 s)\n"
    assert trial.format(number(1171)) in err
    assert out == "" and re.search(r"^\.\.\. train \(0 s\)$", err, re.MULTILINE), err
    assert "... train: cross-validating lightgbm, fold, 2 of 5 (0 s)\n" in err
    time.sleep(0.1)
    assert capsys.readouterr().err == ""  # nothing after the step
    monkeypatch.setattr(progress, "FIRST_S", 5.0)
    with progress.shown("train"):
        pass
    assert capsys.readouterr().err == ""  # a short step says nothing
