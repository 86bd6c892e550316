"""Markdown of unknown origin as HTML for pages: nothing in it runs, loads or leaves its place."""

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

HIDDEN = re.compile(r"\s*<!--.*?-->", re.DOTALL)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|[#/]|\.\./", re.IGNORECASE)
MANY = 5  # columns of a table that a phone cannot show side by side
# A picture would be loaded from elsewhere: what stands for it is a link.
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
MARKDOWN.add_render_rule(
    "table_open",
    lambda self, tokens, at, *_: f'<div class="wide"><table{self.renderAttrs(tokens[at])}>\n',
)
MARKDOWN.add_render_rule("table_close", lambda *_: "</table></div>\n")


def html(lines: Sequence[str], level: int = 3, *, breaks: bool = False) -> Markup:
    """Return what Markdown lines say; their headings stand below those of `level`.

    With `breaks` each line stays one, as those do that are made and say one thing each.

    HTML is shown as it was written, hidden comments and diagrams (which need a script) are left
    out, and relative links are seen from reports/.
    """
    tokens = MARKDOWN.parse(HIDDEN.sub("", "\n".join(lines)))
    kept = [token for token in tokens if token.info.strip() != "mermaid"]
    _name_cells(kept)
    for token in kept:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, level + int(token.tag[1]))}"
        for inner in token.children or ():
            _from_reports(inner)
            if breaks and inner.type == "softbreak":
                inner.type = "hardbreak"
    return Markup(MARKDOWN.renderer.render(kept, MARKDOWN.options, {}))


def inline(text: str) -> Markup:
    """Return one line of Markdown, such as the cell of a table, without a paragraph around it."""
    (token,) = MARKDOWN.parseInline(HIDDEN.sub("", text).replace("\n", " "))
    for inner in token.children or ():
        _from_reports(inner)
    return Markup(MARKDOWN.renderer.render([token], MARKDOWN.options, {}))


def slug(title: str) -> str:
    """Return the name that code hosts give a heading in links: Business case as business-case."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def _name_cells(tokens: Sequence[Token]) -> None:
    """Give each cell the head of its column: a narrow page shows a wide table cell by cell."""
    heads: list[str] = []
    table, column = None, 0
    for at, token in enumerate(tokens):
        if token.type == "table_open":
            table, heads = token, []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "th_open" and table is not None:
            heads.append(tokens[at + 1].content)
            table.attrs = {"class": "many"} if len(heads) >= MANY else {}
        elif token.type == "td_open" and len(heads) >= MANY:
            token.attrs["data-head"] = heads[column]
            column += 1


def _from_reports(token: Token) -> None:
    target = str(token.attrs.get("href", ""))
    if token.type == "link_open" and not ELSEWHERE.match(target):
        token.attrs["href"] = f"../{target}"
