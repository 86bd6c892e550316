"""Write cookiecutter.json from the questions of copier.yml, the only place that has them.

    python tools/gen_cookiecutter.py [--check]

A default that depends on other answers becomes "auto": the bridge then lets Copier derive it.
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
from gen_given import questions

ROOT = Path(__file__).resolve().parents[1]
AUTO = "auto"
# The folder is named before Copier can derive anything.
FOLDER = (
    "{{ (cookiecutter.project_name if cookiecutter.project_slug == 'auto'"
    " else cookiecutter.project_slug) | slugify or 'ml-project' }}"
)


def own_default(default: Any) -> Any:
    """Return the default without a preset: a plain value, or the expression that derives it."""
    found = re.fullmatch(r"\{\{ preset_answers\.get\('\w+', (.*)\) \}\}", str(default))
    try:
        value = yaml.safe_load(found[1]) if found else default
    except yaml.YAMLError:  # an expression
        return default
    return default if isinstance(value, str) and found and found[1][0] != "'" else value


def entry(question: Question, default: Any, presets: dict[str, Any]) -> Any:
    """Return what cookiecutter.json says for a question: a text, a yes or no, or the choices."""
    derived = question.when is not True or (isinstance(default, str) and "{" in default)
    varies = any(value != default for value in presets.values())
    if question.choices and not question.multiselect:
        values = [choice.value for choice in question._formatted_choices if not choice.disabled]
        first = AUTO if derived or varies else default  # cookiecutter takes the first
        return [first, *(value for value in values if value != first)]
    if derived:
        return AUTO
    if not varies:
        return default if isinstance(default, bool) else str(default)
    values = {name: text(value) for name, value in presets.items()}
    return f"{{{{ {values}.get(cookiecutter.preset, {text(default)!r}) }}}}"


def text(value: Any) -> Any:
    """Return a list as a person would type it; anything else as it is."""
    return f"[{', '.join(value)}]" if isinstance(value, list) else value


def prompt(question: Question) -> str | dict[str, str]:
    """Return the help as one line without its heading, and the labels of the choices."""
    lines = question.get_message().split("\n")
    said = " ".join(line.strip() for line in lines if not line.startswith("──")).strip()
    if not question.choices:
        return said
    choices = [choice for choice in question._formatted_choices if not choice.disabled]
    if question.multiselect:
        return f"{said} (a list, such as {text([str(choice.value) for choice in choices])})"
    return {"__prompt__": said, **{str(choice.value): str(choice.title) for choice in choices}}


def cookiecutter_json() -> str:
    """Return the text of cookiecutter.json."""
    warnings.simplefilter("ignore")  # a working tree with changes is fine here
    worker = Worker(src_path=str(ROOT), defaults=True, quiet=True, vcs_ref="HEAD")
    worker._ask()
    module: Any = worker.jinja_env.get_template("questions/presets.jinja").module
    entries: dict[str, Any] = {}
    prompts: dict[str, Any] = {}
    for name, details in questions().items():
        if details.get("when") is False:
            continue
        question = Question(
            answers=AnswersMap(),
            context=worker._render_context(),
            jinja_env=worker.jinja_env,
            var_name=name,
            **details,
        )
        presets = {key: value[name] for key, value in module.presets.items() if name in value}
        entries[name] = entry(question, own_default(details["default"]), presets)
        prompts[name] = prompt(question)
    entries["__folder"] = FOLDER
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
