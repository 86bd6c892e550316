"""Markdown of unknown origin as HTML for pages: nothing in it runs, loads or leaves its place."""

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

HIDDEN = re.compile(r"\s*<!--.*?-->", re.DOTALL)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|[#/]|\.\./", re.IGNORECASE)
# A picture would be loaded from elsewhere: what stands for it is a link.
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
MARKDOWN.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
MARKDOWN.add_render_rule("table_close", lambda *_: "</table></div>\n")


def html(lines: Sequence[str], level: int = 3, *, breaks: bool = False) -> Markup:
    """Return what Markdown lines say; their headings stand below those of `level`.

    With `breaks` each line stays one, as those do that are made and say one thing each.

    HTML is shown as it was written, hidden comments and diagrams (which need a script) are left
    out, and relative links are seen from reports/.
    """
    tokens = MARKDOWN.parse(HIDDEN.sub("", "\n".join(lines)))
    kept = [token for token in tokens if token.info.strip() != "mermaid"]
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


def _from_reports(token: Token) -> None:
    target = str(token.attrs.get("href", ""))
    if token.type == "link_open" and not ELSEWHERE.match(target):
        token.attrs["href"] = f"../{target}"
