"""`ml plan report --html`: the whole plan on one page, with nothing that runs or loads."""

import re
import shutil

import pytest
from helpers.filled import answer, projects
from helpers.rendering import git

from package_name.engine.settings import Project
from package_name.planner import markup, page, signing

rendered, project = projects("v1", plan_depth="standard")


def written(project: Project) -> str:
    return page.run(Project(project.root)).read_text(encoding="utf-8")


def test_every_block_and_section_is_on_the_page_and_each_link_leads_to_one(
    project: Project,
) -> None:
    html = written(project)
    for name in ("gates", "evidence", "time", "people", "duties", "log"):
        assert f'id="{name}"' in html
    for identifier, block in project.plan.blocks.items():
        if identifier not in (*page.TOP, "FLOW"):  # a diagram needs a script
            assert block.title in html, identifier
    names = set(re.findall(r'id="([^"]+)"', html))
    links = set(re.findall(r'href="#([^"]*)"', html))
    assert links <= names, links - names
    assert len(names) == len(re.findall(r'id="([^"]+)"', html))
    for name, gate in project.plan.gates.items():
        assert f"{name} {gate.asks}" in html
    assert re.search(r"Plan: .*<br", html) and "<br" in html  # each made line on its own
    assert html.count("<svg") == 2  # months of the gates, weeks of the tasks
    assert "data engineer (nobody yet)" in html


def test_names_of_tasks_stand_whole_however_long_they_are(project: Project) -> None:
    path = project.path("plan/progress.yaml")
    text = path.read_text(encoding="utf-8")
    long = (
        "Ask the nine regional offices which of the calls they made were of any use to a customer"
    )
    short = "Data contract holds on real data"
    assert text.count(short) == 1
    path.write_text(text.replace(short, long), encoding="utf-8")
    html = written(project)
    figure = re.findall(r"<figure>.*?</figure>", html, re.DOTALL)[1]
    told = re.findall(r"<text[^>]*>([^<]*)</text>", figure)
    assert long in " ".join(told) and "…" not in "".join(told)
    heights = [float(y) for y in re.findall(r'<text x="0.0" y="([\d.]+)"', figure)]
    assert heights == sorted({*heights})  # no line stands upon another


def test_a_phone_reads_a_wide_table_cell_by_cell(project: Project) -> None:
    answer(project, "PROB-01", '| a | b | c | d | e "f" |\n|-|-|-|-|-|\n| 1 | 2 | 3 | 4 | 5 |\n')
    html = written(project)
    assert '<td data-head="e &quot;f&quot;">5</td>' in html
    tables = re.findall(r"<table.*?</table>", html, re.DOTALL)
    assert len(tables) > 3
    for table in tables:
        head = re.search(r"<thead>.*?</thead>", table, re.DOTALL)[0]
        wide = len(re.findall(r"<th\b", head)) >= markup.MANY
        assert wide == ('class="many"' in table), table
        cells = re.findall(r"<td[^>]*>", table)
        assert all(("data-head" in cell) == wide for cell in cells), table


def test_the_page_has_no_script_and_loads_nothing(project: Project) -> None:
    evil = (
        "<script>alert(1)</script> <img src=x onerror=alert(1)> ![spy](https://evil.example/a.png)\n\n"
        "[go](javascript:alert(1)) [fine](https://example.org) [file](docs/runbook.md)\n"
        "# A heading\n\n| a | b |\n|---|---|\n| 1 | <b>2</b> |\n\n1. one\n2. two"
    )
    answer(project, "PROB-01", evil)
    html = written(project)
    assert not re.search(
        r"<(script|img|iframe|object|b)\b|<[^>]+\son\w+=|javascript:[^&)]*\"", html
    )
    assert not re.search(r'(src|data)="', html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "default-src 'none'" in html
    assert 'href="../docs/runbook.md"' in html
    assert "<h1>A heading" not in html and "A heading</h4>" in html
    assert "<td>1</td>" in html and "<li>two</li>" in html and "&lt;b&gt;2&lt;/b&gt;" in html


def test_the_log_tells_overrides_waivers_signatures_and_what_was_rejected(
    project: Project,
) -> None:
    text = (
        "EVAL-07: {value: isotonic, reason: smooth & small}\n"
        'waivers:\n  OBJ-01: {reason: April, owner: "@eva", until: 2099-04-30}\n'
    )
    project.path("plan/overrides.yaml").write_text(text)
    html = written(project)
    assert '<td class="day" data-head="Date">not committed</td>' in html
    env = ["-c", "user.name=Ana <Maria>"]
    git(project.root, "add", "-A")
    git(project.root, *env, "commit", "-qm", "x", "--date", "2026-03-04T12:00:00Z")
    answer(project, "PROB-01", "Fifteen of a hundred leave.")
    signing.approve(Project(project.root), "PROB-01", "@eva", None)
    html = " ".join(re.sub(r"<[^>]+>", " ", written(project)).split())
    assert (
        "2026-03-04 Calibration override: isotonic regression in place of Platt scaling Ana Maria"
        in html
    )
    assert "smooth &amp; small" in html
    taken = "By the team: Calibration: isotonic regression in place of Platt scaling: smooth"
    assert html.count(taken) == 1  # with the table that tells what the rule gives
    assert "2026-03-04 Success waiver until 2099-04-30 @eva April" in html
    assert re.search(r"[\d-]{10} Problem approved @eva", html)
    assert re.search(
        r"Calibration Platt scaling [\d-]{10} cal\.sig: .+ isotonic regression \(cal\.iso\)", html
    )


def test_gates_and_owners_say_what_is_open(project: Project) -> None:
    html = " ".join(re.sub(r"<[^>]+>", " ", written(project)).split())
    assert re.search(r"G0 Is the problem real and owned\? closed 0 of \d answered", html)
    assert re.search(r"Open answers by owner nobody yet Problem ,", html)


def test_a_slip_in_one_block_is_told_and_hides_no_other(project: Project) -> None:
    path = project.path("PLAN.md")
    path.write_text(path.read_text().replace("<!-- /plan:human OBJ-01 -->\n", "", 1))
    answer(project, "PROB-01", "Fifteen of a hundred leave.")
    html = written(project)
    assert "cannot be read and is missing here" in html and "OBJ-01" in html
    assert "Fifteen of a hundred leave." in html


def test_without_git_the_dates_are_left_out(project: Project) -> None:
    shutil.rmtree(project.path(".git"))
    project.path("plan/overrides.yaml").write_text("EVAL-07: {value: sigmoid, reason: smooth}\n")
    assert "override: Platt scaling" in written(project)


@pytest.mark.parametrize("text", ["<!-- x -->", "a <!-- x\n--> b", "```mermaid\ngraph\n```"])
def test_what_is_hidden_stays_hidden(text: str) -> None:
    assert not re.search("x|graph|--", str(markup.html(text.split("\n"))))
