"""The site: each document is a page, no link is broken, the gallery has each task."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from helpers.rendering import ROOT


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_tool", ROOT / "tools/site.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_document_is_a_page_and_no_link_is_broken(tmp_path: Path, site: ModuleType) -> None:
    command = [sys.executable, "tools/site.py", str(tmp_path / "s"), "--no-gallery"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr  # --strict: a broken link is an error
    named = re.findall(r"[\w./-]+\.md", yaml.safe_dump(site.navigation(tmp_path / "s/pages")))
    documents = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    assert documents <= {*named} and len(named) == len({*named})
    page = (tmp_path / "s/site/docs/tutorial/index.html").read_text(encoding="utf-8")
    assert "<h1" in page and 'src="http' not in page  # it asks nobody for scripts
    again = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 1 and "not there yet" in again.stderr  # nothing is written over


def test_a_broken_link_stops_the_build(
    tmp_path: Path, site: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    for name in site.START:
        (tmp_path / name).write_text("# One", encoding="utf-8")
    (tmp_path / "docs/README.md").write_text("# Two\n\n[gone](away.md)", encoding="utf-8")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "SECTIONS", {})
    monkeypatch.setattr(sys, "argv", ["site.py", str(tmp_path / "s"), "--no-gallery"])
    with pytest.raises(SystemExit) as stopped:
        site.main()
    assert stopped.value.code == 1


def test_the_gallery_shows_each_task_mode_and_depth(site: ModuleType) -> None:
    questions = yaml.safe_load((ROOT / "questions/project.yml").read_text(encoding="utf-8"))
    presets = (ROOT / "questions/project.yml").read_text(encoding="utf-8")
    tasks = {re.search(rf"{one['preset']}: .*\((\w+),", presets)[1] for one in site.SHOWN}  # type: ignore[index]
    assert tasks == {*questions["task_type"]["choices"].values()}
    modes = {mode for one in site.SHOWN for mode in one["deployment_modes"]}
    assert modes == {"rest", "grpc", "batch", "streaming", "edge"}
    assert {one["plan_depth"] for one in site.SHOWN} == {"light", "standard", "regulated"}


@pytest.mark.nightly
def test_the_gallery_leads_to_pages_that_are_there(tmp_path: Path, site: ModuleType) -> None:
    command = [sys.executable, "tools/site.py", str(tmp_path / "s")]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "s/pages/gallery/README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", told)
    assert len(links) == 6 * len(site.SHOWN)
    assert all((tmp_path / "s/site/gallery" / link).stat().st_size > 500 for link in links)
