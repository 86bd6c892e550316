"""What a bundle knows beside answers to rows, and what stands beside a file of them: nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .data.contract import Contract
from .model.scorer import Scorer
from .model.trial import Tested
from .settings import Project


def learnt(project: Project, head: Any, said: str) -> dict[str, Any]:
    """Return further files of a bundle, by name: none."""
    return {}


def judged(
    project: Project, agreed: Contract, tested: Tested, scorer: Scorer, warnings: list[str]
) -> dict[str, Any]:
    """Return what else the report says of test rows: nothing."""
    return {}


def named(folder: Path) -> tuple[str, ...]:
    """Return the columns that a file of answers needs beside its keys: none."""
    return ()


def place(output: Path) -> Path:
    """Return the file that a file of answers has to be whole: itself."""
    return output


def stands(output: Path, done: dict[str, Any]) -> bool:
    """Return whether what belongs to a file of answers is as it was written."""
    return True


def written(
    folder: Path, parts: Sequence[Path], output: Path, done: dict[str, Any]
) -> dict[str, Any]:
    """Write what stands beside a file of answers: nothing."""
    return {}
