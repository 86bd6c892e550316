"""Packages for devices: the same answers and refusals as the service, signed, switched safely."""

import datetime as dt
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import helpers.bundles as small
import msgspec
import numpy as np
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from helpers.rendering import ROOT, render, tree
from helpers.running import Made
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from package_name.engine import monitoring, signing, storage
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model import registry
from package_name.engine.model.scorer import FeatureSpec, Scorer, read_golden
from package_name.engine.model.texts import TextFeature
from package_name.engine.model.values import ServedColumn, breach, read_value
from package_name.engine.serving import edge, edge_log, rest
from package_name.engine.serving.on_device import device
from package_name.engine.settings import Project

NIGHTLY = pytest.mark.nightly
SECRET = "5e" * 32
ROW = {"amount": 12.5, "calls": 2, "plan": "basic", "online": True, "since": "2026-03-01"}
ROWS = [
    ROW,
    {},
    {"calls": 0, "amount": -0.0, "plan": "", "online": False},
    {"amount": 3.4e38, "calls": 9007199254740991, "plan": "no such plan"},
    {"amount": 1e-300, "plan": "NA", "since": "1000-01-01"},
    {"amount": "12.5", "calls": "2.0", "plan": " basic", "since": "9998-12-31"},
    {"amount": 5e-324, "plan": "бейсик 🎈", "since": "2024-02-29T00:00:00Z"},
    {"calls": 3.0, "online": 1, "plan": 7, "amount": " 1e3 "},
    {"online": "Yes", "plan": "2.0", "since": None, "event_id": "mine"},
]
BROKEN = [
    {"calls": -1},
    {"amount": 3.5e38},
    {"amount": "1e999"},
    {"calls": 2**64},
    {"calls": 2.5},
    {"since": "yesterday", "calls": -3},
    {"since": "0999-01-01"},
    {"since": "2026-02-30"},
    {"since": "2026-03-01T08:30:00"},
    {"plan": ["basic"]},
    {"online": "maybe", "amuont": 3},
    {"event_id": "x" * 129},
    "no row",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two versions, packages of both, a key; v2 is champion."""
    root = tmp_path_factory.mktemp("carried")
    made = small.project(root)
    plan = yaml.safe_load((root / "plan/plan.yaml").read_text())
    modes = {"latency_ms": 100, "deployment_modes": ["rest", "edge"]}
    plan["answers"] = modes | {"edge_size_mb": 5.0, "edge_latency_ms": 1000.0}
    storage.write_text(root / "plan/plan.yaml", yaml.safe_dump(plan))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_bytes", lambda size: bytes.fromhex(SECRET)[:size])
        assert edge.make_key(made) == SECRET
        patch.undo()
        patch.setenv(edge.KEY, SECRET)
        patch.setattr(edge, "SECONDS", 0.0)
        for seed in range(2):
            version = small.train(made, rows=600, seed=seed)
            registry.promote(made, version)
            edge.package(Project(root))
    return root


@pytest.fixture
def project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of it to change, with the secret of its key."""
    monkeypatch.setenv(edge.KEY, SECRET)
    monkeypatch.setattr(edge, "SECONDS", 0.0)
    shutil.copytree(trained, tmp_path / "p", ignore=shutil.ignore_patterns("predictions"))
    return Project(tmp_path / "p")


def public(project: Project) -> str:
    return project.path(edge.PUBLIC).read_text().strip()


def opened(project: Project, version: str = "v2") -> device.Scorer:
    return device.Scorer.load(project.path(f"{edge.FOLDER}/{version}"), public(project))


def service(project: Project) -> TestClient:
    return TestClient(rest.create_app(project))


# Answers


def test_golden_and_hostile_rows_get_the_bits_of_the_service(trained: Path) -> None:
    project = Project(trained)
    scorer = Scorer.load(project.path("models/v2"))
    golden = [dict(row) for row in read_golden(project.path("models/v2"), scorer.columns).rows]
    rows = golden + ROWS
    with service(project) as there:
        wanted = there.post("/predict", json=rows).json()
    assert opened(project).score(rows) == wanted
    assert len(wanted["predictions"]) == len(rows) > 50


@pytest.mark.parametrize("row", BROKEN, ids=str)
def test_a_bad_row_is_refused_in_the_words_of_the_service(trained: Path, row: Any) -> None:
    project = Project(trained)
    with service(project) as there:
        wanted = there.post("/predict", content=msgspec.json.encode([ROW, row]))
    assert wanted.status_code == 422
    with pytest.raises(device.Refused) as refused:
        opened(project).score([ROW, row])
    assert refused.value.problems == wanted.json()["errors"]


COLUMNS = (
    ServedColumn(name="n", kind="number", decimal_comma=True, minimum=-5),
    ServedColumn(name="t", kind="timestamp", formats=("%d %b %Y %H:%M:%S%.f", "%m/%d/%y %I %p")),
    ServedColumn(name="d", kind="date", formats=("%d.%m.%Y", "%B %d, %Y")),
    ServedColumn(name="c", kind="category", levels=("1", "b"), required=True),
    ServedColumn(name="i", kind="integer", maximum=5),
    ServedColumn(name="b", kind="boolean"),
    ServedColumn(name="k", kind="category", key=True, used=False, longest=4),
)
VALUES: list[Any] = [
    *("1.889,50", "1 889", "-6", "1,5", "0,1", "1.889", "inf", "+.5", "1e5", "nan", " ", "٣"),
    *("2026-01-31T08:30:00.1234567+02:00", "2026-01-31 08:30Z", "31 jan 2026 8:05:01.25"),
    *("31 Jan 2026 08:05:01", "1/2/26 3 pm", "13/2/26 3 pm", "0001-01-01T00:00+14:00"),
    *("9999-12-31T23:59-10:00", "31.1.2026", "january 3, 2026", "30.2.2026", "2026-01-31"),
    *("1.0", "-0.0", "b", "x", "1", 1, 1.0, True, None, "", "NA", -0.0, 1e16, 12345, 0.1, []),
    *({}, "x" * 5, 2**63, -(2**63), 1e309, "2026-01-31T00:00:00.000+0000", "2026-01-31T01:00"),
    *("Yes", "f", "2.0", "7e0", "5.5", 0, 0.00001, "12/31/69 12 AM", "12/31/68 12 PM", "-7"),
    *("0999-12-31T23:00-02:00", "29.2.2023", "1.1.0999", "2024-02-29T24:00"),
]


def contract_of(columns: Sequence[ServedColumn]) -> dict[str, Any]:
    """Return the contract of a package that has these columns and no model."""
    shown = [edge._column(column) for column in columns]
    empty: dict[str, Any] = {n: [] for n in ("ignored", "outputs", "numeric", "categorical")}
    return empty | {"version": "v1", "decision": {}, "columns": shown, "reading": edge.reading()}


def test_every_kind_and_format_is_read_as_the_contract_reads_it() -> None:
    """Times in any offset, commas, months by name: one column of each."""
    contract = json.loads(storage.json_bytes(contract_of(COLUMNS)))
    reader = device.Scorer.__new__(device.Scorer)
    reader.contract, reader.columns = contract, contract["columns"]
    reader.reading = contract["reading"]
    reader.missing = {*contract["reading"]["missing"]}
    for column, shown in zip(COLUMNS, reader.columns, strict=True):
        for value in VALUES:
            wanted, found = read_value(value, column), reader._value(value, shown)
            rule = breach(wanted, column)
            assert reader._broken(found, shown) == rule, (column.name, value)
            if not rule and wanted is not None:
                same = found.date() if column.kind == "date" else found
                assert same == wanted and type(same) is type(wanted), (column.name, value)


# Signatures


@settings(max_examples=25)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.integers(0, 511))
def test_signatures_are_those_of_the_library(secret: bytes, content: bytes, flipped: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(secret)
    public, signature = key.public_key().public_bytes_raw().hex(), key.sign(content)
    assert device.is_signed(content, signature, public)
    bad = bytearray(signature)
    bad[flipped // 8] ^= 1 << flipped % 8
    assert not device.is_signed(content, bytes(bad), public)
    assert not device.is_signed(content + b"x", signature, public)
    other = (
        Ed25519PrivateKey.from_private_bytes(secret[::-1] + b"") if secret != secret[::-1] else 0
    )
    assert not other or not device.is_signed(content, other.sign(content), public)


def test_a_signature_that_is_none_is_refused() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = key.public_key().public_bytes_raw().hex(), key.sign(b"a")
    high = (int.from_bytes(signature[32:], "little") + device.ORDER).to_bytes(32, "little")
    for wrong in (b"", signature[:63], signature + b"0", signature[:32] + high, b"\xff" * 64):
        assert not device.is_signed(b"a", wrong, public)
    for key_text in ("", "zz", public[:62], "ff" * 32):
        assert not device.is_signed(b"a", signature, key_text)


@pytest.mark.parametrize("name", ["model.onnx", "contract.json", "scorer.mjs"])
def test_a_package_that_was_changed_is_refused(project: Project, name: str) -> None:
    path = project.path(f"{edge.FOLDER}/v2/{name}")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0", b"1", 1))
    with pytest.raises(device.Broken, match=f"{name} is changed"):
        opened(project)
    path.unlink()
    with pytest.raises(device.Broken, match=f"{name} is missing"):
        opened(project)
    path.write_bytes(content)
    manifest = path.with_name("manifest.json")
    manifest.write_bytes(manifest.read_bytes().replace(b'"v2"', b'"v3"'))
    with pytest.raises(device.Broken, match="not signed by the owner"):
        opened(project)
    path.with_name("manifest.sig").unlink()
    with pytest.raises(device.Broken, match="manifest: cannot be read"):
        opened(project)


def test_who_has_no_key_makes_no_package(project: Project, monkeypatch: Any) -> None:
    with pytest.raises(ProjectError, match=r"edge\.pub is there"):
        edge.make_key(project)
    for secret, why in (("", "64 hex digits"), ("ab" * 32, "is not the secret of")):
        monkeypatch.setenv(edge.KEY, secret)
        with pytest.raises(ProjectError, match=why):
            edge.package(project)
    project.path(edge.PUBLIC).unlink()
    with pytest.raises(ProjectError, match="`ml edge key`"):
        edge.package(project)
    secret = edge.make_key(project)
    held = [p for p in project.root.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
    assert held == []


# Budget


def budget(project: Project, **answers: float) -> Project:
    plan = yaml.safe_load(project.path("plan/plan.yaml").read_text())
    plan["answers"] |= answers
    storage.write_text(project.path("plan/plan.yaml"), yaml.safe_dump(plan))
    return Project(project.root)


def test_a_package_over_its_budget_is_not_made(project: Project) -> None:
    shutil.rmtree(project.path(edge.FOLDER))
    with pytest.raises(CheckFailed, match=r"MB, more than edge_size_mb 0\.001"):
        edge.package(budget(project, edge_size_mb=0.001))
    with pytest.raises(CheckFailed, match=r"ms, more than edge_latency_ms 0\.001"):
        edge.package(budget(project, edge_size_mb=5.0, edge_latency_ms=0.001))
    assert not project.path(edge.FOLDER).exists()
    report = json.loads(project.path(edge.REPORT).read_text())
    assert report["size_mb"] > 0.002 and report["one_row_ms"]["p95"] > 0.001
    report = edge.package(budget(project, edge_latency_ms=1000.0))
    assert report["reasons"] == [] and report["golden_rows"] == 50
    zipped = project.path(f"{edge.FOLDER}/v2.zip")
    assert zipped.stat().st_size / 1e6 == report["size_mb"]
    before = zipped.read_bytes()
    edge.package(project)
    assert zipped.read_bytes() == before


def test_what_a_device_cannot_read_is_refused(project: Project) -> None:
    scorer = Scorer.load(project.path("models/v2"))
    spec = FeatureSpec((), (), words=(TextFeature("w", "story", ("w1",)),))
    with pytest.raises(ProjectError, match="reads the text 'story', whose words"):
        edge._refuse_what_a_device_lacks(scorer, spec)


def test_a_package_tells_nothing_of_personal_columns(project: Project) -> None:
    told = {"minimum": 18, "maximum": 99, "description": "Ann is 40", "example": 40}
    column = ServedColumn(name="age", kind="number", personal=True, **told)
    shown = json.dumps(edge._column(column))
    assert not re.search(r"18|99|40|Ann", shown) and '"personal": true' in shown


# Two versions


def publish(project: Project, version: str, share: int = 100) -> Callable[[str], bytes]:
    edge.release(project, version, share)
    return lambda name: project.path(f"{edge.FOLDER}/{name}").read_bytes()


def start(project: Project, tmp_path: Path, name: str = "d", **options: Any) -> device.Device:
    return device.Device(tmp_path / name, name, public(project), **options)


def test_a_device_switches_and_goes_back(project: Project, tmp_path: Path) -> None:
    there = start(project, tmp_path)
    with pytest.raises(device.Broken, match="no version is installed"):
        there.score([ROW])
    read = publish(project, "v1")
    assert there.follow(read) == "now v1"
    assert there.follow(read) == "nothing: v1 is in use"
    assert there.follow(publish(project, "v2")) == "now v2"
    assert there.version == there.score([ROW])["model_version"] == "v2"
    assert start(project, tmp_path).version == "v2"
    assert len([*(tmp_path / "d").glob("package-*")]) == 2
    assert there.roll_back() == "back at v1"
    assert start(project, tmp_path).version == "v1"
    assert there.follow(lambda name: project.path(f"{edge.FOLDER}/{name}").read_bytes()) == (
        "nothing: v2 was refused before"
    )


def spoil_golden(project: Project, version: str) -> None:
    """Sign a package whose model no longer gives its golden answers."""
    folder = project.path(f"{edge.FOLDER}/{version}")
    golden = json.loads((folder / "golden.json").read_bytes())
    for wanted in golden["answers"].values():
        wanted["values"][3] += 0.01
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    content["golden.json"] = storage.json_bytes(golden)
    manifest = json.loads(content["manifest.json"])
    manifest["files"]["golden.json"] = storage.sha256_bytes(content["golden.json"])
    content["manifest.json"] = storage.json_bytes(manifest)
    content["manifest.sig"] = edge._line(
        signing._signer(edge.PAIR, SECRET)[0](content["manifest.json"])
    )
    for name, data in content.items():
        (folder / name).write_bytes(data)
    folder.with_name(f"{version}.zip").write_bytes(edge._zip(content))


def test_a_bad_new_version_changes_nothing(
    project: Project, tmp_path: Path, monkeypatch: Any
) -> None:
    there = start(project, tmp_path)
    there.follow(publish(project, "v1"))
    spoil_golden(project, "v2")
    with pytest.raises(ProjectError, match="golden rows differ"):
        edge.release(project, "v2", 100)
    monkeypatch.setattr(device.Scorer, "replay", lambda *_: None)
    read = publish(project, "v2")
    monkeypatch.undo()
    said = there.follow(read)
    assert re.fullmatch(r"kept v1: v2 was refused, golden rows differ in \w+ by up to 0.01", said)
    assert there.follow(read) == "nothing: v2 was refused before"
    assert start(project, tmp_path).score([ROW])["model_version"] == "v1"


def test_what_is_not_the_release_is_not_taken(project: Project, tmp_path: Path) -> None:
    there = start(project, tmp_path)
    read = publish(project, "v1")
    there.follow(read)
    old = {name: read(name) for name in ("release.json", "release.sig")}
    publish(project, "v2")
    with_other = {"v2.zip": read("v1.zip")}
    said = there.follow(lambda name: with_other.get(name) or read(name))
    assert said == "kept v1: v2 was refused, the package is not the one that was released"
    number = json.loads(old["release.json"])["number"]
    there.state["number"] = number + 1
    assert there.follow(lambda name: old.get(name) or read(name)).endswith(
        "older release than the last one"
    )
    forged = json.dumps(json.loads(read("release.json")) | {"share": 1}).encode()
    assert "not signed" in there.follow(
        lambda name: forged if name == "release.json" else read(name)
    )

    def offline(name: str) -> bytes:
        raise OSError("no network")

    assert there.follow(offline) == "nothing: release: cannot be read (no network)"
    assert there.version == "v1"


def test_a_device_falls_back_by_itself(project: Project, tmp_path: Path) -> None:
    there = start(project, tmp_path)
    there.follow(publish(project, "v1"))
    there.follow(publish(project, "v2"))
    (there.folder / there.state["current"] / "model.onnx").write_bytes(b"a broken disk")
    again = start(project, tmp_path)
    assert again.version == "v1" and "model.onnx is changed" in again.events[0]
    assert start(project, tmp_path).version == "v1"

    other = start(project, tmp_path, "other")
    other.follow(lambda name: project.path(f"{edge.FOLDER}/{name}").read_bytes())
    assert other.version == "v2"
    with pytest.raises(device.Broken, match="no version before"):
        other.roll_back()


def test_a_model_that_fails_at_work_is_left(
    project: Project, tmp_path: Path, monkeypatch: Any
) -> None:
    there = start(project, tmp_path)
    there.follow(publish(project, "v1"))
    there.follow(publish(project, "v2"))

    def fail(rows: Any) -> Any:
        raise RuntimeError("a kernel")

    monkeypatch.setattr(there.scorer, "score", fail)
    assert there.score([ROW])["model_version"] == "v1"
    assert there.events == ["v2 failed: RuntimeError"]


def test_rings_grow_around_the_same_devices(project: Project, tmp_path: Path) -> None:
    places = np.array([device.ring(f"d{n}", "v2") for n in range(20_000)])
    assert [abs((places < share).mean() - share) < 0.01 for share in (0.01, 0.1, 1.0)] == [True] * 3
    other = np.array([device.ring(f"d{n}", "v3") for n in range(20_000)])
    assert 0.05 < (other[places < 0.1] < 0.1).mean() < 0.15  # other devices go first
    inside = next(f"d{n}" for n in range(20_000) if places[n] < 0.01)
    outside = next(f"d{n}" for n in range(20_000) if places[n] >= 0.1)
    both = [start(project, tmp_path, name) for name in (inside, outside)]
    for each in both:
        each.follow(publish(project, "v1"))
    read = publish(project, "v2", 1)
    assert [each.follow(read) for each in both] == [
        "now v2",
        "nothing: v2 is for 1% of the devices",
    ]
    assert both[1].follow(publish(project, "v2", 100)) == "now v2"
    with pytest.raises(ProjectError, match="--share 50: give one of 1, 10, 100"):
        edge.release(project, "v2", 50)


# What was answered


def test_the_queue_is_bounded_and_collected_once(project: Project, tmp_path: Path) -> None:
    there = start(project, tmp_path, queue_bytes=40_000)
    there.follow(publish(project, "v2"))
    rows = small.frame(400, seed=5).drop("y").to_dicts()
    rows = [{n: v.isoformat() if n == "since" else v for n, v in row.items()} for row in rows]
    for row in rows:
        there.score([row])
    waiting = there.queue.path.read_bytes().splitlines()
    assert there.queue.size <= 40_000 and 50 < len(waiting) < 400
    assert there.queue.lost == 400 - len(waiting)
    sent = there.queue.hand_over()
    assert sent == there.queue.hand_over() and there.queue.lost == 0
    copy = shutil.copy(sent, tmp_path / "sent.jsonl")
    there.queue.delivered()
    assert there.queue.hand_over() is None
    report = edge_log.collect(project, [Path(copy)])
    assert (report["added"], report["rejected"]) == (len(waiting), 0)
    assert report["lost_on_devices"] == 400 - len(waiting)
    again = edge_log.collect(project, [Path(copy), Path(copy)])
    assert (again["added"], again["already_there"]) == (0, 2 * len(waiting))
    (log,) = project.path("data/predictions").glob("*.jsonl")
    assert len(log.read_bytes().splitlines()) == len(waiting)
    drift = monitoring.run(project)
    assert drift["source"] != "test set" and drift["rows"] == len(waiting)


def test_events_of_devices_and_of_the_service_are_alike(project: Project, tmp_path: Path) -> None:
    there = start(project, tmp_path)
    there.follow(publish(project, "v2"))
    there.score([ROW | {"event_id": "e1"}])
    edge_log.collect(project, [there.queue.hand_over()])
    with service(project) as running:
        running.post("/predict", json=[ROW | {"event_id": "e2"}])
    (log,) = project.path("data/predictions").glob("*.jsonl")
    mine, theirs = (json.loads(line) for line in log.read_bytes().splitlines())
    assert list(mine) == list(theirs)
    apart = {"time", "request_id", "event_id"}
    assert {n: v for n, v in mine.items() if n not in apart} == {
        n: v for n, v in theirs.items() if n not in apart
    }


def test_what_is_no_event_is_counted_and_left_out(project: Project, tmp_path: Path) -> None:
    there = start(project, tmp_path)
    there.follow(publish(project, "v2"))
    there.score([ROW])
    event = json.loads(there.queue.hand_over().read_bytes())
    wrong: dict[str, dict[str, Any]] = {
        "unknown version": {"version": "v9"},
        "time without an offset or in the future": {"time": "2999-01-01T00:00:00Z"},
        "another answer than its version gives": {"answer": {"probability": "high"}},
        "a field that the contract does not know": {"row": {"other": 1}},
        "a value that breaks the contract": {"row": {"calls": -1}},
        "event_id or device too long or empty": {"event_id": ""},
    }
    lines = [json.dumps(event | change) for change in wrong.values()]
    lines += ['{"half', json.dumps(event | {"row": {"plan": "x" * 70_000}}), json.dumps(event)]
    (tmp_path / "in.jsonl").write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n")
    report = edge_log.collect(project, [tmp_path / "in.jsonl"])
    assert report["reasons"] == dict.fromkeys(sorted(wrong), 1) | {"no event": 3}
    assert (report["events"], report["added"]) == (len(wrong) + 4, 1)
    with pytest.raises(ProjectError, match="no such file"):
        edge_log.collect(project, [tmp_path / "nothing"])


def test_a_line_that_a_kill_cut_off_costs_no_other(project: Project, tmp_path: Path) -> None:
    there = start(project, tmp_path)
    there.follow(publish(project, "v2"))
    there.score([ROW])
    with there.queue.path.open("ab") as file:
        file.write(b'{"event_id": "cut o')
    there.score([ROW])
    report = edge_log.collect(project, [there.queue.hand_over()])
    assert (report["events"], report["added"], report["rejected"]) == (3, 2, 1)
    (log,) = project.path("data/predictions").glob("*.jsonl")
    log.write_bytes(log.read_bytes()[:-20])
    again = edge_log.collect(project, [there.queue.outbox])
    assert again["added"] == 1


def test_the_file_runs_alone(project: Project, tmp_path: Path) -> None:
    """Without the project: numpy, onnxruntime and the package are all it needs."""
    folder = project.path(f"{edge.FOLDER}/v2")
    shutil.copytree(folder, tmp_path / "device")
    (tmp_path / "rows.json").write_text(json.dumps([ROW]))
    command = [sys.executable, "-I", "device.py", ".", "../rows.json"]
    run = partial(subprocess.run, command, cwd=tmp_path / "device", capture_output=True, text=True)
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = run(env=plain | {"EDGE_PUBLIC_KEY": public(project)}, check=False)
    assert json.loads(done.stdout) == opened(project).score([ROW]), done.stderr
    assert "not signed" in run(env=plain, check=False).stderr
    (tmp_path / "rows.json").write_text(json.dumps({"calls": -1}))
    done = run(env=plain | {"EDGE_PUBLIC_KEY": public(project)}, check=False)
    assert done.returncode == 1 and '"problem": "minimum"' in done.stderr
    imported = re.findall(r"^(?:from|import) (\w+)", (folder / "device.py").read_text(), re.M)
    assert {*imported} - {*sys.stdlib_module_names} == {"numpy", "onnxruntime"}


# In JavaScript

PACKAGES = {"onnxruntime-web": "1.30.0", "onnxruntime-node": "1.30.0"}
ASK = r"""
import fs from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const [folder, publicKey, input, modules, name] = process.argv.slice(2);
const ort = await import(pathToFileURL(createRequire(`${modules}/x.js`).resolve(name)));
const { Broken, Refused, Scorer, ring } = await import(pathToFileURL(`${folder}/scorer.mjs`));
const read = async file => new Uint8Array(fs.readFileSync(`${folder}/${file}`));
const told = { ring: await ring("d1", "v2"), answers: [] };
try {
  const scorer = await Scorer.load(ort.default ?? ort, read, publicKey);
  for (const rows of JSON.parse(fs.readFileSync(input)))
    try {
      told.answers.push(await scorer.score(rows));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      told.answers.push({ errors: error.problems });
    }
} catch (error) {
  if (!(error instanceof Broken)) throw error;
  told.broken = error.message;
}
console.log(JSON.stringify(told));
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with onnxruntime for JavaScript."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("NOT TESTED: the JavaScript runtime of devices, as npm or node is missing")
    folder = tmp_path_factory.mktemp("npm")
    (folder / "package.json").write_text("{}")
    listed = [f"{name}@{version}" for name, version in PACKAGES.items()]
    options = ["--no-fund", "--no-audit", "--no-update-notifier", "--prefer-offline"]
    plain = os.environ | {"ONNXRUNTIME_NODE_INSTALL": "skip"}  # its own files hold the CPU library
    done = subprocess.run(
        [npm, "install", *options, *listed],
        cwd=folder, env=plain, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        pytest.skip(f"NOT TESTED: the JavaScript runtime of devices, as npm says {last}")
    return folder


def asked(package: Path, key: str, modules: Path, name: str, requests: list[Any]) -> Any:
    """Return what the JavaScript runtime says to lists of rows."""
    (modules / "ask.mjs").write_text(ASK)
    (modules / "in.json").write_text(json.dumps(requests))
    command = ["node", "ask.mjs", package, key, "in.json", modules, name]
    done = subprocess.run(command, cwd=modules, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", PACKAGES)
def test_javascript_gives_the_answers_and_refusals_of_the_service(
    trained: Path, modules: Path, name: str
) -> None:
    """Scores within 1e-6, everything else equal; but 2.0 and 2 are one number in JavaScript."""
    project = Project(trained)
    scorer = Scorer.load(project.path("models/v2"))
    golden = [dict(row) for row in read_golden(project.path("models/v2"), scorer.columns).rows]
    broken = [[ROW, row] for row in BROKEN]
    requests = [golden + ROWS, *broken]
    folder, key = project.path(f"{edge.FOLDER}/v2"), public(project)
    told = asked(folder, key, modules, name, requests)
    with service(project) as there:
        bodies = map(msgspec.json.encode, requests)
        wanted = [there.post("/predict", content=body).json() for body in bodies]
    answers, refusals = told["answers"][0]["predictions"], told["answers"][1:]
    for found, right in zip(answers, wanted[0]["predictions"], strict=True):
        assert abs(found.pop("probability") - right.pop("probability")) <= 1e-6
        assert found == right
    assert [each["errors"] for each in refusals] == [each["errors"] for each in wanted[1:]]
    assert told["ring"] == device.ring("d1", "v2")


def test_javascript_refuses_what_was_changed(project: Project, modules: Path) -> None:
    folder, key = project.path(f"{edge.FOLDER}/v2"), public(project)
    ask = partial(asked, folder, modules=modules, name="onnxruntime-web", requests=[])
    assert "not signed" in ask(key="11" * 32)["broken"]
    path = folder / "contract.json"
    path.write_bytes(path.read_bytes().replace(b"v2", b"v3"))
    assert ask(key=key)["broken"] == "contract.json is changed"
    spoil_golden(project, "v2")
    assert "golden.json" not in (said := ask(key=key)["broken"]) and "changed" in said


KINDS = r"""
import fs from "node:fs";
import { pathToFileURL } from "node:url";
const [module, input] = process.argv.slice(2);
const { Scorer } = await import(pathToFileURL(module));
const { contract, values } = JSON.parse(fs.readFileSync(input));
const scorer = new Scorer({}, contract);
const isMoment = value => value && typeof value === "object" && "day" in value;
const plain = value => (isMoment(value) ? value.day * 86400e6 + value.micros : value);
const told = contract.columns.map(column => values.map(each => {
  const value = scorer.value(each, column), rule = scorer.broken(value, column);
  return [rule, rule ? null : plain(value)];
}));
console.log(JSON.stringify(told));
"""


def test_javascript_reads_every_kind_and_format(tmp_path: Path) -> None:
    if not shutil.which("node"):
        pytest.skip("NOT TESTED: the JavaScript runtime of devices, as node is missing")
    contract = json.loads(storage.json_bytes(contract_of(COLUMNS)))
    # Not what JavaScript cannot tell apart or hold: 2.0 and 2, and integers beyond 2**53.
    values = [v for v in VALUES if v not in (2**63, -(2**63), 1e16, 1e309)]
    (tmp_path / "in.json").write_text(json.dumps({"contract": contract, "values": values}))
    (tmp_path / "kinds.mjs").write_text(KINDS)
    module = Path(device.__file__).resolve().with_name("scorer.mjs")
    command = ["node", "kinds.mjs", module, "in.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for column, found in zip(COLUMNS, json.loads(done.stdout), strict=True):
        for value, (rule, read) in zip(values, found, strict=True):
            wanted = read_value(value, column)
            assert rule == breach(wanted, column), (column.name, value)
            if rule or wanted is None:
                continue
            if isinstance(wanted, dt.date):
                start = dt.datetime(1970, 1, 1)
                moment = dt.datetime.combine(wanted, getattr(wanted, "time", dt.time)())
                wanted = (moment - start) // dt.timedelta(microseconds=1)
            assert read == wanted, (column.name, value)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder with the types that browsers ask for."""

    extensions_map: ClassVar = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@NIGHTLY
def test_the_page_scores_a_row_in_a_browser(trained: Path, modules: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("NOT TESTED: the page of devices, as no Chromium is there")
    project = Project(trained)
    site = shutil.copytree(project.path(f"{edge.FOLDER}/v2"), tmp_path / "site")
    (site / "ort").mkdir()
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        shutil.copy(modules / "node_modules/onnxruntime-web/dist" / name, site / "ort")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/index.html#example"
    command = [
        browser,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=20000",
    ]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        (site / "scorer.mjs").rename(site / "gone.mjs")
    finally:
        server.shutdown()
    text = done.stdout
    assert 'data-ready="yes"' in text, text[-3000:]
    assert re.search(r"Model v2 for y: signature right, 50 golden rows agree", text)
    golden = json.loads((site / "golden.json").read_bytes())
    first = golden["answers"]["probability"]["values"][0]
    assert f"{first:.4f}".rstrip("0") in text and "Model v2, " in text


# Projects

TASKS = sorted(
    path.name for path in (ROOT / "questions").iterdir() if (path / "rules.yaml").exists()
)


@pytest.mark.parametrize("modes", [["edge"], ["rest", "edge"]], ids="+".join)
def test_what_must_look_back_is_not_delivered_to_devices(tmp_path: Path, modes: list[str]) -> None:
    with pytest.raises(Exception, match="no edge: a list looks back to what a user took"):
        render(tmp_path / "p", task_type="recommendation", deployment_modes=modes)
    assert not (tmp_path / "p").exists()


@NIGHTLY
@pytest.mark.parametrize(
    "task", [task for task in TASKS if task not in ("forecasting", "recommendation")]
)
def test_a_project_of_each_task_packages_its_champion(tmp_path: Path, task: str) -> None:
    folder = render(tmp_path / "p", task_type=task, deployment_modes=["edge"])
    made = Made(folder, next((folder / "src").iterdir()).name, {})
    said = made.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/code/test_edge.py")
    assert "passed" in said and "failed" not in said


def test_each_project_has_the_files_and_words_of_its_modes_alone(tmp_path: Path) -> None:
    alone = tree(render(tmp_path / "edge", deployment_modes=["edge"]))
    others = tree(render(tmp_path / "rest", deployment_modes=["rest", "batch"]))
    words = re.compile(rb"ml edge|edge_|serve\.edge|on_device|on devices", re.IGNORECASE)
    assert {n for n, text in others.items() if words.search(text)} <= {"plan/plan.yaml"}
    assert not any("edge" in name or "device" in name for name in others)
    foreign = re.compile(rb"fastapi|uvicorn|grpc|localhost:8000|ml serve\b|ml score\b", re.I)
    told = {"README.md", "PLAN.md", "AGENTS.md", "pyproject.toml", "deploy/Dockerfile"}
    told |= {"docs/runbook.md", "docs/model_card.md", "config.yaml"}
    assert {n for n in told & alone.keys() if foreign.search(alone[n])} == set()
    plan = yaml.safe_load(alone["plan/plan.yaml"])
    assert plan["decisions"]["DEP-01"]["value"] == ["signed_edge_package"]
    assert plan["decisions"]["DEP-03"]["value"] == "rings_of_devices"
    said = {
        id: " ".join(plan["blocks"][id]["lines"]).lower() for id in ("DEP-01", "DEP-02", "DEP-03")
    }
    assert "not on devices:" in said["DEP-01"] and "rings:" in said["DEP-03"]
    assert "budget: a package has at most" in said["DEP-02"]
    assert "who holds the key" in plan["blocks"]["DEP-03"]["question"]
