"""Licences of packages and sources: where they are said, and which ask for a look."""

import shutil
from typing import Any

import pytest
import yaml
from helpers.plan import render_plan
from helpers.rendering import render

from package_name.engine import licences, storage
from package_name.engine.settings import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(render(tmp_path_factory.mktemp("licences") / "project"))


@pytest.mark.parametrize(
    ("licence", "asks"),
    [
        ("MIT", ""),
        ("Apache-2.0", ""),
        ("BSD License", ""),
        ("MIT OR GPL-2.0-only", ""),
        ("Apache-2.0 WITH LLVM-exception", ""),
        ("GPL-2.0-or-later WITH GCC-exception-3.1", ""),
        ("CC BY 4.0", ""),
        ("Mozilla Public License 2.0 (MPL 2.0)", ""),
        ("LGPL-3.0", "who gets it may replace it"),
        ("GNU Lesser General Public License v3 (LGPLv3)", "who gets it may replace it"),
        ("GNU General Public License v3 (GPLv3)", "who gets it gets the source"),
        ("GPL-3.0-only", "who gets it gets the source"),
        ("AGPL-3.0", "users of a service"),
        ("CC BY-NC 4.0", "not for business"),
        ("CC BY-SA 4.0", "keeps this licence"),
        ("ODbL", "keeps this licence"),
        ("CC BY-ND", "may not be passed on"),
        ("Other/Proprietary License", "read the contract"),
        ("unknown", "find out"),
    ],
)
def test_what_a_licence_asks_for(licence: str, asks: str) -> None:
    said = licences.concern(licence)
    assert (said == "") if not asks else (asks in said)


def test_installed_packages_and_sources_stand_in_one_table(project: Project) -> None:
    document = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    [first] = document["servers"]

    def server(name: str, licence: str, *, used: bool = True) -> dict[str, Any]:
        said = {"kind": "third party", "method": "file", "licence": licence, "used": used}
        return first | {
            "server": name,
            "customProperties": [{"property": n, "value": v} for n, v in said.items()],
        }

    document["servers"] += [server("weather", "CC BY-NC"), server("left", "x GPL", used=False)]
    storage.write_text(project.contract_path, yaml.safe_dump(document))
    report = licences.run(Project(project.root))
    found = {one["name"]: one for one in report["licences"]}
    assert found["numpy"]["shipped"] and found["typer"]["shipped"] and found["click"]["shipped"]
    assert not found["pytest"]["shipped"] and found["pytest"]["licence"] == "MIT"
    assert found["sample"]["concern"] == found["left"]["concern"] == ""
    assert found["weather"]["concern"] == "not for business"
    assert found["onnxruntime"]["version"] and found["onnxruntime"]["licence"] != "unknown"
    concerned = [one["concern"] != "" for one in report["licences"]]
    assert concerned == sorted(concerned, reverse=True) and report["attention"] == sum(concerned)
    text = licences.told(report)
    assert "source weather" in text and "numpy" not in text and "reports/licences.json" in text
    assert "package numpy" in licences.told(report, every=True)
    assert storage.read_json(project.path(licences.REPORT)) == report


def test_weights_that_a_bundle_hands_on_are_listed(project: Project) -> None:
    cards = {"minilm/README.md": "---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n"}
    cards |= {"eye.md": "---\nlicense: 'cc-by-nc-4.0'\n---\n", "none/README.md": "license: mit"}
    for name, text in cards.items():
        storage.write_text(project.path(f"pretrained/{name}"), text)
    storage.write_bytes(project.path("pretrained/eye.onnx"), b"weights")
    held = {f"pretrained/{name}": "00" for name in ("minilm/config.json", "eye.onnx")}
    storage.write_json(project.path("models/v2/manifest.json"), {"pretrained": held})
    storage.write_json(project.path("models/v1/manifest.json"), {})
    report = licences.run(Project(project.root))
    shutil.rmtree(project.path("models/v1"))
    shutil.rmtree(project.path("models/v2"))
    found = {one["name"]: one for one in report["licences"] if one["kind"] == "weights"}
    assert found.keys() == {"minilm", "eye.onnx", "none"}
    assert [name for name, one in found.items() if one["shipped"]] == ["eye.onnx", "minilm"]
    assert (found["minilm"]["licence"], found["minilm"]["concern"]) == ("apache-2.0", "")
    assert found["eye.onnx"]["concern"] == "not for business"
    assert found["none"]["licence"] == "unknown"
    told = licences.told(report)
    assert "weights eye.onnx" in told and "3 pretrained models; " in told


def test_no_shipped_package_asks_for_the_source_of_the_whole(project: Project) -> None:
    """What projects hand on in their image is free to use in closed software."""
    report = licences.run(project)
    grave = [
        (one["name"], one["licence"])
        for one in report["licences"]
        if one["shipped"] and "source" in one["concern"]
    ]
    assert grave == []


@pytest.mark.parametrize(
    ("modes", "there", "not_there"),
    [
        (["rest", "batch"], ["at the gateway", "rights of files"], ["device", "topic"]),
        (["edge"], ["each device has the file"], ["gateway", "topic"]),
        (["streaming"], ["rights of the broker", "produce to the topic"], ["gateway", "device"]),
    ],
)
def test_threats_follow_the_way_of_delivery(
    modes: list[str], there: list[str], not_there: list[str]
) -> None:
    text, _ = render_plan(plan_depth="standard", deployment_modes=modes, stream_seconds=5)
    lines = [line for line in text.splitlines() if "hreat " in line]
    said = "\n".join(lines)
    assert len(lines) == 5 and all(words in said for words in there)
    assert not [words for words in not_there if words in said]
    assert (
        "hreat of"
        not in render_plan(plan_depth="light", deployment_modes=modes, stream_seconds=5)[0]
    )
