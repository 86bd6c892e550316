"""Links of a Markdown text that lead nowhere: to files, to headings, by name or as a picture."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it.token import Token

from .blocks import HIDDEN, LONGEST_LINE, MARKDOWN
from .markup import slug

ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
IN_HTML = re.compile(r"""<[^>]*?\b(?:href|src)\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
NAMED = re.compile(r"""<[^>]*?\b(?:id|name)\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
# `[text][name]` whose name no line defines is left in the text as it was typed.
UNDEFINED = re.compile(r"(?<![\w\]])\[[^\[\]]+\](\[[^\[\]]*[^\W\d_][^\[\]]*\])")


def dead(root: Path, name: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield line (from 0) and target of each link in the file `name` of a project that is dead."""
    lines = (line if len(line) <= LONGEST_LINE else "" for line in text.split("\n"))
    tokens = MARKDOWN.parse("\n".join(lines))
    for line, target in _targets(tokens):
        path, _, anchor = target.partition("#")
        if target.startswith("[") or (not ELSEWHERE.match(target) and not _there(root, name, path)):
            yield line, target if target.startswith("[") else unquote(path)
        elif anchor and not ELSEWHERE.match(target):
            page = _page(root, name, path)
            same = page == (root / name).resolve()
            if page.suffix.lower() == ".md" and unquote(anchor).lower() not in (
                _anchors(tokens) if same else _anchors(MARKDOWN.parse(_text(page)))
            ):
                yield line, unquote(target)


def _targets(tokens: list[Token]) -> Iterator[tuple[int, str]]:
    line = 0
    for token in tokens:
        line = token.map[0] if token.map else line
        if token.type == "html_block":
            yield from ((line, target) for target in IN_HTML.findall(HIDDEN.sub("", token.content)))
        below = 0
        for inner in token.children or ():
            below += inner.type in ("softbreak", "hardbreak")
            if inner.type in ("link_open", "image"):
                yield line + below, str(inner.attrs.get("href") or inner.attrs.get("src") or "")
            elif inner.type == "html_inline":
                yield from ((line + below, target) for target in IN_HTML.findall(inner.content))
        if token.type == "inline":
            plain = "".join(t.content for t in token.children or () if t.type == "text")
            yield from ((line, label) for label in UNDEFINED.findall(plain))


def _page(root: Path, name: str, path: str) -> Path:
    """Return the file that a link means; one from `/` on stands in the project."""
    folder = root if path.startswith("/") else (root / name).parent
    return (folder / unquote(path).lstrip("/")).resolve() if path else (root / name).resolve()


def _there(root: Path, name: str, path: str) -> bool:
    try:
        return not path or _page(root, name, path).exists()
    except (OSError, ValueError):  # too long for a name, or a NUL in it
        return False


def _text(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""


def _anchors(tokens: list[Token]) -> set[str]:
    """Return the names of headings as code hosts make them, and those that HTML gives."""
    found, seen = set[str](), Counter[str]()
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            words = (t.content for t in token.children or () if t.type in ("text", "code_inline"))
            title = slug("".join(words))
            found.add(f"{title}-{seen[title]}" if seen[title] else title)
            seen[title] += 1
    for token in tokens:
        if token.type in ("html_block", "inline"):
            found |= {name.lower() for name in NAMED.findall(token.content)}
    return found
