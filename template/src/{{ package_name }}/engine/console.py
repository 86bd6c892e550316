"""What every command does alike: one line for an expected problem, text or JSON as a result."""

import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Annotated, Any

import msgspec
import typer

from .errors import ProjectError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

# What the system says when it fails; libraries wrap it in errors of their own.
TROUBLE = {
    "No space left|disk is full": "the disk is full: free some room and run the command again",
    "Read-only file|readonly database": "the project is read-only here: work in a writable copy",
    "Is a directory": "a folder stands where a file belongs: move it away",
    "Permission denied|not permitted": "no permission: check who owns the project's files",
}
OURS = (__package__ or "").partition(".")[0]
LACKING = "an image has the packages of its mode alone, and `uv sync` installs those of all"


def run(app: Callable[[], Any]) -> None:
    """Run the command; every expected problem is one line on stderr, and its exit code not 0.

    What a library warns of tells who wrote the code, not who runs it: `python -W` shows it.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        app()
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if line := _declared_on(error):
            print(f"error: {line}: {error}", file=sys.stderr)
            sys.exit(2)
        if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] != OURS:
            print(f"error: {error.name} is not installed here: {LACKING}", file=sys.stderr)
            sys.exit(2)
        text = " ".join(str(error).split())
        hint = next((hint for words, hint in TROUBLE.items() if re.search(words, text)), text)
        if hint == text and not isinstance(error, OSError):
            raise
        place = getattr(error, "filename", None)
        print(f"error: {hint}" + (f" ({place})" if place and hint != text else ""), file=sys.stderr)
        sys.exit(2)


def _declared_on(error: Exception) -> str:
    """Name the line of features.py or columns.py that cannot be read, such as a wrong keyword."""
    for name in ("features.py", "columns.py"):
        own = str(Path(__file__).parents[1] / name)
        if isinstance(error, SyntaxError) and error.filename == own:
            return f"{name}, line {error.lineno}"
        frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename == own]
        if frames and frames[0].name == "<module>":
            return f"{name}, line {frames[0].lineno}"
    return ""


def show(result: Any, as_json: bool, text: str) -> None:
    """Print a result for people or for machines."""
    # Numbers of NumPy are plain ones, as in the report that was written.
    told = msgspec.json.encode(result, enc_hook=lambda value: value.tolist()) if as_json else b""
    typer.echo(told.decode() if as_json else text)
