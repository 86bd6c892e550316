"""Carry all that people wrote in a PLAN.md of the earlier form over to one of today's, once.

Until questions stood above their answers, owner, date and status stood in the mark, and every
generated line began with the id of its block.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from ..engine import storage
from ..engine.errors import ProjectError
from ..engine.git import git
from ..engine.settings import Project, load_yaml
from ..engine.storage import sha256_text
from .blocks import (
    EARLIER,
    LIKE_A_MARK,
    NOTES,
    SIGNATURES,
    Part,
    Parts,
    meaning_hash,
    read,
    rewrite,
    survey,
)

FILES = ("PLAN.md", "plan/plan.yaml")
MARK = re.compile(r"\s*<!-- (/?)plan:(auto|measured|human) ([A-Z]+(?:-\d+)?)( [^<>]*)? -->\s*")
ATTRIBUTE = re.compile(r"(\w+) *= *(.*?)[\s,;|·]*(?=\b\w+ *=|$)")
HEADING = re.compile(r"### ([A-Z]+-\d+) ")
STATUSES = {"todo": "open", "na": "not needed"}  # the others kept their names
SECTIONS = "Problem and value|Data|Features and models|Evaluation|Deployment|Monitoring|"
FRAME = re.compile(
    rf"## \d ({SECTIONS}People and risk)|_NOTES belong to no decision: .* changes_|"
    r"Text between `plan:auto` marks follows .* between `plan:human` marks only\.|"
    r"`ml plan check` lists what is open, .* signs a block\.|Gates: G0 idea, .* G6 review\.|"
    r"_\S+ (not measured yet: run `.*`|none yet: .*|none: .*)_"
)
SEAL = re.compile(r"_\S+ (measured by run .*), seal ([0-9a-f]{6})_")


class Piece(NamedTuple):
    """Lines of people: an answer with what its mark says, or a text that stood elsewhere."""

    place: str  # id of the block that it is in or below, or NOTES
    lines: list[str]
    mark: dict[str, str] | None = None


def run(project: Project, revision: str) -> None:
    """Carry the words of a revision's PLAN.md, in git, over to the PLAN.md that is there now."""
    path = project.path("PLAN.md")
    old, plan = (git(project.root, "show", f"{revision}:./{name}") for name in FILES)
    new = read(path)
    if not earlier(old):
        raise ProjectError(f"PLAN.md of {revision} does not have the earlier form: nothing to do")
    if earlier(new) or re.search(r"^<{7}", new, re.MULTILINE):
        mend = "take the template's first: `git checkout --theirs PLAN.md`"
        raise ProjectError(f"PLAN.md itself has the earlier form, or a conflict: {mend}")
    text = carry(old, new, load_yaml(project.path(FILES[1]), plan.encode("utf-8")))
    storage.write_bytes(path, text.encode("utf-8"))


def earlier(text: str) -> bool:
    """Say whether a PLAN.md has the earlier form."""
    return EARLIER.search(text) is not None


def carry(old: str, new: str, plan: Mapping[str, Any], rendered: str = "") -> str:
    """Return `new`, a fresh PLAN.md of today's form, with every word that people wrote in `old`.

    `plan` is what plan.yaml said when `old` was made, `rendered` what the template made of it, if
    that is known. Answers, owners, dates, status and signatures stand under their decision, what
    stood outside of the marks below it, and what has no decision any more in the team's notes.
    """
    old = old.replace("\r\n", "\n")
    notes: list[str] = []
    for piece in _pieces(old, _generated(plan, new, rendered)):
        parts, _ = survey(new)
        part = parts.get(("human", piece.place))
        if piece.place == NOTES or part is None:
            gone = [] if piece.place == NOTES else [f"{piece.place}: {_said(piece)}".rstrip()]
            notes += ["", *gone, *piece.lines]
        elif piece.mark is None:
            lines = new.split("\n")
            lines[part.end + 1 : part.end + 1] = ["", *piece.lines]
            new = "\n".join(lines)
        else:
            part.attributes |= _attributes(piece, old, parts)
            new = rewrite(new, part, piece.lines or None)
    return "\n".join([new.rstrip("\n"), *notes]).rstrip("\n") + "\n"


def _generated(plan: Mapping[str, Any], new: str, rendered: str) -> Collection[str]:
    """Return the lines that no person wrote."""
    blocks = plan["blocks"].items()
    found = {line.strip() for _, block in blocks for line in block["lines"]}
    found |= {f"### {i} {b['title']} ({b['gate']})" for i, b in blocks}
    questions = {part.identifier: part.question for part in survey(new)[0].values()}
    for identifier, block in blocks:
        for question in (block.get("question", ""), questions.get(identifier, "")):
            found.add(f"_TODO({identifier}): {question}_")
    found |= {f"# Plan of {plan['project']['name']}", new.partition("\n")[0], ""}
    return found | {line.strip() for line in rendered.split("\n")}


def _pieces(old: str, generated: Collection[str]) -> Iterator[Piece]:
    place, kind, mark, lines = NOTES, "", "", list[str]()

    def piece() -> Iterator[Piece]:
        if kind == "measured" and _sealed(lines):
            return
        kept = lines
        if kind != "human":
            kept = [line for line in lines if not FRAME.fullmatch(line.strip())]
        kept = [line if line.strip() not in generated else "" for line in kept]
        kept = _trimmed([_harmless(line) for line in kept])
        if kind == "human":
            told = {name.lower(): value for name, value in ATTRIBUTE.findall(mark)}
            yield Piece(place, kept, told)
        elif kept:
            yield Piece(place, kept)

    for line in old.split("\n"):
        found, heading = MARK.fullmatch(line), HEADING.match(line)
        if found or heading or line.startswith(NOTES):
            yield from piece()
            kind, mark, lines = "", "", []
        if found:
            place = found[3]
            kind, mark = ("", "") if found[1] else (found[2], found[4] or "")
        elif line.startswith(NOTES):
            place = NOTES
            lines = [line.removeprefix(NOTES)]
        else:
            place = heading[1] if heading else place
            lines.append(line)
    yield from piece()


def _sealed(lines: list[str]) -> bool:
    """Say whether a run wrote the lines, and nobody since: the next one writes them anew."""
    lines = _trimmed(lines)
    match = SEAL.fullmatch(lines[-1].strip()) if lines else None
    if match is None:
        return False
    unsealed = [*lines[:-1], lines[-1].replace(f", seal {match[2]}", "")]
    of_lines = sha256_text("\n".join([*lines[:-1], match[1]]))[:6]
    return match[2] in (meaning_hash(unsealed), of_lines)


def _trimmed(lines: list[str]) -> list[str]:
    """Return lines without blank ones at both ends and twice in a row."""
    text = re.sub(r"\n\s*\n(\s*\n)+", "\n\n", "\n".join(lines)).strip("\n")
    return text.split("\n") if text.strip() else []


def _harmless(line: str) -> str:
    """Return a line that is no mark and no heading of a block."""
    line = re.sub(r"^(<{7}|>{7})", r"\\\1", line)
    return line.replace("plan:", "plan ") if LIKE_A_MARK.search(line) else line


def _said(piece: Piece) -> str:
    return ", ".join(f"{name} {value}" for name, value in (piece.mark or {}).items())


def _attributes(piece: Piece, old: str, parts: Parts) -> dict[str, str]:
    """Return what a mark said, in today's words.

    A signature goes along; it stays good for what says the same as before, in another form.
    """
    told = dict(piece.mark or {})
    status = told.get("status", "todo").lower()
    told["status"] = STATUSES.get(status, status)
    signed = all(told.get(name) for name in ("by", "on", "of"))
    if told["status"] in SIGNATURES and not signed:
        told["status"] = "review"  # by hand: nobody knows who signed what
    elif signed:
        told["of"] = _signature(told["of"], piece.place, old, parts)
    return told


def _signature(signed: str, identifier: str, old: str, parts: Parts) -> str:
    """Return a signature whose first hash, of the generated text, is of today's form of it."""
    mark = rf"<!-- plan:auto {identifier} -->\n(.*?)\n<!-- /plan:auto"
    found = re.search(mark, old, re.DOTALL)
    now = parts.get(("auto", identifier), Part("auto", identifier, 0)).lines
    was = [line.removeprefix(f"- {identifier} ") for line in found[1].split("\n")] if found else []
    first, _, rest = signed.partition(".")
    same = _words(was) == _words(now)
    if not (found and same and first == meaning_hash(found[1].split("\n"))):
        return signed
    return ".".join([meaning_hash(now), rest]) if rest else signed


def _words(lines: list[str]) -> list[str]:
    return re.findall(r"\w+", " ".join(lines).lower())
