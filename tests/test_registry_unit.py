"""The registry: who is champion, what is refused, and what a kill may leave."""

import json
import os
import sys

import helpers.bundles as small
import numpy as np
import onnx
import pytest
import yaml

from package_name.engine import audit, git, storage, task
from package_name.engine.data import contract
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model import graph, plain, registry, retirement, stored_graph
from package_name.engine.model.head import Head
from package_name.engine.model.scorer import FILES, FeatureSpec, NumericFeature, Scorer, session


@pytest.fixture
def project(tmp_path):
    return small.project(tmp_path)


def statuses(project):
    return {name: entry.status for name, entry in registry.read(project).versions.items()}


def test_a_new_project_says_what_to_do(project):
    assert registry.next_version(project) == "v1"
    for ask in (registry.newest, registry.champion_folder, registry.rollback):
        with pytest.raises(ProjectError, match=r"`ml "):
            ask(project)
    with pytest.raises(ProjectError, match="none, run `ml train`"):
        registry.promote(project, "v1")
    assert registry.table(project) == "no model yet: run `ml train`"


def test_promote_and_roll_back(project):
    for seed in range(3):
        small.train(project, rows=400, seed=seed)
    for version in ("v1", "v2", "v3", "v2"):
        registry.promote(project, version)
    assert statuses(project) == {"v1": "retired", "v2": "champion", "v3": "retired"}
    assert registry.champion_folder(project) == project.path("models/v2")
    assert registry.newest(project) == "v3" and registry.next_version(project) == "v4"
    assert [registry.rollback(project) for _ in range(3)] == ["v3", "v2", "v1"]
    assert statuses(project) == {"v1": "champion", "v2": "retired", "v3": "retired"}
    with pytest.raises(ProjectError, match="no earlier champion"):
        registry.rollback(project)
    registry.promote(project, "v1")
    assert registry.read(project).previous == []
    assert len(audit.entries(project, "promoted")) == 4  # the last changed nothing
    registry.promote(project, "v2")
    assert registry.rollback(project, "eva@example.org") == "v1"
    assert [e["by"] for e in audit.entries(project, "rolled back")][2:] == [
        "unknown", "eva@example.org",
    ]  # fmt: skip
    lines = registry.table(project).splitlines()
    assert [line.split()[0] for line in lines] == ["version", "v3", "v2", "v1"]
    assert "passed" in lines[1] and "champion" in lines[3]


def test_whoever_git_signs_as_is_logged(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    assert git.user(tmp_path) == "unknown"
    (tmp_path / "config").write_text("[user]\nname = Ana Maria\n")
    assert git.user(tmp_path) == "Ana Maria"
    (tmp_path / "config").write_text("[user]\nname = Ana Maria\nemail = ana@example.org\n")
    assert git.user(tmp_path) == "ana@example.org"


def test_a_version_that_was_judged_by_another_plan_is_not_promoted(project):
    version = small.train(project, rows=400, evaluated=False)
    judged = {"plan": {"min_gain": 0.02}}
    project.plan.answers["min_gain"] = 0.02
    registry.set_evaluated(project, version, judged, gate_passed=True, metric=0.8)
    registry.promote(project, version)
    project.plan.answers["min_gain"] = 0.03
    with pytest.raises(CheckFailed, match=f"min_gain .* since `ml evaluate {version}`"):
        registry.promote(project, version)


def test_evaluating_the_champion_again_leaves_it_champion(project):
    version = small.train(project, rows=400)
    registry.promote(project, version)
    registry.set_evaluated(project, version, {}, gate_passed=False, metric=float("nan"))
    entry = registry.read(project).versions[version]
    assert (entry.status, entry.gate_passed, entry.metric) == ("champion", False, None)


def test_a_closed_gate_needs_a_reason_and_the_reason_is_kept(project):
    version = small.train(project, rows=400, evaluated=False)
    for reason in (None, "no service could load it"):
        with pytest.raises(CheckFailed, match="not evaluated"):
            registry.promote(project, version, force_reason=reason)
    path = project.path("models/registry.json")
    known = json.loads(path.read_text())
    path.write_text(json.dumps(known | {"previous": [version]}))  # of an older template
    with pytest.raises(CheckFailed, match="does not come back: it is not evaluated"):
        registry.rollback(project)
    path.write_text(json.dumps(known))
    registry.set_evaluated(project, version, {}, gate_passed=False, metric=0.5)
    for reason in (None, "", "  "):
        with pytest.raises(CheckFailed, match="gate did not pass"):
            registry.promote(project, version, force_reason=reason)
    assert registry.read(project).champion is None
    registry.promote(project, version, force_reason="pilot with ten users")
    forced = registry.read(project).versions[version].forced
    assert "pilot with ten users" in forced and "gate did not pass" in forced
    assert "pilot" in registry.table(project)
    registry.promote(project, version, force_reason="and ten more", by="ana@example.org")
    first, second = audit.entries(project, "promoted")  # also of what is the champion already
    assert (first["forced"], first["by"]) == (forced, "unknown")
    assert "and ten more" in second["forced"] and second["by"] == "ana@example.org"


def test_another_contract_is_refused(project):
    version = small.train(project, rows=400)
    changed = small.document()
    changed["schema"][0]["properties"][0]["name"] = "amount_eur"
    storage.write_text(project.contract_path, yaml.safe_dump(changed))
    contract.read(project.contract_path)
    with pytest.raises(CheckFailed, match="contract has changed"):
        registry.promote(project, version)


def test_a_changed_bundle_is_never_promoted_nor_rolled_back_to(project):
    first, second = (small.train(project, rows=400, seed=seed) for seed in range(2))
    registry.promote(project, first)
    registry.promote(project, second)
    before = registry.read(project)
    for name in ("model_encoded.onnx", "profile.json"):
        path = project.path(f"models/{first}/{name}")
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ProjectError, match=name):
            registry.promote(project, first, force_reason="please")
        with pytest.raises(ProjectError, match=name):
            registry.rollback(project)
        path.write_bytes(whole)
    project.path(f"models/{first}/manifest.json").unlink()
    with pytest.raises(ProjectError, match="models/v1 is gone"):
        registry.rollback(project)
    assert registry.read(project) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"champion": "v1"}',
        b'{"versions": {"v1": {}}}',
        b'{"previous": ["v9"], "versions": {}}',
    ],
)
def test_a_damaged_registry_is_one_line_and_is_built_again(project, content):
    small.train(project, rows=400)
    small.train(project, rows=400, evaluated=False)
    registry.promote(project, "v1")
    good = registry.read(project)
    path = project.path("models/registry.json")
    path.write_bytes(content)
    with pytest.raises(ProjectError, match="ml models --rebuild") as caught:
        registry.promote(project, "v1")
    assert "\n" not in str(caught.value)
    rebuilt = registry.rebuild(project)
    assert rebuilt.champion is None and rebuilt == registry.read(project)
    assert rebuilt.versions["v1"].metric == good.versions["v1"].metric
    assert [entry.gate_passed for entry in rebuilt.versions.values()] == [True, None]
    registry.promote(project, "v1")
    assert registry.rebuild(project).champion == "v1"


def test_a_lost_registry_is_built_again_rather_than_the_models(project):
    assert registry.no_champion(project).endswith("run `ml train`")
    small.train(project, rows=400)
    project.path("models/registry.json").unlink()
    with pytest.raises(ProjectError, match="`ml models --rebuild` adds what models/ holds"):
        registry.champion_folder(project)
    registry.rebuild(project)
    assert "`ml promote VERSION`" in registry.no_champion(project)


def test_leftovers_of_a_kill_are_ignored_then_cleared(project):
    small.train(project, rows=400)
    models = project.path("models")
    (models / ".tmp-dead").mkdir()
    (models / ".tmp-dead" / "model.onnx").write_bytes(b"half")
    (models / ".registry.json.tmp").write_bytes(b"{")
    (models / "v2").mkdir()  # no manifest: not a version
    (models / "v7").mkdir()
    (models / "v7" / "manifest.json").write_bytes(b"{}")  # killed before it was registered
    assert list(registry.read(project).versions) == ["v1"]
    assert registry.next_version(project) == "v8"
    registry.promote(project, "v1")
    assert not list(models.glob(".*"))


def killed_after(lines: int, act) -> int:
    """Do something in a child process that dies after some executed lines; return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = lines

    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename.endswith(("storage.py", "registry.py", "tempfile.py")):
            left -= 1
            if not left:
                os._exit(9)
        return trace

    sys.settrace(trace)
    try:
        act()
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_kill_at_any_line_leaves_the_old_or_the_new_state(project):
    """Kill a rollback at growing numbers of executed lines, until one gets through."""
    small.train(project, rows=400)
    small.train(project, rows=400)
    registry.promote(project, "v1")
    registry.promote(project, "v2")
    file = project.path("models/registry.json")
    old = file.read_bytes()
    states, lines, code = [], 5, 9
    while code:
        file.write_bytes(old)
        code = killed_after(lines, lambda: registry.rollback(project))
        assert code in (0, 9)
        states.append(registry.read(project).champion)
        lines += 5
    assert len(states) > 10 and set(states) == {"v1", "v2"}
    registry.promote(project, "v2")
    assert not [path for path in project.path("models").iterdir() if path.name.startswith(".")]
    assert Scorer.load(registry.champion_folder(project)).version == "v2"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("first", [True, False])
def test_a_killed_evaluation_leaves_a_version_that_is_whole(project, first):
    version = small.train(project, rows=400, evaluated=not first)
    lines, code, found = 5, 9, set()

    def evaluate():
        registry.set_evaluated(project, version, {"n": lines}, gate_passed=True, metric=0.7)

    while code:
        code = killed_after(lines, evaluate)
        assert code in (0, 9)
        registry._verified(project, registry.read(project), version)
        found.add(registry.read(project).versions[version].gate_passed)
        lines += 3
    assert len(registry.read(project).versions[version].metrics_sha256) == 1
    assert found == {True} | ({None} if first else set())


@pytest.mark.parametrize("name", ["metrics.json", "training.json", "rivals/none.onnx"])
def test_each_file_of_a_version_is_the_one_that_was_written(project, name):
    """A changed digit, a file that is gone, one too many: no way in believes it."""
    version = small.train(project, rows=400)
    registry.promote(project, version)
    small.train(project, rows=400, seed=1)
    registry.promote(project, "v2")
    path = project.path(f"models/v1/{name}")
    whole = path.read_bytes() if path.exists() else None
    spoilt = [whole.replace(b"0", b"1", 1), whole + b" ", None] if whole else [b"x"]
    asked = (
        lambda: registry.rollback(project),
        lambda: registry.promote(project, "v1", force_reason="please"),
    )
    for content in spoilt:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content) if content else path.unlink()
        for ask in asked:
            with pytest.raises(ProjectError, match=name) as caught:
                ask()
            assert "\n" not in str(caught.value)
    path.write_bytes(whole) if whole else path.unlink()
    path.with_name(".DS_Store").write_bytes(b"x")  # of a file system
    assert registry.rollback(project) == "v1"
    assert registry.champion_folder(project) == project.path("models/v1")


def test_evaluating_again_mends_what_an_evaluation_wrote(project):
    version = small.train(project, rows=400)
    registry.promote(project, version)
    path = project.path("models/v1/metrics.json")
    path.write_bytes(path.read_bytes().replace(b"0", b"1"))
    with pytest.raises(ProjectError, match=r"metrics\.json is .*`ml evaluate v1` writes it again"):
        registry.champion_folder(project)
    assert registry.folder(project, "v1") == path.parent
    registry.set_evaluated(project, "v1", {"a": 1}, gate_passed=True, metric=0.7)
    assert registry.champion_folder(project) == path.parent
    entry = registry.read(project).versions["v1"]
    assert entry.metrics_sha256 == (storage.sha256(path),)


def test_a_version_of_an_older_template_is_sealed_when_it_is_promoted(project):
    version = small.train(project, rows=400)
    path = project.path("models/registry.json")
    old = storage.read_json(path)
    del old["versions"][version]["metrics_sha256"], old["versions"][version]["manifest_sha256"]
    storage.write_json(path, old)
    registry.promote(project, version)
    project.path(f"models/{version}/metrics.json").write_text("{}")
    with pytest.raises(ProjectError, match=r"v1/metrics\.json is not the one that was registered"):
        registry.champion_folder(project)


def manifest(project, version="v1"):
    return project.path(f"models/{version}/manifest.json")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decision": {"threshold": 0.41}}, "has threshold 0.4.* says 0.4"),
        ({"decision": {}}, "has threshold 0.4.* says none"),
        ({"outputs": []}, "other outputs"),
        ({"head": "sigmoid"}, "head none"),
        ({"head": "isotonic"}, "head none"),
        ({"files": {}}, "no hash of"),
        ({"more": 1}, "manifest.json is .* unknown field `more`"),
        ({"champion": None}, "manifest.json is missing or damaged"),
        ({"features": ["amount"]}, "other features"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_the_manifest_says_is_compared_with_the_graph(project, changes, says):
    """Also without a registry, as where a bundle was copied to."""
    small.train(project, rows=400)
    content = storage.read_json(manifest(project)) | changes
    storage.write_json(manifest(project), {k: v for k, v in content.items() if v is not None})
    with pytest.raises(ProjectError, match=says) as caught:
        Scorer.load(project.path("models/v1"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_that_is_used_needs_its_hash(project, name):
    small.train(project, rows=400)
    content = storage.read_json(manifest(project))
    del content["files"][name]
    storage.write_json(manifest(project), content)
    with pytest.raises(ProjectError, match=f"no hash of {name}"):
        Scorer.load(project.path("models/v1"))


def test_a_manifest_is_what_was_registered(project):
    small.train(project, rows=400)
    registry.promote(project, "v1")
    whole = manifest(project).read_bytes()
    manifest(project).write_bytes(whole.replace(b'"version": "v1"', b'"version": "v9"'))
    asked = (
        lambda: registry.champion_folder(project),
        lambda: registry.folder(project, "v1"),
        lambda: registry.promote(project, "v1", force_reason="please"),
    )
    for ask in asked:
        with pytest.raises(ProjectError, match="not the one that was registered"):
            ask()
    with pytest.raises(ProjectError, match="calls itself v9"):
        registry.rebuild(project)
    manifest(project).write_bytes(whole.replace(b'"task": "binary"', b'"task": "other"'))
    registry.rebuild(project)  # which does not believe what it has a hash of
    with pytest.raises(ProjectError, match="not the one that was registered"):
        registry.champion_folder(project)
    manifest(project).write_bytes(whole)
    assert registry.champion_folder(project).name == "v1"


def test_an_entry_of_an_older_template_gets_its_hash_with_the_promotion(project):
    small.train(project, rows=400)
    found = registry.read(project)
    found.versions["v1"].manifest_sha256 = None
    storage.write_json(project.path("models/registry.json"), found)
    registry.promote(project, "v1")
    sealed = registry.read(project).versions["v1"].manifest_sha256
    assert sealed == storage.sha256(manifest(project))


@pytest.mark.parametrize("method", ["none", "sigmoid", "isotonic"])
@pytest.mark.parametrize("members", [1, 2])
def test_a_graph_tells_its_constants(method, members):
    spec = FeatureSpec((NumericFeature("a", "a"),), ())
    zero = np.zeros(1, np.float32)
    model = plain.Linear(0.0, zero, zero, zero, (), plain.LOGIT)
    knots = np.array([0.1, 0.9], np.float32)
    found = Head(method, 1.2, 0.1, knots, knots, 0.3)
    member = graph.Member(model, lambda x: np.zeros(len(x)), share=1 / members)
    predictor = graph.Predictor((member,) * members, found)
    for encoded in (True, False):
        content = graph.emit(predictor, spec, encoded=encoded)
        told = {"threshold": float(np.float32(0.3)), "head": method}
        assert stored_graph.stated(content, task.stated) == told
        stored_graph.refuse_external(content)


@pytest.mark.parametrize("method", ["none", "sigmoid", "isotonic"])
def test_a_graph_repeats_a_calibration_next_to_0_and_1(method):
    """Single precision has lost the log-odds of such a probability."""
    spec = FeatureSpec((NumericFeature("a", "a"),), ())
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    model = plain.Linear(0.0, zero, one, zero, (), plain.LOGIT)
    knots = np.array([0.1, 0.9], np.float32)
    member = graph.Member(model, lambda x: plain.predict_linear(model, x))
    predictor = graph.Predictor((member,), Head(method, 0.25, -0.6, knots, knots))
    x = np.r_[-1e14, np.linspace(-20, 20, 401), 1e14].astype(np.float32)[:, None]
    content = graph.emit(predictor, spec, encoded=True)
    answer = session(content).run(None, {"x": x})[0][:, 0]
    np.testing.assert_allclose(answer, predictor.predict(x), rtol=0, atol=1e-6)


def test_other_files_are_no_graph_of_this_project():
    for content in (b"", b"\xff" * 40, b"text", b"\x3a\x04ab"):
        with pytest.raises(ProjectError, match="not a graph of this project"):
            stored_graph.stated(content, task.stated)


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph"])
def test_numbers_outside_of_a_graph_are_refused(tmp_path, place):
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    (tmp_path / "weights.bin").write_bytes(np.ones(4, np.float32).tobytes())
    held = onnx.helper.make_node("Constant", [], ["y"], value=tensor)
    nodes, tensors = [held], []
    if place == "initializer":
        nodes, tensors = [onnx.helper.make_node("Identity", ["w"], ["y"])], [tensor]
    out = [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])]
    if place == "subgraph":
        body = onnx.helper.make_graph(nodes, "body", [], out)
        flag = onnx.numpy_helper.from_array(np.array(True), "flag")
        both = {"then_branch": body, "else_branch": body}
        nodes, tensors = [onnx.helper.make_node("If", ["flag"], ["y"], **both)], [flag]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], out, tensors))
    with pytest.raises(ProjectError, match="data outside of itself"):
        session(model.SerializeToString())


def test_a_model_of_another_task_says_so_in_one_line(project):
    small.train(project, rows=400)
    folder = project.path("models/v1")
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"task": "binary"', b'"task": "regression"'))
    with pytest.raises(ProjectError, match=r"v1: it is a model for task_type regression, this"):
        Scorer.load(folder)


def test_no_rollback_leads_to_a_model_of_another_task(project, monkeypatch):
    """As after `ml update --data task_type=...`: the versions before it stay in the registry."""
    for seed in range(2):
        registry.promote(project, small.train(project, rows=400, seed=seed))
    before = project.path("models/registry.json").read_bytes()
    monkeypatch.setattr(task, "TASK", "regression")
    back = (
        r"v1: it is a model for task_type binary, .*`ml update --data task_type=binary` goes back"
    )
    with pytest.raises(ProjectError, match=back):
        registry.rollback(project)
    assert project.path("models/registry.json").read_bytes() == before


def test_a_retired_model_answers_no_more_and_its_files_are_listed(project):
    with pytest.raises(ProjectError, match="no version to retire"):
        retirement.run(project, "done")
    for seed in range(2):
        small.train(project, rows=400, seed=seed)
    registry.promote(project, "v1")
    registry.promote(project, "v2")
    for reason in ("", "  "):
        with pytest.raises(ProjectError, match="say why"):
            retirement.run(project, reason)
    assert registry.read(project).champion == "v2"
    report = retirement.run(project, "the rule\ndoes as well", "eva@example.org")
    [note] = audit.entries(project, "retired")
    assert (note["version"], note["by"]) == ("v2", "eva@example.org")
    assert note["reason"] == "the rule does as well"
    assert statuses(project) == {"v1": "retired", "v2": "retired"}
    kept = storage.read_json(project.path("models/retired.json"), dict)
    for version in ("v1", "v2"):
        files = kept["versions"][version]["files"]
        assert set(files) >= {*FILES, "manifest.json"}
        for name, digest in files.items():
            assert storage.sha256(project.path(f"models/{version}/{name}")) == digest
    text = retirement.told(report)
    assert "v2 answers no more" in text and "left here: models/" in text
    assert "out of reach" in text
    for ask in (registry.champion_folder, registry.rollback):
        with pytest.raises(ProjectError) as error:
            ask(project)
    with pytest.raises(registry.Retired, match=r"retired on .*: the rule does as well"):
        registry.champion_folder(project)
    with pytest.raises(ProjectError, match="already: the rule does as well"):
        retirement.run(project, "again")
    with pytest.raises(CheckFailed, match="not promoted: the model was retired on"):
        registry.promote(project, "v1")  # as a run of the pipeline would
    assert registry.rebuild(project).ended == registry.read(project).ended
    assert "\n" not in str(error.value)
    registry.promote(project, "v1", force_reason="needed again")
    assert registry.read(project).ended is None
    assert registry.champion_folder(project) == project.path("models/v1")
