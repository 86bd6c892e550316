"""Packages of the groups of pyproject.toml that only those install who need them."""

from importlib import import_module
from typing import Any

from .errors import ProjectError


def driver(name: str, group: str) -> Any:
    """Return the package of a group of pyproject.toml; ProjectError when it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise ProjectError(
            f"the driver {name.partition('.')[0]} is not installed: `uv sync --group {group}`, or "
            "add it to `default-groups` of pyproject.toml"
        ) from None
