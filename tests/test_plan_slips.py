"""A slip in PLAN.md is told of its own block, closes that block's gate and hides no other."""

import pytest
from helpers.filled import answer, projects

from package_name.engine.errors import ProjectError
from package_name.engine.settings import Project
from package_name.planner import check, report
from package_name.planner.blocks import PLACEHOLDER, Part, nobody, nothing, read, survey

MARK = "<!-- plan:answer RISK-01 -->"


rendered, project = projects()


def text_of(project: Project) -> str:
    return project.path("PLAN.md").read_text(encoding="utf-8")


def new(project: Project, content: str | bytes) -> list[check.Finding]:
    """Return what `ml plan check` finds beside what it found before."""
    before = check.check(project)
    content = content.encode() if isinstance(content, str) else content
    project.path("PLAN.md").write_bytes(content)
    return [found for found in check.check(Project(project.root)) if found not in before]


def human(project: Project, identifier: str = "RISK-01") -> Part:
    return survey(read(project.path("PLAN.md")))[0]["human", identifier]


SLIPS = [
    (mark, wrong)
    for kind in ("human", "answer", "/human", "auto", "/auto")
    for mark in [f"<!-- {kind[: kind.find('/') + 1]}plan:{kind.strip('/')} RISK-01 -->"]
    for wrong in (
        mark.replace("plan:", "paln:"),
        mark.replace(" RISK", "n RISK"),
        mark.replace("RISK-01", "RISK-99"),
        mark.replace("RISK-01", "COM-01"),
        mark.replace("RISK-01", "risk-01"),
        mark.replace("RISK-01", "RISK-0l"),
        mark.replace("<!--", "<!-"),
        mark.replace(" -->", "-->"),
        f"{mark}\n{mark}" if "/" not in mark else mark.replace("/", ""),
    )
]


@pytest.mark.parametrize(("mark", "wrong"), SLIPS)
def test_a_slip_in_a_mark_is_told_of_its_block_and_read_as_it_was_meant(
    project: Project, mark: str, wrong: str
) -> None:
    text = text_of(project).replace(f"{MARK}\n{PLACEHOLDER}", f"{MARK}\nStaff may trust it.")
    project.path("PLAN.md").write_text(text)
    found = new(project, text.replace(mark, wrong, 1))
    assert [(f.level, f.id) for f in found] == [("error", "RISK-01")]
    part = human(project)
    assert part.lines == ["Staff may trust it."] and part.attributes["owner"] == "none"


@pytest.mark.parametrize(
    "lost", ["<!-- plan:human RISK-01 -->\n", "<!-- /plan:human RISK-01 -->\n", f"{MARK}\n"]
)
def test_a_lost_mark_is_told_of_its_block_alone(project: Project, lost: str) -> None:
    found = new(project, text_of(project).replace(lost, "", 1))
    assert {f.id for f in found} == {"RISK-01"} and "error" in {f.level for f in found}


def test_a_heading_that_lost_its_id_takes_no_other_block(project: Project) -> None:
    text = text_of(project)
    for wrong in ("### Risks <!-- RISK-99 -->", "### Risks", ""):
        project.path("PLAN.md").write_text(text)
        (found,) = new(project, text.replace("### Risks <!-- RISK-01 -->", wrong))
        assert (found.level, found.id) == ("warning", "RISK-01")


@pytest.mark.parametrize("name", ["VERDICT", "SUMMARY", "CHOICES", "RESULTS"])
def test_a_slip_in_the_name_of_a_part_is_read_as_it_was_meant(project: Project, name: str) -> None:
    kind = "auto" if name in ("SUMMARY", "CHOICES") else "measured"
    mark = f"<!-- plan:{kind} {name} -->"
    found = new(project, text_of(project).replace(mark, mark.replace(name, name[:-1])))
    assert [(f.level, f.id) for f in found] == [("error", name)]
    assert f"did you mean `{mark}`" in found[0].message


def test_a_second_mark_of_an_answer_is_told(project: Project) -> None:
    found = new(project, text_of(project).replace(MARK, f"{MARK}\nHi.\n{MARK}"))
    assert ("error", "RISK-01") in [(f.level, f.id) for f in found]
    assert any("plan:answer RISK-01 appears twice" in f.message for f in found)


@pytest.mark.parametrize("signs", ["", ".", "...", " -"])
@pytest.mark.parametrize(
    "text",
    [
        *("n/a", "N/A", "na", "-", "--", "?", "???", "...", "tbd", "T.B.D", "TBD", "tba", "none"),
        *("None yet", "xxx", "XX", "to be defined", "To be decided later", "later", "todo", "wip"),
        *("nothing", "- ?", "_tbd_", "1. tbd", "- [ ] TODO", "TODO: ask Eva", "TBD by Eva", "null"),
        *("unknown", "<br>", "tbd\n\n- n/a", "<!-- hidden -->", "not applicable", "| - | ? |"),
    ],
)
def test_what_says_nothing_is_no_answer_and_no_name(text: str, signs: str) -> None:
    assert nothing(*f"{text}{signs}".split("\n"))
    assert nobody(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "None: we have no such data.",
            "No.",
            "Yes",
            "Nothing is known of the label.",
            "0",
            "x y",
        ),
        *("n/a for the pilot: no people are in it", "Todo lists are kept in Jira", "tbd\nEva asks"),
        *("None of the columns.", "Later stages need it.", "Unknown values are rare.", "无"),
    ],
)
def test_what_says_something_is_an_answer(text: str) -> None:
    assert not nothing(*text.split("\n"))


def test_line_ends_and_byte_order_marks_change_no_meaning(project: Project) -> None:
    text = text_of(project)
    for content in (
        b"\xef\xbb\xbf" + text.encode(),
        text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\r").encode(),
        b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    ):
        assert new(project, content) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (b"a\0b", "NUL"),
        (b"x" * 200_000, "has 200\u00a0000 characters"),
        (b" " * 3_000_000, "has 3\u00a0000\u00a0000 characters"),
        (b"<!--" * 90_000, "has 360\u00a0000 characters"),
    ],
)
def test_what_is_no_text_is_told_of_its_block(project: Project, wrong: bytes, told: str) -> None:
    mark = MARK.encode()
    found = new(project, text_of(project).encode().replace(mark, mark + b"\n" + wrong))
    assert [f.id for f in found if f.level == "error"] == ["RISK-01"]
    assert {f.id for f in found} == {"RISK-01"} and told in found[0].message


@pytest.mark.parametrize("wrong", [b"\xed\xa0\x80", b"\xff", b"M\xfcller"])
def test_what_is_no_utf_8_names_its_line(project: Project, wrong: bytes) -> None:
    content = text_of(project).encode().replace(MARK.encode(), MARK.encode() + b"\n" + wrong)
    line = content[: content.index(wrong)].count(b"\n") + 1
    with pytest.raises(ProjectError, match=rf"PLAN\.md: line {line} is no UTF-8 text"):
        new(project, content)
    with pytest.raises(ProjectError, match="line 1 is no UTF-8 text: save it as UTF-8"):
        project.path("PLAN.md").write_bytes("# Plan".encode("utf-16"))
        check.check(project)


LINKS = """Alive: [a](config.yaml), [b](README.md#x-y "t"), ![p](docs/runbook.md), [c](#risks),
[d](#Problem), [e](https://example.org/no), [f][good], <img src="README.md">, `[no](none.md)`,
\\[n](none.md), a[i][j],
[g](/docs/runbook.md), [h](mailto:a@b.org), [i](PLAN.md#success), [sp](a%20b.md), [ang](<a b.md>)

```text
[code](none.md)
```

[good]: docs/runbook.md"""
DEAD = {
    "[x][ref]\n\n[ref]: missing.md": "missing.md",
    "[ref]\n\n[ref]: missing.md": "missing.md",
    "[x][nowhere]": "[nowhere]",
    "![x](pictures/none.png)": "pictures/none.png",
    "![x][ref]\n\n[ref]: <no picture.png>": "no picture.png",
    "[x](#no-such-heading)": "#no-such-heading",
    "[x](README.md#no-such-heading)": "README.md#no-such-heading",
    "[x](PLAN.md#nowhere)": "PLAN.md#nowhere",
    "text [x](a.md)\nand [y](config.yaml)": "a.md",
    '<a href="none.html">x</a>': "none.html",
    '<img src="none.png">': "none.png",
    "| a |\n|---|\n| [x](none.md) |": "none.md",
    "> - [x](docs/none.md 'title')": "docs/none.md",
    "[x](/etc/passwd)": "/etc/passwd",
    f"[x]({'a' * 5000})": "a" * 5000,
}


def linked(project: Project, text: str) -> list[check.Finding]:
    found = new(project, text_of(project).replace(f"{MARK}\n{PLACEHOLDER}", f"{MARK}\n{text}"))
    return [f for f in found if "links to" in f.message]


def test_links_that_lead_somewhere_are_let_alone(project: Project) -> None:
    project.path("a b.md").write_text("x")
    project.path("README.md").write_text("# X Y\n")
    assert linked(project, LINKS) == []


@pytest.mark.parametrize("text", DEAD, ids=[*range(len(DEAD))])
def test_a_dead_link_of_any_form_closes_its_own_gate(project: Project, text: str) -> None:
    message = f"links to {DEAD[text]}, which is not there"
    assert linked(project, text) == [check.Finding("error", "RISK-01", message)]


def test_a_dead_link_of_the_notes_closes_no_gate(project: Project) -> None:
    (found,) = new(project, f"{text_of(project)}\n[x](none.md)\n")
    assert found == check.Finding("warning", "PLAN.md", "links to none.md, which is not there")


def test_a_slip_in_one_block_keeps_no_page_and_no_count_from_the_others(project: Project) -> None:
    answer(project, "PROB-01", "Fifteen of a hundred leave.")
    answer(project, "TEAM-01", "Eva decides.")
    path = project.path("PLAN.md")
    path.write_text(text_of(project).replace("<!-- /plan:human RISK-01 -->\n", ""))
    assert check.counts(project)["G0"]["written"] == 2
    for audience in report.EVERYBODY:
        page = report.run(project, audience)[0].read_text(encoding="utf-8")
        assert "cannot be read, and may be missing here:** line" in page and "RISK-01" in page
        assert "<!--" not in page
    assert "Eva decides." in project.path("reports/plan_team.md").read_text(encoding="utf-8")
