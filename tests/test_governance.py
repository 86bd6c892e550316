"""Privacy at each gate, consent, notice, encryption and ethics: decided, shown and checked."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from helpers.plan import render_plan
from helpers.rendering import ROOT, render

from package_name.engine import storage
from package_name.engine.data import consent, contract, ingest, validation
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.settings import Project
from package_name.planner import check, measured

GATES = {f"G{n}" for n in range(7)}


@cache
def plan(**answers: Any) -> dict[str, Any]:
    given = {name: [*v] if isinstance(v, tuple) else v for name, v in answers.items()}
    return render_plan(**{"plan_depth": "standard", **given})[1]


def table(plan: dict[str, Any], id: str) -> list[list[str]]:
    """Return the cells of a block's table, without its head."""
    rows = [line for line in plan["blocks"][id]["lines"] if line.startswith("| ")]
    return [
        [cell.strip() for cell in re.sub("<!--.*?-->", "", row).split("|")[1:-1]] for row in rows
    ][1:]


@pytest.mark.parametrize("modes", [("rest",), ("batch",), ("rest", "grpc", "batch")])
@pytest.mark.parametrize("depth", ["standard", "regulated"])
def test_every_gate_has_a_step_of_privacy(modes: tuple[str, ...], depth: str) -> None:
    found = plan(plan_depth=depth, deployment_modes=modes)
    steps = table(found, "PRIV-02")
    assert {gate for gate, *_ in steps} == GATES and all(map(all, steps))
    for _, _, _, evidence in steps:
        for id in re.findall(r"[A-Z]+-\d\d", evidence):
            assert id in found["blocks"]
        for path in re.findall(r"`(.+?)`", evidence):
            assert (ROOT / "template/src/{{ package_name }}" / path).exists()
    told = {step for _, step, *_ in steps}
    assert ("files of predictions are personal data" in told) == ("batch" in modes)
    assert ("no personal value in the log of predictions" in told) == ("rest" in modes)
    heavy = plan(plan_depth=depth, deployment_modes=modes, significant_effect=True)
    assert {step for _, step, *_ in table(heavy, "PRIV-02")} - told == {
        "a person looks again on request"
    }


def test_without_people_each_block_says_why_it_is_not_needed() -> None:
    found = plan(personal_data=False)
    for id in ("PRIV-02", "PRIV-03", "FAIR-01"):
        block = found["blocks"][id]
        assert not block["applies"] and len(block["lines"]) == 1
        assert "`personal_data` is no" in block["lines"][0]
    assert found["decisions"]["PRIV-04"]["value"] == "no_people"
    assert found["decisions"]["ETH-01"]["value"] == "list_without_people"
    assert "disks" not in found["decisions"]["SEC-01"]["value"]
    asked = {row[1] for row in table(found, "ETH-01")}
    whole = {row[1] for row in table(plan(), "ETH-01")}
    assert asked < whole and not [q for q in asked if re.search("people|person|group|harm", q)]


@pytest.mark.parametrize("people", [True, False])
def test_each_question_of_ethics_is_settled_by_a_block_before_use(people: bool) -> None:
    blocks = plan(personal_data=people)["blocks"]
    rows = table(plan(personal_data=people), "ETH-01")
    assert {part for part, *_ in rows} == {"collection", "storage", "analysis", "model", "use"}
    for _, _, settled in rows:
        for id in settled.split(", "):
            block = blocks[id]
            assert block.get("applies", True) and block["gate"] <= "G4"
            assert block.get("lines") or block["human"] or block["measured"]


def test_a_notice_has_what_people_must_be_told() -> None:
    lines = plan(retention_months=36, decision_mode="automated")["blocks"]["PRIV-03"]["lines"]
    parts = dict(line.split(": ", 1) for line in lines)
    assert [*parts] == ["Applies", "Purpose", "Data", "Use", "Shared", "Kept", "Rights"]
    assert "36 months" in parts["Kept"] and "decides by itself" in parts["Use"]
    assert "(GDPR 15 to 17, 21)" in parts["Rights"]
    of_california = plan(jurisdictions=("us_ca",))["blocks"]["PRIV-03"]["lines"][-1]
    assert "opt-out of sale (Cal. Civ. Code" in of_california and "GDPR" not in of_california
    assert "ask a lawyer" in plan(jurisdictions=("other",))["blocks"]["PRIV-03"]["lines"][-1]
    for ground, said in (("consent", "may be taken back"), ("legitimate_interest", "may object")):
        assert said in plan(legal_basis=ground)["blocks"]["PRIV-03"]["lines"][1]


@pytest.mark.parametrize(
    ("ground", "value", "rule"),
    [
        ("undecided", "ground_first", "consent.open"),
        ("consent", "with_consent", "consent.asked"),
        ("legitimate_interest", "other_ground", "consent.objection"),
        ("public_task", "other_ground", "consent.objection"),
        ("contract", "other_ground", "consent.other"),
        ("legal_obligation", "other_ground", "consent.other"),
    ],
)
def test_consent_follows_the_ground(ground: str, value: str, rule: str) -> None:
    found = plan(legal_basis=ground)["decisions"]["PRIV-04"]
    assert (found["value"], found["rule"]) == (value, rule)


@pytest.mark.parametrize(
    ("answers", "value"),
    [
        ({"deployment_modes": ("rest",)}, ["disks", "gateway", "server"]),
        ({"deployment_modes": ("batch",)}, ["disks", "files", "server"]),
        ({"deployment_modes": ("batch",), "personal_data": False}, ["files", "server"]),
        (
            {"jurisdictions": ("us_health",), "deployment_modes": ("rest", "batch")},
            ["disks", "gateway", "files", "server"],
        ),
    ],
)
def test_what_rests_and_travels_is_encrypted(answers: dict[str, Any], value: list[str]) -> None:
    found = plan(**answers)["decisions"]["SEC-01"]
    assert found["value"] == value
    assert ("enc.health" in found["rule"]) == ("jurisdictions" in answers)


AGREED = """
apiVersion: v3.1.0
kind: DataContract
id: agreed
version: 1.0.0
status: draft
schema:
  - name: dataset
    customProperties:
      - {property: consent, value: %s}
    properties:
      - {name: agreed, logicalType: string, customProperties: [{property: role, value: excluded}]}
      - {name: x, logicalType: number, customProperties: [{property: role, value: feature}]}
      - name: y
        logicalType: boolean
        required: true
        customProperties:
          - {property: role, value: target}
          - {property: positiveValue, value: "true"}
"""
YES = '{column: agreed, values: ["yes"]}'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    text, found = render_plan(plan_depth="standard", legal_basis="consent")
    storage.write_text(tmp_path / "PLAN.md", text)
    storage.write_text(tmp_path / "plan/plan.yaml", yaml.safe_dump(found))
    storage.write_text(tmp_path / "contracts/dataset.odcs.yaml", AGREED % YES)
    storage.write_text(tmp_path / "config.yaml", "data: {source: in.csv}\n")
    said = ["yes", " YES ", "no", "", "yes", "withdrawn"]
    pl.DataFrame({"agreed": said, "x": range(6), "y": [True, False] * 3}).write_csv(
        tmp_path / "in.csv"
    )
    return Project(tmp_path)


def ask(project: Project, how: str) -> None:
    storage.write_text(project.contract_path, AGREED % how)


def test_rows_without_consent_never_come_in(project: Project) -> None:
    assert contract.lint(project.contract_path) == []
    manifest = ingest.run(project)
    assert (manifest["rows"], manifest["without_consent"]) == (3, 3)
    assert "3 rows without consent stayed outside" in ingest.told(manifest)
    kept = pl.read_parquet(project.path(manifest["file"]))
    assert kept["x"].cast(pl.Int64).to_list() == [0, 1, 4]
    with pytest.raises(CheckFailed, match="3 of 3 rows are usable"):  # too few, but counted
        validation.run(project)
    report = storage.read_json(project.path("reports/data_quality.json"), dict[str, Any])
    said = measured.MADE["data_quality"](report, project)["made"]
    assert said.endswith("; 3 rows without consent never taken in")


def test_who_withdraws_is_out_of_the_next_load(project: Project) -> None:
    source = project.path("in.csv")
    source.write_text(source.read_text().replace("yes,0", "no,0"))
    assert ingest.run(project)["rows"] == 2


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("{column: agreed, values: [yes]}", "Expected `str`, got `bool`"),  # as YAML reads it
        ("{column: agreed, values: []}", "length >= 1"),
        ("{colum: agreed, values: ['1']}", "unknown field `colum`"),
        ("agreed", "Expected `object`"),
    ],
)
def test_consent_in_another_form_is_told(project: Project, how: str, said: str) -> None:
    ask(project, how)
    with pytest.raises(ProjectError, match=r"dataset\.odcs\.yaml: consent: ") as error:
        consent.of(project.contract_path)
    assert said in str(error.value) and 'values: ["yes"]' in str(error.value)
    [problem] = contract.lint(project.contract_path)
    assert said in problem
    assert [f for f in check.check(project) if f.id == "PRIV-04" and f.level == "error"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("{column: consent, values: ['yes']}", "column 'consent', which the data lack"),
        ("{column: agreed, values: ['ja', 'oui']}", "'agreed' is never 'ja' or 'oui'"),
    ],
)
def test_nothing_is_taken_in_where_consent_cannot_be_seen(
    project: Project, how: str, said: str
) -> None:
    ask(project, how)
    with pytest.raises(ProjectError, match=re.escape(said)):
        ingest.run(project)
    assert not project.path("data/raw/manifest.json").exists()


def test_consent_as_ground_needs_a_column_before_g1(project: Project) -> None:
    def found(gate: str | None) -> list[str]:
        return [f.level for f in check.check(project, gate) if f.id == "PRIV-04"]

    assert found("G1") == []
    storage.write_text(project.contract_path, re.sub(r"    customP.*\n.*\n", "", AGREED, count=1))
    assert (found(None), found("G0"), found("G1")) == (["warning"], ["warning"], ["error"])


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://mlflow.example.org:5000", True),
        ("http://localhost.example.org", True),
        ("http://localhost:5000", False),
        ("http://127.0.0.1", False),
        ("https://mlflow.example.org", False),
    ],
)
def test_an_address_without_tls_is_told(project: Project, address: str, told: bool) -> None:
    storage.write_text(project.path("config.yaml"), f"training: {{tracking_uri: '{address}'}}\n")
    messages = [f.message for f in check.check(project) if f.id == "SEC-01"]
    assert (
        messages
        == ["training.tracking_uri of config.yaml is not https: runs travel in the clear"] * told
    )


@pytest.mark.parametrize("preset", ["churn", "segmentation", "demand", "recommender"])
def test_the_plan_says_what_nobody_should_expect(tmp_path: Path, preset: str) -> None:
    """Whatever the task, beside what its answers mean; the light plan has no room for it."""
    made = Project(render(tmp_path / "p", preset=preset, plan_depth="standard"))
    lines = " ".join(made.plan.blocks["COM-01"].lines).lower()
    assert "say: " in lines and "do not expect: causes" in lines
    light = plan(plan_depth="light")["blocks"]["COM-01"]["lines"]
    assert "do not expect" not in " ".join(light).lower()
