"""The blocks of PLAN.md: parts between two marks, read with patience and rewritten one at a time.

    ### Primary metric <!-- EVAL-01 -->
    <!-- plan:auto EVAL-01 -->
    Decision: `pr_auc` ...
    <!-- /plan:auto EVAL-01 -->
    > **Why does this metric fit the goal?**
    <!-- plan:human EVAL-01 -->
    Owner: nobody · Due: none · Status: open
    <!-- plan:answer EVAL-01 -->
    _No answer yet._
    <!-- /plan:human EVAL-01 -->

`auto` parts follow the answers, `measured` parts the reports, `human` parts are people's: one line
of fields, perhaps a signature, and the answer. A line of the table RESULTS is a part of its own.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from ..engine import formats
from ..engine.errors import ProjectError
from ..engine.settings import Plan
from ..engine.storage import sha256_text

MARK = re.compile(r"<!-- (/?)plan:(auto|measured|human|answer) ([A-Z]+(?:-\d+)?) -->")
LIKE_A_MARK = re.compile(r"<!--\s*/?\s*plan:")
HIDDEN = re.compile(r"(?<!\s)\s*<!--.*?-->")  # from the first space on, or long gaps take hours
HEADING = re.compile(r"#{2,3} .*<!-- ([A-Z]+(?:-\d+)?) -->\s*$|## \d |## Notes of the team")
KINDS = ("auto", "measured", "human", "answer")
LONGEST_LINE = 20_000  # characters; what is longer is no text that people read
NOTES = "## Notes of the team"  # what stands below belongs to no block
# A mark of plans whose fields stood in it, and what to do about it.
EARLIER = re.compile(r"<!-- plan:human [A-Z]+-\d+ \w+=")
OLD = "a mark of an earlier form: run `ml update`, or `ml plan carry`"
TOP = ("VERDICT", "SUMMARY", "FLOW", "GATES", "CHOICES", "OVERRIDES", "RESULTS")
DUTIES = "<!-- duties -->"  # stands above the table of the duties by law
RESULTS = "RESULTS"  # the table of what was measured of blocks that nobody writes in
ROW = re.compile(r"\|.*<!-- ([A-Z]+-\d+)\b[^>]*-->\s*\|\s*$")
FIELDS = ("Owner", "Due", "Status")
FIELD = re.compile(r"\**\b(owner|due|status)\b\**\s*[:=]\**\s*", re.IGNORECASE)
SIGNED = re.compile(
    r"[_*]*(?<![a-z])(approved|rejected)\s+by\s+(\S.*?)\s+on\s+(\d{4}-\d\d-\d\d),\s+seal\s+([\da-f.]*[\da-f])[_*]*",
    re.IGNORECASE | re.DOTALL,
)
NOBODY = ("nobody", "nobody yet", "no one", "no")
PLACEHOLDER = "_No answer yet._"
STATUSES = ("open", "draft", "review", "not needed")  # what people write
SIGNATURES = ("approved", "rejected")  # what the command writes
# What people write for a status, and which they mean.
MEANT = {
    **dict.fromkeys(("done", "ready", "finished", "written", "complete", "ok"), "review"),
    **dict.fromkeys(("todo", "new", "later", ""), "open"),
    **dict.fromkeys(("wip", "started", "doing"), "draft"),
    **dict.fromkeys(("n/a", "na", "none", "unneeded"), "not needed"),
}
# What people write where they have nothing to say yet, without signs and in small letters.
NOTHING = re.compile(
    r"|xx+|(to ?do|tb[acd]|fixme|wip|pending|open|placeholder|later|soon|unknown|not known|no idea|"
    r"nothing|none|nil|null|n ?a|not applicable|no answer|to be "
    r"(announced|added|agreed|checked|clarified|confirmed|decided|defined|determined|done|filled|"
    r"filled in|specified|written))( yet| later| soon)*"
)
BLOCKS = "ul|ol|li|table|thead|tbody|tr|th|td|h[1-6]|blockquote|hr|br"
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


class PlanError(ProjectError):
    """PLAN.md cannot be read; `problems` has one line for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("PLAN.md: " + "; ".join(problems))
        self.problems = problems


@dataclass
class Part:
    """One part: the numbers of its marks' lines (from 0), and the lines between.

    Of a human part `lines` is the answer, `attributes` has owner, due and status, with a signature
    also by, on and of; `head` is how the lines above the answer are written, `stray` what they hold
    beside fields. A part of one line of a table begins and ends there.
    """

    kind: str
    identifier: str
    start: int
    end: int = -1
    attributes: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    question: str = ""
    answer: int = -1  # the line of the mark above the answer
    head: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    read: dict[str, str] = field(default_factory=dict)  # the attributes as the file has them
    place: str = "PLAN.md"  # the id in the heading above

    @property
    def shown(self) -> list[str]:
        """The lines as a reader sees them: nothing hidden; of a row of a table, its last cell."""
        lines = [HIDDEN.sub("", line) for line in self.lines]
        if self.start != self.end:
            return lines
        cell = lines[0].strip("| ").partition("|")[2].strip()
        return re.split(r"(?<=\.) (?=[A-Z][a-z ]+: )", cell)

    @property
    def open(self) -> bool:
        """Whether nobody has answered the question of this human part.

        What the template left does not count where a text stands beside it.
        """
        return nothing(*self.lines)


Parts = dict[tuple[str, str], Part]


class Problem(NamedTuple):
    """What cannot be read: its block ("PLAN.md" for none), the words, and how bad it is."""

    identifier: str
    message: str
    level: str = "error"


def nothing(*lines: str) -> bool:
    """Say whether lines say nothing: "TODO", "n/a", "none", a dash, dots. "None: we ..." does."""
    return all(map(_says_nothing, HIDDEN.sub("", "\n".join(lines)).split("\n")))


def nobody(name: str) -> bool:
    """Say whether what stands for a name or a date names none."""
    return nothing(name) or name.lower().rstrip(".") in NOBODY


def _says_nothing(line: str) -> bool:
    plain = re.sub(r"^\s*(\d+[.)] |<br ?/?>)|&nbsp;|<br ?/?>", "", line)
    plain = re.sub(r"[\W_]+", " ", re.sub(r"\b(\w)\.(?=\w\b)", r"\1", plain)).strip()
    started = re.match(r"(TODO|TBD|FIXME|XXX) ", plain)  # and then who or what
    return bool(NOTHING.fullmatch(plain.lower()) or started)


def unanswered(plan: Plan, parts: Parts) -> dict[str, Part]:
    """Return the parts of questions that apply and that nobody has answered, in plan order."""
    return {
        i: part
        for i, block in plan.blocks.items()
        if block.applies and (part := parts.get(("human", i))) is not None and part.open
    }


def meaning(lines: Sequence[str]) -> str:
    """Return what Markdown lines say, the same however a formatter has laid them out.

    Blank lines, wrapped lines, kinds of bullets and of emphasis, needless backslashes, the padding
    of tables and the numbers of an ordered list do not count; fenced code does, line by line.
    """
    pieces = re.split(r"(<pre>.*?</pre>)", MARKDOWN.render("\n".join(lines)), flags=re.DOTALL)
    for i in range(0, len(pieces), 2):
        text = re.sub(r'</?p>|(?<=<ol) start="\d+"', " ", pieces[i])
        text = re.sub(r"\s+", " ", text)
        pieces[i] = re.sub(rf" ?(</?(?:{BLOCKS})\b[^>]*>) ?", r"\1", text)
    return "".join(pieces).strip()


def same(lines: Sequence[str], others: Sequence[str]) -> bool:
    """Say whether two texts mean the same; see `meaning`."""
    return [*lines] == [*others] or meaning(lines) == meaning(others)


def meaning_hash(lines: Sequence[str]) -> str:
    """Return the first 6 hex digits of the SHA-256 of what the lines say."""
    return sha256_text(meaning(lines))[:6]


def read(path: Path) -> str:
    """Read PLAN.md with its line ends as they are; those of old Macs become newlines."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ProjectError(f"{path} is missing: restore it with git") from None
    try:
        return re.sub(r"\r(?!\n)", "\n", content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ProjectError(f"{path}: line {line} is no UTF-8 text: save it as UTF-8") from None


def parse(text: str) -> Parts:
    """Return the parts by (kind, id), in order; PlanError names every broken mark by its line."""
    parts, problems = survey(text)
    if broken := [problem.message for problem in problems if problem.level == "error"]:
        raise PlanError(broken)
    return parts


def survey(text: str) -> tuple[Parts, list[Problem]]:
    """Return the parts that can be read, and what is wrong with the others.

    The next heading or the next beginning ends a part that lost its end: a slip in one block hides
    no other.
    """
    reader = _Reader(Counter(mark[2] for mark in MARK.findall(text)))
    for number, raw in enumerate(text.split("\n")):
        reader.read(number, raw.removesuffix("\r"))
    reader.lose()
    parts, problems = reader.parts, reader.problems
    for part in parts.values():
        if part.kind == "human":
            problems += _fields(part)
        else:
            part.lines, part.head = part.head, []
    results = parts.get(("measured", RESULTS), Part("measured", RESULTS, 0))
    for number, line in enumerate(results.lines, results.start + 1):
        if row := ROW.match(line):
            found = Part("measured", row[1], number, number, lines=[line])
            parts.setdefault((found.kind, found.identifier), found)
    return parts, problems


def unread(problems: Sequence[Problem]) -> list[str]:
    """Return the lines of a page that name what it cannot show of PLAN.md."""
    told = [escape(problem.message) for problem in problems if problem.level == "error"]
    head = "**A part of PLAN.md cannot be read, and may be missing here:**"
    return [f"{head} {'; '.join(told)}.", ""] if told else []


def rewrite(text: str, part: Part, lines: list[str] | None = None) -> str:
    """Return the text with new lines in one part, or with its fields as `part.attributes` say."""
    all_lines = text.split("\n")
    end = "\r" if all_lines[part.start].endswith("\r") else ""
    inside = part.lines if lines is None else lines
    if part.start == part.end:
        all_lines[part.start] = inside[0] + end
        return "\n".join(all_lines)
    if part.kind == "human":
        mark = f"<!-- plan:answer {part.identifier} -->"
        head = part.head if part.attributes == part.read else [*fields(part), *part.stray]
        inside = [*head, mark, *inside]
    all_lines[part.start + 1 : part.end] = [line + end for line in inside]
    return "\n".join(all_lines)


def fields(part: Part) -> list[str]:
    """Return the lines for owner, date and status of a human part, and for its signature."""
    told = {"owner": "nobody", "due": "none", "status": "open"}
    told |= {name: value for name, value in part.attributes.items() if value != "none"}
    line = " · ".join(f"{name}: {told[name.lower()]}" for name in FIELDS)
    if told["status"] not in SIGNATURES:
        return [line]
    signed = f"{told['status'].capitalize()} by {told['by']} on {told['on']}, seal {told['of']}"
    return [line, f"_{signed}_"]


def escape(value: object) -> str:
    """Write a name or text of unknown origin as plain text of one Markdown line."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+", " ", str(value)).strip()
    text = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(value: object) -> str:
    """Write a name as a code span when that is safe, else as plain text."""
    text = str(value)
    return f"`{text}`" if re.fullmatch(r"[\w.,/-]+( [\w.,/-]+)*", text) else escape(text)


class _Reader:
    """Reads PLAN.md line by line into parts and problems."""

    def __init__(self, marks: Counter[str]) -> None:
        self.marks = marks  # how often each id stands in one: a slip of the pen does so once
        self.parts: Parts = {}
        self.problems: list[Problem] = []
        self.current: Part | None = None
        self.heading = "PLAN.md"
        self.asked: list[str] = []  # the quote above a human part
        self.notes = False
        self.outside = False  # whether the line before stood outside of the marks too
        self.unread: set[str] = set()  # blocks of which a part is left out

    @property
    def place(self) -> str:
        """The block that a line belongs to."""
        return self.current.identifier if self.current else self.heading

    def note(self, identifier: str, line: int, message: str, level: str = "error") -> None:
        self.problems.append(Problem(identifier, f"line {line + 1}: {message}", level))

    def lose(self) -> None:
        """End a part whose own end has not come."""
        if self.current is not None:
            self.problems.append(_lost(self.current))
            self.parts.pop((self.current.kind, self.current.identifier), None)
        self.current = None

    def read(self, number: int, line: str) -> None:
        if len(line) > LONGEST_LINE:
            self.leave(number, len(line))
            return
        if "\0" in line:
            self.note(self.place, number, "holds a NUL character, which is no text: delete it")
        if re.match(r"<{7}|>{7}", line):
            self.note(self.place, number, "unsolved merge conflict")
        if mark := self.meant(number, line.strip()):
            self.mark(number, mark)
            self.outside, self.asked = False, []
        elif found := HEADING.match(line):
            self.lose()
            self.heading = found[1] if self.marks[found[1]] > 1 else "PLAN.md"
            self.notes = self.notes or line.startswith(NOTES)
            self.outside, self.asked = False, []
        elif self.current is not None:
            (self.current.lines if self.current.answer >= 0 else self.current.head).append(line)
        elif line.startswith(">"):
            self.asked.append(line.strip("> "))
        elif line.startswith(("## ", "### ")):
            self.heading = "PLAN.md"  # of a block, whose id was lost
        elif not (self.notes or not line.strip() or re.match(r"#|<!--|[<=>|]{7}", line)):
            if not self.outside:
                self.note(self.heading, number, _stray(self.heading, line), "warning")
            self.outside = True

    def leave(self, number: int, length: int) -> None:
        """Leave a part unread that holds an enormous line: it may be no text at all."""
        mend = "break it into lines, or keep it in a file of its own and link that"
        self.note(self.place, number, f"has {formats.number(length)} characters: {mend}")
        if self.current is not None:
            self.parts.pop((self.current.kind, self.current.identifier), None)
            self.unread.add(self.current.identifier)
            self.current, self.outside = None, True

    def meant(self, number: int, line: str) -> str:
        """Return the mark that a line is, or must have meant; "" when it is none.

        A slip is told of the block that it stands in, and read as what was meant.
        """
        like, match = LIKE_A_MARK.search(line), MARK.fullmatch(line)
        if not like and not line.startswith("<!"):
            return ""
        given = match[3] if match else _id(line)
        if EARLIER.match(line):
            self.note(given, number, OLD)
            return ""
        if match:
            near = f"<!-- {match[1]}plan:{match[2]} {self.expected(*match.groups())} -->"
        else:
            places = dict.fromkeys(filter(None, (self.place, self.heading, given)))
            marks = [
                f"<!-- {end}plan:{k} {i} -->" for i in places for k in KINDS for end in ("", "/")
            ]
            near = next(iter(get_close_matches(line, marks, 1, 0.8)), "")
        if line != near and (near or like):
            hint = f": did you mean `{near}`?" if near else ""
            level = "warning" if self.notes else "error"
            about = self.place if "-" in self.place else _id(near) or given or self.place
            self.note(about, number, f"not a mark that plans have: {line[:80]}{hint}", level)
        return near

    def expected(self, closing: str, kind: str, given: str) -> str:
        """Return the id that a mark must have where it stands; `given` where nothing says else."""
        part = self.current
        ends = closing and part is not None and part.kind == kind
        if part is not None and (ends or (kind == "answer" and part.kind == "human")):
            return part.identifier
        begins = not closing and kind != "answer"
        if not begins or "-" in self.heading:
            lacks = begins and (kind, self.heading) not in self.parts
            return self.heading if lacks else given
        top = get_close_matches(given, TOP, 1) if self.marks[given] < 2 else []
        return top[0] if top else given

    def mark(self, number: int, line: str) -> None:
        match = MARK.fullmatch(line)
        assert match is not None
        closing, kind, identifier = match.groups()
        name, part = f"plan:{kind} {identifier}", self.current
        if part is not None and part.identifier != identifier:
            part = None  # another block's mark
        if kind == "answer" and part is not None and part.kind == "human" and not closing:
            if part.answer >= 0:
                self.note(identifier, number, f"{name} appears twice: delete one of the two")
            else:
                part.answer = number
        elif part is None and (closing or kind == "answer") and identifier in self.unread:
            pass
        elif kind == "answer":
            mend = f"put `<!-- plan:human {identifier} -->` above its line of fields"
            self.note(identifier, number, f"{name} stands in no block of its own: {mend}")
        elif part is not None and kind == part.kind and not closing and number == part.start + 1:
            self.note(identifier, number, f"{name} begins twice: delete one of the two")
        elif part is not None and kind == part.kind:
            if not closing:
                self.note(identifier, number, f"{name} begins twice: its end is `<!-- /{name} -->`")
            part.end, self.current = number, None
        elif closing:
            self.note(identifier, number, f"{name} ends without a beginning")
        else:
            self.begin(Part(kind, identifier, number))

    def begin(self, part: Part) -> None:
        self.lose()
        key = part.kind, part.identifier
        if key in self.parts:
            self.note(part.identifier, part.start, f"plan:{' '.join(key)} appears twice")
        part.place = self.heading
        part.question = re.sub(r"^[*_ ]+|[*_ ]+$", "", " ".join(self.asked))
        self.current = part
        if key not in self.parts or self.parts[key].place != part.identifier:
            self.parts[key] = part


def _id(line: str) -> str:
    found = re.search(r"\b[A-Z]{2,}(-\d+)?\b", line)
    return found[0] if found else ""


def _lost(part: Part) -> Problem:
    mark = f"plan:{part.kind} {part.identifier}"
    where = f"line {part.start + 1}: {mark} never ends"
    return Problem(part.identifier, f"{where}: put `<!-- /{mark} -->` below its text")


def _stray(identifier: str, line: str) -> str:
    place = f"<!-- plan:answer {identifier} -->" if "-" in identifier else NOTES
    return f"{line.strip()[:40]!r} stands outside of the marks: move it below `{place}`"


def _joined(quote: list[str]) -> str:
    return " ".join(line.strip("> ").strip() for line in quote)


def _fields(part: Part) -> list[Problem]:
    """Read the lines above the answer into `part.attributes`; return what they do not say."""
    identifier, problems = part.identifier, []

    def note(message: str, level: str = "error") -> None:
        where = f"line {part.start + 2}: {identifier}: "
        problems.append(Problem(identifier, where + message, level))

    if part.answer < 0:
        note(f"put `<!-- plan:answer {identifier} -->` back above its answer")
        last = max((n for n, line in enumerate(part.head) if FIELD.match(line)), default=-1)
        part.head, part.lines = part.head[: last + 1], part.head[last + 1 :]
    if fence := _open_fence(part.lines):
        note(f"its code never ends, and hides what follows: put {fence} below it")
    text = "\n".join(part.head)
    signature = SIGNED.search(text)
    if signature is not None:
        text = text[: signature.start()] + text[signature.end() :]
    found, part.stray = _named(text)
    for word in part.stray:
        fault = f"{word[:40]!r} is no field: they are Owner, Due and Status; an answer goes below"
        note(f"{fault} `<!-- plan:answer {identifier} -->`", "warning")
    for name in ("owner", "due"):
        value = found.get(name, "")
        found[name] = "none" if nobody(value) else value
    status = found.get("status", "").lower() or (signature[1].lower() if signature else "open")
    if signature is not None and status == signature[1].lower():
        found |= {"by": signature[2], "on": signature[3], "of": signature[4]}
    elif status in SIGNATURES:
        note(f"{status} is what `ml plan approve {identifier}` writes; by hand: {_allowed()}")
        status = "review"
    elif status not in STATUSES:
        meant = MEANT.get(status) or next(iter(get_close_matches(status, STATUSES, 1)), None)
        hint = f": did you mean {meant}?" if meant else ""
        if meant == "review":
            hint += f" `ml plan approve {identifier}` says that it is done"
        note(f"status is one of {_allowed()}, not {status!r}{hint}")
    elif signature is not None:
        note("is signed, and its status was changed by hand: approve it again", "warning")
    part.attributes = {name: found[name] for name in ("owner", "due")} | {"status": status}
    part.attributes |= {name: found[name] for name in ("by", "on", "of") if name in found}
    part.read = dict(part.attributes)
    return problems


def _open_fence(lines: list[str]) -> str:
    """Return what would close a fenced code that runs to the end of the lines, else ""."""
    fences = [token for token in MARKDOWN.parse("\n".join([*lines, ""])) if token.type == "fence"]
    if not fences or (place := fences[-1].map) is None:
        return ""
    code = fences[-1].content.count("\n")
    return "" if place[1] - place[0] == code + 2 else fences[-1].markup


def _named(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the fields by name, in small letters, and what else stands there."""
    found: dict[str, str] = {}
    strays = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        marks = [*FIELD.finditer(line)]
        before = line[: marks[0].start()] if marks else line
        if before.strip("·,;| "):
            name = next(reversed(found), "")
            if name and (marks or found[name].lower() in ("", "not")):
                more = before.strip("·,;| ")  # a formatter has wrapped the line
                found[name] = f"{found[name]} {more}".strip()
            else:
                strays.append(line)
                continue
        for mark, after in zip(marks, [*marks[1:], None], strict=False):
            value, *rest = re.split(
                r"[·;|]|,(?=[^,]*:)", line[mark.end() : after and after.start()]
            )
            found[mark[1].lower()] = re.sub(r"\\(?=[^\w\s])", "", value).strip("*, ")
            strays += [word.strip() for word in rest if word.strip()]
    return found, strays


def _allowed() -> str:
    return ", ".join(STATUSES)


def before_duties(lines: Sequence[str]) -> list[str]:
    """Return what a block says above its table of the duties by law, or all where it has none."""
    return [*lines[: lines.index(DUTIES)]] if DUTIES in lines else [*lines]


def in_full(plan: Plan, lines: Sequence[str]) -> Sequence[str]:
    """Return a block's lines with all that is known of the duties, where a light plan is brief."""
    if DUTIES not in lines or plan.answers["plan_depth"] != "light":
        return lines
    rows = [(d.duty, d.article, d.reason, d.owner, d.evidence) for d in plan.duties]
    head = ["| Duty | Article | Why | Owner | Evidence |", "|---|---|---|---|---|"]
    return [*before_duties(lines), "", *head, *(f"| {' | '.join(row)} |" for row in rows)]


def current_day() -> dt.date:
    """Return today where this machine is."""
    return dt.datetime.now().astimezone().date()


def read_date(text: str) -> dt.date | None:
    """Return the date that YYYY-MM-DD names, None for another text."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None
