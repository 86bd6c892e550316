"""Versions in a folder and in a real object store: whole, signed, or not taken."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helpers.bundles as small
import msgspec
import polars as pl
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from helpers.buckets import Buckets
from helpers.rendering import render
from helpers.running import Made
from helpers.service import free_port
from starlette.testclient import TestClient

from package_name.engine import signing, storage, stores
from package_name.engine.errors import ProjectError
from package_name.engine.model import exchange, registry
from package_name.engine.model.scorer import Scorer, read_golden
from package_name.engine.serving import rest
from package_name.engine.settings import Project

SECRET = "5e" * 32
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SECRET))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two versions, of which v1 is champion, and the public key."""
    made = small.project(tmp_path_factory.mktemp("trained"))
    plan = yaml.safe_load(made.path("plan/plan.yaml").read_text())
    plan["answers"] = {"latency_ms": 100}
    storage.write_text(made.path("plan/plan.yaml"), yaml.safe_dump(plan))
    for seed in range(2):
        small.train(made, rows=600, seed=seed)
    registry.promote(made, "v1")
    storage.write_text(made.path("deploy/models.pub"), SIGNER.public_key().public_bytes_raw().hex())
    return made.root


@pytest.fixture
def project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("ML_REGISTRY_KEY", SECRET)
    shutil.copytree(trained, tmp_path / "here")
    return Project(tmp_path / "here")


@pytest.fixture
def clone(trained: Path, tmp_path: Path) -> Project:
    """The project elsewhere: all that git has, so no version."""
    shutil.copytree(trained, tmp_path / "there", ignore=shutil.ignore_patterns("models", "data"))
    return Project(tmp_path / "there")


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of either kind, empty."""
    if request.param == "folder":
        return str(tmp_path / "store")
    server: Buckets = request.getfixturevalue("buckets")
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    return f"s3://lake/{tmp_path.name}/models"


def held(project: Project) -> dict[str, bytes]:
    """Return all files of the versions."""
    found = project.path("models").rglob("*")
    return {str(p.relative_to(project.root)): p.read_bytes() for p in found if p.is_file()}


def sealed(place: str, version: str = "v1") -> exchange.Seal:
    content = stores.opened(place).read(f"small/{version}.json")
    return msgspec.json.decode(json.loads(content or b"")["seal"], type=exchange.Seal)


def seal(place: str, new: exchange.Seal, version: str = "v1", signer=SIGNER) -> None:
    """Write a seal with a signature that is good."""
    text = msgspec.json.encode(new).decode()
    signed = {"seal": text, "signature": signer.sign(text.encode()).hex()}
    stores.opened(place).write(f"small/{version}.json", json.dumps(signed).encode())


def test_a_pushed_version_is_pulled_promoted_and_served(
    project: Project, clone: Project, place: str
) -> None:
    told = exchange.push(project, place)
    assert told["version"] == "v1" and told["sent_bytes"] == told["bytes"] and not told["was_there"]
    again = exchange.push(project, place)
    assert again["was_there"] and again["sent_bytes"] == 0
    exchange.push(project, place, "v2")
    assert exchange.pull(clone, place)["version"] == "v2"  # the newest
    told = exchange.pull(clone, place, "v1")
    assert told["run"] == "run-v1" and told["gate_passed"] and not told["was_there"]
    assert exchange.pull(clone, place, "v1")["was_there"]
    here, there = held(project), held(clone)
    assert {n for n in here if here[n] != there.get(n)} == {"models/registry.json"} != there.keys()
    assert registry.read(clone).champion is None
    registry.promote(clone, "v1")  # by the same checks: nothing is forced
    assert registry.read(clone).versions["v1"].forced is None
    scorer = Scorer.load(clone.path("models/v1"))
    rows = [dict(row) for row in read_golden(clone.path("models/v1"), scorer.columns).rows]
    answers = [
        TestClient(rest.create_app(one)).post("/predict", json=rows) for one in (project, clone)
    ]
    assert answers[0].status_code == 200
    assert answers[0].json()["predictions"] == answers[1].json()["predictions"]


def test_another_judgement_and_another_state_follow(
    project: Project, clone: Project, place: str
) -> None:
    state = project.path("models/v1/state-0123456789abcdef.npz")  # its model asks for none
    state.write_bytes(b"of somebody")
    exchange.push(project, place)
    exchange.pull(clone, place)
    registry.promote(clone, "v1")
    old = storage.sha256(state)
    state.unlink()
    project.path("models/v1/state-fedcba9876543210.npz").write_bytes(b"of nobody")
    storage.write_text(project.path("models/v1/state.json"), "{}")
    registry.set_evaluated(
        project, "v1", {"gate": {"passed": False}}, gate_passed=False, metric=0.4
    )
    told = exchange.push(project, place)
    assert 0 < told["sent_bytes"] < 1000
    assert stores.opened(place).read(f"small/v1/{old}") is None  # who was forgotten is gone
    assert not exchange.pull(clone, place)["was_there"]
    entry = registry.read(clone).versions["v1"]
    assert (entry.status, entry.gate_passed, entry.metric) == ("champion", False, 0.4)
    assert len(entry.metrics_sha256) == 1
    registry.champion_folder(clone)  # as it was recorded
    assert [path.name for path in sorted(clone.path("models/v1").glob("state*"))] == [
        "state-fedcba9876543210.npz",
        "state.json",
    ]


def test_damage_of_equal_length_is_mended_by_another_push(
    project: Project, clone: Project, place: str
) -> None:
    exchange.push(project, place)
    name = f"small/v1/{sealed(place).files['golden.json']}"
    good = stores.opened(place).read(name) or b""
    stores.opened(place).write(name, good[:-2] + bytes([good[-2] ^ 1]) + good[-1:])
    with pytest.raises(ProjectError, match=r"golden\.json is changed.*push it again"):
        exchange.pull(clone, place)
    told = exchange.push(project, place)
    assert told["sent_bytes"] == len(good) and not told["was_there"]
    assert stores.opened(place).read(name) == good
    exchange.pull(clone, place)


def test_of_two_pushes_at_once_the_first_seal_stays(
    project: Project, clone: Project, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.train(clone, rows=600, seed=9)  # another v1
    kind = type(stores.opened(place))
    create = kind.create

    def later(self: stores.Store, name: str, content: bytes) -> bool:
        monkeypatch.setattr(kind, "create", create)
        exchange.push(project, place)  # after the other has seen that no seal is there
        return create(self, name, content)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "create", later)
    with pytest.raises(ProjectError, match=r"v1\.json came from another push at this moment"):
        exchange.push(clone, place, "v1")
    manifest = storage.sha256(project.path("models/v1/manifest.json"))
    assert sealed(place).files["manifest.json"] == manifest
    assert exchange.push(project, place)["was_there"]
    with pytest.raises(ProjectError, match="is another model"):
        exchange.push(clone, place, "v1")


@pytest.mark.parametrize("links", [True, False])
def test_writers_of_a_shared_folder_leave_each_other_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    store = stores.opened(str(tmp_path))
    others = tmp_path / ".a.json.0123abcd.tmp"
    others.write_bytes(b"half")
    if not links:  # as FAT

        def none(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("os.link", none)
    assert store.create("a.json", b"1") and not store.create("a.json", b"2")
    assert store.read("a.json") == b"1"
    store.write("a.json", b"3")
    store.write("a.json", others)
    assert store.read("a.json") == b"half" == others.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [others.name, "a.json"]


CHANGES: dict[str, tuple[Callable[[str, exchange.Seal], None], str]] = {
    "changed": (
        lambda place, old: stores.opened(place).write(
            f"small/v1/{old.files['model_encoded.onnx']}", b"another"
        ),
        "model_encoded.onnx is changed: nothing was taken",
    ),
    "missing": (
        lambda place, old: stores.opened(place).remove(f"small/v1/{old.files['golden.json']}"),
        "golden.json is missing: nothing was taken",
    ),
    "gate": (
        lambda place, old: stores.opened(place).write(
            "small/v1.json",
            (stores.opened(place).read("small/v1.json") or b"").replace(b"true", b"null"),
        ),
        "not signed by the owner of deploy/models.pub",
    ),
    "another key": (
        lambda place, old: seal(place, old, signer=Ed25519PrivateKey.generate()),
        "not signed by the owner of deploy/models.pub",
    ),
    "no signature": (
        lambda place, old: stores.opened(place).write(
            "small/v1.json", b'{"seal": "{}", "signature": "none"}'
        ),
        "not signed by the owner of deploy/models.pub",
    ),
    "no seal": (
        lambda place, old: stores.opened(place).write("small/v1.json", b'{"files": {}}'),
        "v1.json: no seal of a version",
    ),
    "of another project": (
        lambda place, old: seal(place, msgspec.structs.replace(old, project="large")),
        "is v1 of large: not taken",
    ),
    "of another version": (
        lambda place, old: seal(place, msgspec.structs.replace(old, version="v7")),
        "is v7 of small: not taken",
    ),
    "out of its folder": (
        lambda place, old: seal(
            place, msgspec.structs.replace(old, files=old.files | {"../../x": "0" * 64})
        ),
        "of another template",
    ),
    "one file more": (
        lambda place, old: seal(
            place,
            msgspec.structs.replace(old, files=old.files | {"x.py": old.files["golden.json"]}),
        ),
        "x.py is no file of it",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_refused_in_one_line_and_nothing_is_taken(
    project: Project, clone: Project, place: str, change: str
) -> None:
    exchange.push(project, place)
    spoil, said = CHANGES[change]
    spoil(place, sealed(place))
    with pytest.raises(ProjectError) as refused:
        exchange.pull(clone, place, "v1")
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert held(clone) == {}


def test_a_push_or_pull_that_ends_in_the_middle_leaves_nothing_half(
    project: Project, clone: Project, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(stores.opened(place))
    with monkeypatch.context() as patch:

        def breaks(*_: object) -> bool:
            raise KeyboardInterrupt

        patch.setattr(kind, "create", breaks)  # of the seal
        with pytest.raises(KeyboardInterrupt):
            exchange.push(project, place)
    with pytest.raises(ProjectError, match="no version of small is there: `ml push` puts one"):
        exchange.pull(clone, place)
    exchange.push(project, place)
    exchange.pull(clone, place)
    with pytest.raises(ProjectError, match="no version v9 of small; there are: v1"):
        exchange.pull(clone, place, "v9")
    before = held(clone)
    exchange.push(project, place, "v2")
    read = kind.read
    with monkeypatch.context() as patch:
        asked = iter(range(100))

        def stops(self: stores.Store, name: str) -> bytes | None:
            if next(asked) == 4:
                raise ProjectError("the store is gone")
            return read(self, name)

        patch.setattr(kind, "read", stops)
        with pytest.raises(ProjectError, match="the store is gone"):
            exchange.pull(clone, place, "v2")
    assert held(clone) == before
    with monkeypatch.context() as patch:  # killed between the folder and the registry

        def ends(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(registry, "_write", ends)
        with pytest.raises(KeyboardInterrupt):
            exchange.pull(clone, place, "v2")
    assert exchange.pull(clone, place, "v2")["version"] in registry.read(clone).versions


def test_a_name_that_another_model_has_is_never_taken_over(
    project: Project, clone: Project, place: str
) -> None:
    exchange.push(project, place)
    small.train(clone, rows=600, seed=9)
    before = held(clone)
    with pytest.raises(ProjectError, match="models/v1 is another model than"):
        exchange.pull(clone, place)
    assert held(clone) == before
    names = stores.opened(place).read("small/v1.json")
    with pytest.raises(ProjectError, match=r"small/v1\.json is another model \(run run-v1\)"):
        exchange.push(clone, place, "v1")
    assert stores.opened(place).read("small/v1.json") == names


def test_what_is_damaged_or_unknown_here_is_not_pushed(project: Project, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no version 'v3'; there are: v1, v2"):
        exchange.push(project, str(tmp_path / "s"), "v3")
    storage.write_text(project.path("models/v1/columns.json"), "[]")
    with pytest.raises(ProjectError, match=r"columns\.json is changed"):
        exchange.push(project, str(tmp_path / "s"))
    registry.end(project, registry.Ended("2026-11-28", "replaced"))
    with pytest.raises(ProjectError, match="was retired on 2026-11-28"):
        exchange.push(project, str(tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_keys_are_made_once_and_have_to_be_a_pair(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProjectError, match=r"deploy/models\.pub is there: who has it"):
        signing.make(project, exchange.KEYS)
    for value, said in (("", "needs the 64 hex digits"), ("ab" * 32, "is not the secret of")):
        monkeypatch.setenv("ML_REGISTRY_KEY", value)
        with pytest.raises(ProjectError, match=said):
            exchange.push(project, str(tmp_path / "s"))
    secret = signing.make(project, exchange.KEYS, force=True)
    monkeypatch.setenv("ML_REGISTRY_KEY", secret)
    exchange.push(project, str(tmp_path / "s"))
    for content, said in (
        (None, "is not there: take it from"),
        ("key", "is no key of 64 hex digits"),
    ):
        path = project.path("deploy/models.pub")
        path.unlink() if content is None else path.write_text(content)
        with pytest.raises(ProjectError, match=said):
            exchange.pull(project, str(tmp_path / "s"))
        path.write_text("")


def test_a_store_that_refuses_says_so_in_one_line(
    project: Project, buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SECONDS", 1)
    for name, value in buckets.env.items():
        monkeypatch.setenv(name, value)
    exchange.push(project, "s3://lake/refuses")

    def said(address: str) -> str:
        with pytest.raises(ProjectError) as refused:
            exchange.push(project, address)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
        return str(refused.value)

    for wrong in ("gs://lake/x", "s3://", "s3:///x", "https://lake.example.org"):
        assert said(wrong).endswith("give a folder, or s3://BUCKET/PREFIX")
    storage.write_text(tmp_path / "file", "")
    assert "Not a directory" in said(str(tmp_path / "file"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    assert "SignatureDoesNotMatch" in said("s3://lake/refuses") and "hush" not in said(
        "s3://lake/x"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert "does not answer" in said("s3://lake/refuses")
    monkeypatch.setenv("AWS_ENDPOINT_URL", buckets.address.replace("127.0.0.1", "[::ffff:7f00:1]"))
    assert "s3://lake" in said("s3://lake/refuses")  # without TLS only on this machine
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    # A machine of a cloud has keys of its own, which this store does not know.
    assert re.search("no keys: set AWS_ACCESS_KEY_ID|InvalidAccessKeyId", said("s3://lake/refuses"))


def test_an_address_that_is_empty_is_no_folder() -> None:
    for address in ("", " "):
        with pytest.raises(ProjectError, match="the address is empty: give a folder, or s3://"):
            stores.opened(address)


@pytest.mark.nightly
def test_the_workflow_trains_again_behind_the_gate(tmp_path: Path) -> None:
    """The commands of retrain.yml, in a clone that has what git has, with a store in a folder."""
    folder, store = render(tmp_path / "p"), tmp_path / "store"
    settings = {"ML_TRAINING__TRACK": "false", "ML_REGISTRY_KEY": SECRET}
    made = Made(folder, next((folder / "src").iterdir()).name, settings)
    made.ml("run")
    (folder / "deploy/models.pub").write_text(SIGNER.public_key().public_bytes_raw().hex())
    made.ml("push", str(store))
    flow = yaml.safe_load((folder / ".github/workflows/retrain.yml").read_text())
    (step,) = (s for s in flow["jobs"]["retrain"]["steps"] if "ml pull" in s.get("run", ""))
    tool = f"{sys.executable} -m {made.package}"
    script = step["run"].replace("uv run ml", tool).replace("uv run python", sys.executable)

    def run(name: str, reported: dict[str, Any]) -> tuple[Path, str]:
        there = tmp_path / name
        kept = shutil.ignore_patterns("models", "reports", "processed", "quarantine")
        shutil.copytree(folder, there, ignore=kept)
        storage.write_json(there / "reports/drift.json", reported)
        env = made.env | {"PYTHONPATH": str(there / "src"), "MODEL_STORE": str(store)}
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            check=False,
            cwd=there,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return there, done.stdout

    there, said = run("calm", {})
    assert "retrain: no" in said and not (there / "models/v2").exists()
    sample = next((folder / "data").rglob("*.parquet"))
    frame = pl.read_parquet(sample)
    more = frame.head(frame.height // 10).with_columns(
        pl.format("{}x", "customer_id").alias("customer_id")
    )
    pl.concat([frame, more.select(frame.columns)]).write_parquet(sample)
    loud = {"version": "v1", "source": "a log", "level": "act"}
    there, said = run("moved", loud)
    assert "retrain: yes" in said and (there / "models/v2").is_dir()
    assert list(store.rglob("v2.json"))
