"""Rows that may be used with consent only: `consent` of the contract, kept when rows come."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import polars as pl

from ..errors import ProjectError
from ..settings import load_yaml

FORM = (
    '`{property: consent, value: {column: agreed, values: ["yes"]}}` in customProperties of schema'
)


class Consent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which column says whether a row may be used, and what counts as yes in it."""

    column: str
    values: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class _Table(msgspec.Struct, rename="camel"):
    custom_properties: list[dict[str, Any]] = []


class _Document(msgspec.Struct):
    schema: list[_Table] = []


def of(path: Path) -> Consent | None:
    """Return what the contract at `path` says of consent; None without a contract or a word of it.

    ProjectError where it says that in another form.
    """
    try:
        document = msgspec.convert(load_yaml(path) if path.is_file() else {}, _Document)
    except msgspec.ValidationError:
        return None  # `ml contract check` tells of such a form
    properties = document.schema[0].custom_properties if document.schema else []
    found = [item.get("value") for item in properties if item.get("property") == "consent"]
    if not found:
        return None
    try:
        return msgspec.convert(found[0], Consent)
    except msgspec.ValidationError as error:
        raise ProjectError(f"{path.name}: consent: {error}: write {FORM}") from None


def given(frame: pl.DataFrame, consent: Consent) -> pl.DataFrame:
    """Return the rows whose column says yes, in any case of letters; a missing value does not."""
    if consent.column not in frame.columns:
        raise ProjectError(
            f"consent is asked for in column {consent.column!r}, which the data lack: load it, or "
            "correct `consent` of the contract"
        )
    yes = [value.strip().lower() for value in consent.values]
    said = pl.col(consent.column).cast(pl.String).str.strip_chars().str.to_lowercase()
    kept = frame.filter(said.is_in(yes))
    if frame.height and not kept.height:
        raise ProjectError(
            f"no row of {frame.height} has consent: {consent.column!r} is never "
            f"{' or '.join(map(repr, consent.values))}"
        )
    return kept
