"""Write cookiecutter.json from the questions of copier.yml, the only place that has them.

    python tools/gen_cookiecutter.py [--check]

A default that depends on other answers becomes "auto": the bridge then lets Copier derive it. The
presets are Copier's alone: cookiecutter asks with the defaults of one's own project.
"""

import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import yaml
from copier._main import Worker
from copier._user_data import AnswersMap, Question

ROOT = Path(__file__).resolve().parents[1]


def own_default(default: Any) -> Any:
    """Return the default without a preset: a plain value, or the expression that derives it."""
    found = re.fullmatch(r"\{\{ preset_answers\.get\('\w+', (.*)\) \}\}", str(default))
    try:
        value = yaml.safe_load(found[1]) if found else default
    except yaml.YAMLError:  # an expression
        return default
    return default if isinstance(value, str) and found and found[1][0] != "'" else value


def entry(question: Question, default: Any) -> Any:
    """Return what cookiecutter.json says for a question: a text, a yes or no, or the choices."""
    derived = question.when is not True or (isinstance(default, str) and "{" in default)
    if question.multiselect:
        return yaml.safe_dump(default, default_flow_style=True).strip()
    if question.choices and not derived:
        values = [choice.value for choice in question._formatted_choices]
        return sorted(values, key=lambda value: value != default)  # cookiecutter takes the first
    if derived:
        return "auto"
    return default if isinstance(default, bool) else str(default)


def prompt(question: Question) -> str | dict[str, str]:
    """Return the help as one line without its heading, and the labels of the choices."""
    lines = question.get_message().split("\n")
    text = " ".join(line.strip() for line in lines if not line.startswith("──")).strip()
    if not question.choices or question.multiselect:
        return text
    labels = {str(choice.value): str(choice.title) for choice in question._formatted_choices}
    return {"__prompt__": text, **labels}


def cookiecutter_json() -> str:
    """Return the text of cookiecutter.json."""
    warnings.simplefilter("ignore")  # a working tree with changes is fine here
    worker = Worker(src_path=str(ROOT), defaults=True, quiet=True, vcs_ref="HEAD")
    worker._ask()
    entries: dict[str, Any] = {}
    prompts: dict[str, Any] = {}
    for name, details in worker.template.questions_data.items():
        if name.startswith("preset"):
            continue
        question = Question(
            answers=AnswersMap(),
            context=worker._render_context(),
            jinja_env=worker.jinja_env,
            var_name=name,
            **details,
        )
        entries[name] = entry(question, own_default(details["default"]))
        prompts[name] = prompt(question)
    # The folder is named before Copier can derive anything.
    entries["project_slug"] = "{{ cookiecutter.project_name | slugify }}"
    return json.dumps({**entries, "__prompts__": prompts}, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the file, or with --check fail when it is not what the questions say."""
    target, text = ROOT / "cookiecutter.json", cookiecutter_json()
    if "--check" not in sys.argv:
        target.write_text(text, encoding="utf-8")
    elif target.read_text(encoding="utf-8") != text:
        sys.exit("cookiecutter.json is stale: run python tools/gen_cookiecutter.py")


if __name__ == "__main__":
    main()
