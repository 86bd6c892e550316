"""Logs that tell of changes, and the answers that people overruled."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml
from helpers.rendering import render

from package_name.engine import audit, keys, overruling, prediction_log, storage
from package_name.engine.data import contract, forgotten
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model import registry, trial
from package_name.engine.model.output import Output
from package_name.engine.model.scorer import Scorer
from package_name.engine.settings import Project
from package_name.planner import check, measured

LINES = 4


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "reports/audit.jsonl"
    for number in range(LINES):
        audit.append(path, {"kind": "approved", "block": f"B-{number}"})
    assert audit.broken(path) == ""
    return path


@pytest.mark.parametrize("line", range(LINES))
def test_any_change_of_a_line_is_told(log: Path, line: int) -> None:
    rows = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(
        b"".join(r.replace(b"B-", b"C-") if n == line else r for n, r in enumerate(rows))
    )
    assert f"audit.jsonl, line {line + 1}: its words are others" in audit.broken(log)
    # Also when its own hash was made anew.
    entry = json.loads(rows[line].replace(b"B-", b"C-"))
    entry.pop("hash")
    entry["hash"] = storage.sha256_bytes(json.dumps(entry, separators=(",", ":")).encode())
    rows[line] = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
    log.write_bytes(b"".join(rows))
    told = f"line {line + 2}: the line before it is another" if line < LINES - 1 else ""
    assert told in audit.broken(log) and bool(audit.broken(log)) == bool(told)


def test_a_lost_or_swapped_line_is_told(log: Path) -> None:
    rows = log.read_bytes().splitlines(keepends=True)
    for left in (rows[1:], [rows[0], *rows[2:]], [rows[1], rows[0], *rows[2:]]):
        log.write_bytes(b"".join(left))
        assert "the line before it is another or gone" in audit.broken(log)
    log.write_bytes(b"".join([*rows[:2], b"\xff\n", *rows[2:]]))
    assert "line 3: its words" in audit.broken(log)


def test_a_lost_end_is_told_by_a_noted_head(log: Path) -> None:
    project: Any = SimpleNamespace(path=lambda name: log.parents[1] / name)
    head = audit.run(project)[audit.LOG]["head"]
    assert "4 approved" in audit.told(audit.run(project)) and head[:16] in audit.told(
        audit.run(project)
    )
    audit.append(log, {"kind": "promoted"})
    assert audit.run(project, head[:16])[audit.LOG]["lines"] == LINES + 1
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    assert audit.run(project)[audit.LOG]["lines"] == 2  # nothing in the rest tells
    with pytest.raises(CheckFailed, match="was once the end of a log is gone"):
        audit.run(project, head[:16])


def test_a_kill_and_lines_from_before_the_chain_break_nothing(tmp_path: Path) -> None:
    path = tmp_path / "reports/test_access.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"at":"x","version":"v001","test_sha256":"aa"}\n{"at":"y","ver')
    project: Any = SimpleNamespace(path=lambda name: tmp_path / name)
    assert (
        trial.log_access(project, "v002", "aa") == 2 and trial.log_access(project, "v002", "b") == 1
    )
    assert audit.broken(path) == ""
    path.write_bytes(path.read_bytes().replace(b"v001", b"v009"))
    assert "line 2: the line before it" in audit.broken(path)


def test_half_a_line_is_no_tampering_and_an_empty_log_no_fault(log: Path) -> None:
    project: Any = SimpleNamespace(path=lambda name: log.parents[1] / name)
    whole = log.read_bytes()
    log.write_bytes(whole + whole.splitlines()[0][:40])
    assert audit.broken(log) == "" and audit.run(project)[audit.LOG]["lines"] == LINES
    log.write_bytes(whole[:40] + b"\n")  # with its end it is a line that somebody changed
    assert "line 1: its words are others" in audit.broken(log)
    log.write_bytes(b"")
    assert audit.run(project) == {} and audit.told(audit.run(project)) == "nothing is logged yet"
    with pytest.raises(ProjectError, match="at least 8 signs"):
        audit.run(project, "abc")  # not: what was once the end is gone


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(render(tmp_path_factory.mktemp("audit") / "p", plan_depth="regulated"))


def test_overruled_answers_are_recorded_without_personal_values_and_counted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    [entity] = [p for p in document["schema"][0]["properties"] if p["name"] == "customer_id"]
    entity["classification"] = "personal"
    project.contract_path.write_text(yaml.safe_dump(document), encoding="utf-8")
    outputs = (
        SimpleNamespace(name="probability", role="score", kind="number"),
        SimpleNamespace(name="decision", role="decision", kind="boolean"),
    )
    scorer: Any = SimpleNamespace(version="v001", outputs=outputs, score="probability")
    monkeypatch.setattr(registry, "champion_folder", lambda _: project.contract_path.parent)
    monkeypatch.setattr(Scorer, "load", lambda *_, **__: scorer)
    monkeypatch.setattr(contract, "read", lambda _, read=contract.read: read(project.contract_path))
    monkeypatch.setenv(keys.SECRET, "0123456789abcdef")
    agreed = contract.read(project.contract_path)
    hashed = keys.logged(agreed.column("customer_id"), "C-17", keys.secret())
    told = [
        {"version": "v001", "event_id": f"e{n}", "decision": n % 2 == 0, "probability": 0.5}
        | {"keys": {"customer_id": hashed if n == 0 else f"h{n}", "snapshot_date": "2026-01-31"}}
        | {"features": {}}
        for n in range(40)
    ]
    path = project.path("data/predictions/2026-02-01.jsonl")
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(map(json.dumps, told)) + "\n", encoding="utf-8")
    monkeypatch.setattr(prediction_log, "read", lambda *_: ([*told], ""))

    assert overruling.counted(project, scorer) is None
    by: tuple[str, str] = ("called her at +49 170 1234567", "Ana")
    entry = overruling.run(project, "customer_id=C-17,snapshot_date=2026-01-31", "no", *by)
    assert entry["answer"] is True and entry["keys"]["customer_id"] == hashed
    for number in (2, 4, 4):
        overruling.run(project, f"e{number}", "no", "paid", "Eva")
    content = project.path(audit.LOG).read_text(encoding="utf-8")
    assert "C-17" not in content and "1234567" not in content and "(number)" in content
    found = overruling.counted(project, scorer)
    assert found == {
        "count": 3, "answers": 40, "share": 3 / 40, "people": 2,
        "ways": [["True", "False", 3]], "level": "ok",
    }  # fmt: skip
    for number in range(6, 30, 2):
        overruling.run(project, f"e{number}", "no", "paid", "Eva")
    assert overruling.counted(project, scorer)["level"] == "warn"  # type: ignore[index]
    with pytest.raises(ProjectError, match="no logged answer is that of e77"):
        overruling.run(project, "e77", "no", "paid", "Eva")
    with pytest.raises(ProjectError, match="the model decided false too"):
        overruling.run(project, "e1", "False", "paid", "Eva")
    with pytest.raises(ProjectError, match="--reason is empty"):
        overruling.run(project, "e1", "yes", " ", "Eva")
    monkeypatch.delenv(keys.SECRET)
    with pytest.raises(ProjectError, match="set ML_KEY_SECRET"):
        overruling.run(project, "customer_id=C-17,snapshot_date=2026-01-31", "no", *by)
    for which in ("customer=C-17", "customer_id=C-17,2026-01-31", "customer_id"):
        listed = "of customer_id, snapshot_date$" if "=" in which else "no logged answer"
        with pytest.raises(ProjectError, match=listed):
            overruling.run(project, which, "no", *by)
    with pytest.raises(ProjectError, match="yes or no, and 'maybe' is neither"):
        overruling.run(project, "e0", "maybe", *by)
    with pytest.raises(ProjectError, match="may be several rows: name customer_id too"):
        overruling.run(project, "snapshot_date=2026-01-31", "no", *by)
    report = {"level": "ok", "features": [], "source": "x", "overruled": found}
    assert "people overruled 3 answers, 7.5" in measured.MADE["drift"](report, project)["overruled"]


def test_a_key_that_is_not_personal_is_hashed_too(project: Project) -> None:
    agreed = contract.read(project.contract_path)
    columns = tuple(msgspec.structs.replace(c, personal=False) for c in agreed.columns)
    agreed = msgspec.structs.replace(agreed, columns=columns)
    row = overruling._named(agreed, "customer_id=C-17, snapshot_date=2026-01-31")
    assert row == {"keys": {"customer_id": "C-17", "snapshot_date": "2026-01-31"}}
    kept = overruling._kept(project, agreed, row)["keys"]
    key = project.path(forgotten.KEY).read_bytes()
    assert kept == {
        "customer_id": forgotten.hashed("C-17", key), "snapshot_date": "2026-01-31",
    }  # fmt: skip
    with pytest.raises(ProjectError, match="snapshot_date: 'soon' is no date"):
        overruling._named(agreed, "customer_id=C-17,snapshot_date=soon")


@pytest.mark.parametrize(
    ("kind", "text", "read", "alike", "other"),
    [
        ("boolean", "No", False, False, True),
        ("boolean", "1", True, True, False),
        ("number", "12.0", 12.0, 12, 12.5),
        ("integer", "2", 2, 2, 3),
        ("text", "red", "red", "Red", "green"),
        ("text", "Red", "Red", "Red", "Reds"),
    ],
)
def test_a_decision_is_read_as_the_model_answers(
    kind: Any, text: str, read: Any, alike: Any, other: Any
) -> None:
    said = overruling._read(Output("decision", kind, "decision"), text)
    assert said == read and type(said) is type(read)
    assert overruling._same(alike, said) and not overruling._same(other, said)


@pytest.mark.parametrize(
    ("kind", "text"), [("boolean", "none"), ("number", "a"), ("number", "nan")]
)
def test_a_decision_of_another_kind_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(ProjectError, match=f"the model decides .*'{text}' is n"):
        overruling._read(Output("decision", kind, "decision"), text)


def test_a_decision_in_words_is_masked(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output("class", "text", "decision")
    scorer: Any = SimpleNamespace(version="v009", outputs=(output,), score="p")
    monkeypatch.setattr(registry, "champion_folder", lambda _: project.root / "contracts")
    monkeypatch.setattr(Scorer, "load", lambda *_, **__: scorer)
    monkeypatch.setattr(contract, "read", lambda _, read=contract.read: read(project.contract_path))
    monkeypatch.setattr(overruling, "_logged", lambda *_: {"version": "v009", "class": "Red"})
    entry = overruling.run(project, "e1", "call ana@example.org", "why", "Eva")
    assert (entry["answer"], entry["decision"]) == ("Red", "call (email)")
    with pytest.raises(ProjectError, match="the model decided Red too"):
        overruling.run(project, "e1", "red", "why", "Eva")


def test_the_plan_tells_of_a_broken_log(project: Project) -> None:
    audit.note(project, "promoted", version="v001")
    audit.note(project, "promoted", version="v002")
    assert not [f for f in check.check(project) if "audit.jsonl" in f.message]
    path = project.path(audit.LOG)
    path.write_bytes(path.read_bytes().replace(b'"version":"v001"', b'"version":"v007"'))
    [found] = [f for f in check.check(project) if "audit.jsonl" in f.message]
    assert (
        found.level == "error" and found.id == "RISK-01" and "its words are others" in found.message
    )
    assert "ml overrule" in " ".join(project.plan.blocks["REG-04"].lines)
