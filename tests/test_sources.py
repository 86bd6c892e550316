"""Where data come from: `servers` of the contract, by the standard, and their table in the plan."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from helpers.plan import render_plan
from helpers.rendering import render

from package_name.engine import storage
from package_name.engine.data import consent, contract, drafting, sources
from package_name.engine.errors import ProjectError
from package_name.engine.settings import Project
from package_name.planner import check, report, sourced, sync
from package_name.planner.blocks import parse


def server(name: str, type: str = "local", **said: Any) -> dict[str, Any]:
    """Return a server that lacks nothing, with other words for some of its parts."""
    places: dict[str, dict[str, Any]] = {
        "local": {"path": "data/orders.csv", "format": "csv"},
        "s3": {"location": "s3://lake/orders/*.parquet"},
        "api": {"location": "https://api.example.org/v2/orders"},
        "postgres": {"host": "db.example.org", "port": 5432, "database": "shop", "schema": "sales"},
        "kafka": {"host": "kafka.example.org:9092"},
    }
    usual = {"system": "shop", "owner": "Ana Maria", "kind": "internal", "method": "query"}
    usual |= {"script": "ml ingest", "licence": "our own"}
    properties = [{"property": n, "value": v} for n, v in (usual | said).items() if v is not None]
    return {"server": name, "type": type, **places[type], "customProperties": properties}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("sources") / "project", plan_depth="standard")


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Project:
    for name in ("PLAN.md", "plan/plan.yaml", "plan/progress.yaml", "config.yaml"):
        storage.write_bytes(tmp_path / name, (rendered / name).read_bytes())
    name = "contracts/dataset.odcs.yaml"
    storage.write_bytes(tmp_path / name, (rendered / name).read_bytes())
    (tmp_path / ".github").mkdir()
    return Project(tmp_path)


def keep(project: Project, *servers: dict[str, Any]) -> None:
    known = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    storage.write_text(project.contract_path, yaml.safe_dump(known | {"servers": [*servers]}))


def told(project: Project, *ids: str) -> list[tuple[str, str]]:
    found = [f for f in check.check(Project(project.root)) if f.id in (ids or ("DATA-05",))]
    unsaid = ("todo", "not measured yet: run `ml plan sync`")
    return [
        (f.level, f.message) for f in found if f.level not in unsaid and f.message not in unsaid
    ]


def block(project: Project) -> list[str]:
    sync.run(project)
    return parse(project.path("PLAN.md").read_text(encoding="utf-8"))["measured", "DATA-05"].lines


def test_a_fresh_project_says_that_its_rows_are_made_up(project: Project) -> None:
    assert contract.lint(project.contract_path) == []
    [source] = sources.of(project.contract_path)
    assert (source.kind, source.place) == ("made up", "local: data/sample/dataset.parquet")
    assert source.lacks == []
    lines = block(project)
    assert lines[0].startswith("Structured: ") and "not needed because" in lines[0]
    assert "| local: data/sample/dataset.parquet | ML team |" in lines[-2]
    assert told(project) == []


@pytest.mark.parametrize(
    ("type", "table", "place"),
    [
        ("local", None, "local: data/orders.csv"),
        ("s3", None, "s3: s3://lake/orders/*.parquet"),
        ("api", None, "api: https://api.example.org/v2/orders"),
        ("postgres", "orders", "postgres: db.example.org / shop / sales / orders"),
        ("kafka", "orders", "kafka: kafka.example.org:9092 / orders"),
    ],
)
def test_the_exact_place_of_each_type_is_told(
    project: Project, type: str, table: str | None, place: str
) -> None:
    keep(project, server("orders", type, table=table))
    assert contract.lint(project.contract_path) == []  # the published schema of the standard
    assert sources.of(project.contract_path)[0].place == place
    assert place in block(project)[-2].replace("\\", "")


def test_several_sources_are_ranked_by_relevance_and_feasibility(project: Project) -> None:
    keep(
        project,
        server("weather", "api", kind="third party", licence="CC BY", relevance=2, feasibility=4),
        server("clicks", "kafka", kind="stream", method="stream", relevance=5, feasibility=2,
               used=False, why="no key of the customer"),
        server("orders", "postgres", table="orders", relevance=5, feasibility=5, rows=1_800_000,
               freshnessHours=24, growthPerYear=0.1, costPerMonth=40),
        server("census", "s3", kind="public", relevance=2, feasibility=4, costPerMonth=9),
    )  # fmt: skip
    assert contract.lint(project.contract_path) == []
    names = [source.server for source in sources.of(project.contract_path)]
    assert names == ["orders", "clicks", "weather", "census"]  # of equals the cheaper first
    lines = block(project)
    assert lines[1].endswith("orders comes first.")
    rows = [line for line in lines if line.startswith("| ")][2:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    assert [cell[1] for cell in cells] == ["internal", "stream", "third party", "public"]
    assert cells[0][6:] == [
        "24 h",
        "1\u00a0800\u00a0000 rows, 10\u00a0% a year more, 40 a month",
        "25",
        "yes",
    ]
    assert cells[1][-1] == "no: no key of the customer" and cells[2][6] == "unknown"
    page = report.run(project, "data")[0].read_text(encoding="utf-8")
    assert "\n\n| Source | Kind |" in page and "orders (shop)" in page


def test_texts_are_told_as_what_has_no_structure() -> None:
    told = sourced.told({"sources": [], "kinds": {"text": 1, "number": 2}}).splitlines()[0]
    assert told.startswith("structured: 2 number; unstructured: 1 free text; ")
    assert "text, pictures" not in told and "; pictures, sound and video: not needed" in told


def test_what_nobody_has_said_is_asked_for_before_g1(project: Project) -> None:
    keep(project, server("orders", owner=None, licence="unknown", system=None))
    project.path("config.yaml").write_text("data: {source: data/orders.csv}\n", encoding="utf-8")
    message = (
        "nobody has said of `orders`: system, owner, licence: say it in `servers` of the contract"
    )
    assert told(project) == [("warning", message)]
    found = check.check(project, "G1")
    assert ("error", message) in [(f.level, f.message) for f in found if f.id == "DATA-05"]
    keep(project, server("orders", owner=None, used=False), server("more", relevance=3))
    assert [m for _, m in told(project) if "nobody has said" in m] == []
    judged = "nobody has judged relevance and feasibility (1 to 5) of orders, more"
    assert [m for _, m in told(project) if "judged" in m] == [judged]


def test_what_is_said_must_be_so(project: Project) -> None:
    keep(project, server("orders", script="queries/orders.sql", method="file"))
    script, source = (message for _, message in told(project))
    assert "`queries/orders.sql`, which is not there" in script
    assert "reads `data/sample/dataset.parquet`, which no server" in source
    storage.write_text(project.path("queries/orders.sql"), "select 1")
    project.path("config.yaml").write_text("data: {source: data/orders.csv}\n", encoding="utf-8")
    assert told(project) == []
    keep(project, server("orders", "api") | {"location": "http://api.example.org/orders"})
    assert "is read without TLS" in told(project, "SEC-01")[0][1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            server("orders", kind="ours"),
            "servers: orders: customProperties: kind: 'ours' is none of internal",
        ),
        (server("orders", relevance=6), "orders: customProperties: relevance: Expected `int` <= 5"),
        (server("orders", ownr="x"), "unknown field `ownr`"),
        (
            server("orders", "api") | {"location": "https://me:secret@api.example.org"},
            "orders has a password in its address: take it out",
        ),
    ],
)
def test_a_source_in_another_form_is_told_in_one_line(
    project: Project, given: dict[str, Any], said: str
) -> None:
    keep(project, given)
    [problem] = contract.lint(project.contract_path)
    assert said in problem and "\n" not in problem and "secret" not in problem
    with pytest.raises(ProjectError, match="servers: "):
        sources.of(project.contract_path)
    assert [level for level, message in told(project) if said in message] == ["error"]


def test_a_draft_names_its_file_and_keeps_what_people_said(project: Project) -> None:
    file = project.path("data/mine.csv")
    file.parent.mkdir(exist_ok=True)
    rows = range(200)
    pl.DataFrame(
        {"churned": [i % 2 for i in rows], "x": [i * 1.5 for i in rows], "agreed": ["yes"] * 200}
    ).write_csv(file)
    drafting.run(project, file, "churned")
    [source] = sources.of(project.contract_path)
    assert source.place == "local: data/mine.csv"
    assert source.lacks == ["system", "owner", "licence"]
    assert contract.lint(project.contract_path) == [] and drafting.is_untouched(
        project.contract_path
    )
    known = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    asked = {"property": "consent", "value": {"column": "agreed", "values": ["yes"]}}
    known["schema"][0]["customProperties"] = [asked]
    [of_x] = [one for one in known["schema"][0]["properties"] if one["name"] == "x"]
    said = {"controlled": True, "purpose": "to set the limit", "legalBasis": "contract"}
    of_x["customProperties"] += [{"property": n, "value": v} for n, v in said.items()]
    of_x["classification"] = "personal"
    storage.write_text(project.contract_path, yaml.safe_dump(known))
    keep(project, server("orders", "postgres", table="orders"))
    drafting.run(project, file, "churned", force=True)
    assert [found.server for found in sources.of(project.contract_path)] == ["orders"]
    assert consent.of(project.contract_path) == consent.Consent("agreed", ("yes",))
    x = contract.read(project.contract_path).column("x")
    assert (x.controlled, x.purpose, x.legal_basis) == (True, "to set the limit", "contract")
    assert x.personal and contract.written_down(project.contract_path) == []
    assert contract.lint(project.contract_path) == []


def test_who_may_read_is_said_shown_and_kept(project: Project) -> None:
    assert "Access: data engineer may write, data scientist may read, ML engineer may read." in [
        re.sub(r" <!--.*", "", line) for line in block(project)
    ]
    file = project.path("data/mine.csv")
    file.parent.mkdir(exist_ok=True)
    file.write_text("churned,x\n" + "1,2.5\n0,3.5\n1,3.5\n0,2.5\n1,2.5\n" * 50, encoding="utf-8")

    def give(*roles: dict[str, str]) -> None:
        known = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
        storage.write_text(project.contract_path, yaml.safe_dump(known | {"roles": [*roles]}))

    give({"role": "auditor", "access": "read"})
    [message] = [m for _, m in told(project) if "gives access" in m]
    assert "to auditor, whom no role of TEAM-02 is: there are ML engineer, " in message
    drafting.run(project, file, "churned", force=True)
    assert [one.role for one in sources.access(project.contract_path)] == ["auditor"]
    give()
    unsaid = "nobody has said who may read rows of people: say it in `roles` of the contract"
    assert ("warning", unsaid) in told(project)
    found = check.check(project, "G1")
    assert ("error", unsaid) in [(f.level, f.message) for f in found]
    give({"role": "data scientist", "access": "everything"})
    assert [
        level
        for level, m in told(project)
        if "roles[0].access: 'everything' is none of read, write" in m
    ] == ["error"]
    assert any("roles" in problem for problem in contract.lint(project.contract_path))


def test_the_light_plan_has_no_table_of_sources() -> None:
    assert "DATA-05" not in render_plan()[1]["blocks"]


def plainly(line: str) -> str:
    return re.sub(r" <!--.*", "", line)


def ground(project: Project, **said: dict[str, str]) -> None:
    """Classify columns as personal and write down what is said of each."""
    known = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    for one in known["schema"][0]["properties"]:
        if one["name"] in said:
            one["classification"] = "personal"
            found = said[one["name"]].items()
            one["customProperties"] += [{"property": n, "value": v} for n, v in found]
    storage.write_text(project.contract_path, yaml.safe_dump(known))


def test_each_personal_column_has_a_ground_and_a_purpose_or_is_told(project: Project) -> None:
    own = {"legalBasis": "contract", "purpose": "who calls often is unhappy"}
    ground(project, customer_id={}, support_calls_90d=own, data_usage_gb={})
    assert contract.lint(project.contract_path) == []
    assert [line for line in map(plainly, block(project)) if line.startswith("Personal: ")] == [
        "Personal: `customer_id` (entity), `data_usage_gb` (feature); ground: not settled; "
        "purpose: that of PROB-01.",
        "Personal: `support_calls_90d` (feature); ground: a contract with them; purpose: "
        "who calls often is unhappy.",
    ]
    bare = [(level, m) for level, m in told(project, "PRIV-01") if m.startswith("nobody has said")]
    assert [level for level, _ in bare] == ["warning"] * 2
    assert "(data_usage_gb)" in bare[0][1] and "(data_usage_gb)" in bare[1][1]
    assert [
        finding.level
        for finding in check.check(Project(project.root), "G1")
        if "on which ground personal features" in finding.message
    ] == ["error"]


def test_a_column_by_consent_needs_the_column_that_says_it(project: Project) -> None:
    ground(project, data_usage_gb={"legalBasis": "consent", "purpose": "use tells of need"})
    [(level, message)] = told(project, "PRIV-04")
    assert level == "warning" and "consent is the ground of data_usage_gb, but" in message


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (
            {"legalBasis": "habit"},
            "column data_usage_gb: customProperties: legalBasis: 'habit' is none of consent, "
            "contract, legal_obligation, legitimate_interest, public_task",
        ),
        ({"legalBasis": "contract"}, "legalBasis is for data of people: add classification: "),
    ],
)
def test_a_ground_in_another_form_is_told_in_one_line(
    project: Project, said: dict[str, str], problem: str
) -> None:
    ground(project, data_usage_gb=said)
    text = project.contract_path.read_text(encoding="utf-8")
    if "habit" not in text:
        storage.write_text(project.contract_path, text.replace("classification: personal", ""))
    [found] = contract.lint(project.contract_path)
    assert problem in found and "\n" not in found
