"""Rows that may be used with consent only: `consent` of the contract."""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..errors import ProjectError, told
from ..settings import load_yaml

FORM = (
    '`{property: consent, value: {column: agreed, values: ["yes"]}}` in customProperties of schema'
)
DOUBT = f"may say whose rows may be used: if so, write {FORM}"


class Consent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which column says whether a row may be used, and what counts as yes in it."""

    column: str
    values: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class _Table(msgspec.Struct, rename="camel"):
    custom_properties: list[dict[str, Any]] = []


class _Document(msgspec.Struct):
    schema: list[_Table] = []


def said(path: Path, name: str) -> Any:
    """Return a property of the table in the contract at `path`, None where nothing is said."""
    try:
        document = msgspec.convert(load_yaml(path) if path.is_file() else {}, _Document)
    except msgspec.ValidationError:
        return None  # `ml contract check` tells of such a form
    properties = document.schema[0].custom_properties if document.schema else []
    return next((item.get("value") for item in properties if item.get("property") == name), None)


def of(path: Path) -> Consent | None:
    """Return what the contract at `path` says of consent; None without a contract or a word of it.

    ProjectError where it says that in another form.
    """
    found = said(path, "consent")
    if found is None:
        return None
    try:
        return msgspec.convert(found, Consent)
    except msgspec.ValidationError as error:
        raise ProjectError(f"{path.name}: consent: {told(error, Consent)}: write {FORM}") from None
