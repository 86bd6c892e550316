"""Write docs/reference/questions.md, rules.md and numbers.md from what they describe.

python tools/gen_reference.py [--check]
"""

import json
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import yaml
from copier import run_copy
from gen_cookiecutter import own_default
from gen_given import files, group
from gen_rules import tasks

ROOT = Path(__file__).resolve().parents[1]
PRESET = (
    "Start from a known case? It fills every answer, and each can be changed. `none`, or one of "
    "the presets below; cases whose task is not built yet are listed and cannot be chosen."
)
NOTE = "<!-- Written by tools/gen_reference.py: edit what it describes, then run it. -->"


def row(*cells: str) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(*head: str) -> list[str]:
    """Return the head of a Markdown table."""
    return [row(*head), "|" + "---|" * len(head)]


def code(value: Any) -> str:
    """Return a value as a code span, lists item by item; nothing for an empty one."""
    if isinstance(value, list):
        return ", ".join(map(code, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`" if value != "" else "empty"


def questions() -> Iterator[str]:
    """Describe every answer; cookiecutter.json already has their texts as one line each."""
    texts = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["__prompts__"]
    yield "# Questions"
    yield NOTE
    yield (
        "Names for `--data NAME=VALUE`. Quick mode asks those marked so; the others take their "
        "default, which PLAN.md shows. A derived default follows from other answers."
    )
    for file in files():
        yield f"## {file.stem.capitalize()}"
        lines = table("Answer", "Quick", "Default", "Question")
        for name, details in group(file).items():
            if name in ("given", "preset_answers") or details.get("ask") is False:
                continue
            text = texts[name] if name != "preset" else PRESET
            if isinstance(text, dict):
                labels = [label for key, label in text.items() if key != "__prompt__"]
                text = f"{text['__prompt__']} {'; '.join(labels)}."
            default = own_default(details["default"])
            derived = isinstance(default, str) and "{" in default
            deeper = re.search("detail|plan_depth", str(details.get("ask", "")))
            quick = "" if deeper else "yes"
            lines.append(row(code(name), quick, "derived" if derived else code(default), text))
        yield "\n".join(lines)
    module: Any = jinja2.Environment(loader=jinja2.FileSystemLoader(ROOT)).get_template(
        "questions/presets.jinja"
    )
    presets = module.module.presets
    yield "## Presets"
    yield "Defaults of a known case; amounts and volumes are invented."
    lines = table("Answer", *map(code, presets))
    for name in dict.fromkeys(name for answers in presets.values() for name in answers):
        cells = (answers.get(name, "") for answers in presets.values())
        lines.append(row(code(name), *(c if name == "problem" else code(c) for c in cells)))
    yield "\n".join(lines)


def rules() -> Iterator[str]:
    """Describe every decision with its rules, in the order in which they are tried."""
    files = {"": ROOT / "questions" / "rules.yaml"}
    files |= {task: ROOT / "questions" / task / "rules.yaml" for task in tasks()}
    read = {of: yaml.safe_load(file.read_text(encoding="utf-8")) for of, file in files.items()}
    yield "# Decision rules"
    yield NOTE
    yield (
        "Of most decisions the first rule that matches counts; of those marked (all), every one "
        "that matches adds to the list. `plan/overrides.yaml` may give any of the values instead, "
        "unless a decision is fixed. What names a task counts for its projects alone."
    )
    lines = table("Name in a rule", "Means", "Task")
    for task, content in read.items():
        named = content["names"].items()
        lines += [row(code(name), code(means), task or "every") for name, means in named]
    yield "\n".join(lines)
    for identifier, common in read[""]["decisions"].items():
        for task, content in read.items():
            if common if not task else not common and identifier in content["decisions"]:
                yield from decision(identifier, content["decisions"][identifier], task)
    yield "## Sources"
    yield (
        "What each is cited for and its place in it, where it is found, and what of it was opened "
        f"in {read['']['laws_checked']}: trust no rule and no duty further than that."
    )
    lines = table("Key", "Source", "Where", "Opened")
    sources = {key: found for content in read.values() for key, found in content["sources"].items()}
    for key, found in sorted(sources.items()):
        where = f"<{found['at']}>" if found["at"] else ""
        lines.append(row(key, found["source"], where, found["seen"]))
    yield "\n".join(lines)


def decision(identifier: str, found: dict[str, Any], task: str) -> Iterator[str]:
    """Describe one decision, of `task` alone where that is not empty."""
    every = " (all)" if found["kind"] == "all" else ""
    yield f"## {identifier} {found['output']}{every}{f', {task}' if task else ''}"
    fixed = f" Fixed: {found['fixed']}." if "fixed" in found else ""
    words = ", ".join(f"{code(value)} ({said})" for value, said in found["words"].items())
    yield f"Values, and what people read: {words}.{fixed}"
    lines = table("Rule", "When", "Then", "Why", "Sources")
    for rule in found["rules"]:
        plain = {"True": "always", "otherwise": "otherwise"}
        when = plain.get(rule["when"]) or code(rule["when"])
        if "tasks" in rule:
            when = f"{', '.join(rule['tasks'])}: {when}"
        if "without" in rule:
            when = f"not {', '.join(rule['without'])}: {when}"
        sources = ", ".join(rule["sources"])
        lines.append(row(code(rule["id"]), when, code(rule["then"]), rule["why"], sources))
    yield "\n".join(lines)


def numbers() -> Iterator[str]:
    """Describe every computed number, with its value for the default answers."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a working tree with changes is fine here
        every = {"plan_depth": "regulated"}
        run_copy(str(ROOT), folder, every, defaults=True, quiet=True, vcs_ref="HEAD")
        plan = yaml.safe_load(Path(folder, "plan", "plan.yaml").read_text(encoding="utf-8"))
    yield "# Computed numbers"
    yield NOTE
    yield (
        "What the plan computes from the answers while it is rendered; the values are those of the "
        "default answers and all blocks. Sources: [decision rules](rules.md#sources)."
    )
    lines = table("Block", "Number", "Value", "Unit", "Formula", "Source")
    for identifier, found in plan["computed"].items():
        for name, number in found.items():
            value = "none" if number["value"] is None else f"{number['value']:.6g}"
            cells = (number["unit"], number["formula"], number["source"])
            lines.append(row(identifier, code(name), value, *cells))
    yield "\n".join(lines)


def main() -> None:
    """Write the pages, or with --check fail when one is not current."""
    for page in (questions, rules, numbers):
        target = ROOT / "docs" / "reference" / f"{page.__name__}.md"
        text = "\n\n".join(page()) + "\n"
        if "--check" not in sys.argv:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            sys.exit(f"{target.name} is stale: run python tools/gen_reference.py")


if __name__ == "__main__":
    main()
