"""Rows for those who label, as CSV or JSON lines, and their labels back.

An item is named by a hash of its key, or of all of it that is neither target nor personal, so that
files may be sorted and cut, and the table loaded anew. A snapshot never changes: labels make a new
table beside it.
"""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from .. import privacy, storage
from ..data import contract as contracts
from ..data import ingest, validation, whole
from ..data.contract import Column, Contract
from ..errors import ProjectError
from ..formats import count, number
from ..kinds import READ
from ..settings import Project
from . import forms

FOLDER, REPORT = "data/labels", "reports/labels.json"
SUFFIXES = (".csv", ".jsonl")
CHOICES = ("random", "suspects", "unlabelled")
ITEM, GIVEN, LABEL, PERSON = "item", "given", "label", "annotator"
LISTED = 1000
SHOWN = 5


class _Snapshot(msgspec.Struct):
    file: str
    sha256: str
    made_up: bool = False


class _Suspect(msgspec.Struct):
    item: str


class _Suspects(msgspec.Struct):
    listed: list[_Suspect]


def items(frame: pl.DataFrame, agreed: Contract) -> pl.Series:
    """Return what names each row of a table, raw or typed: 16 hex digits."""
    keys = [agreed.column(name) for name in agreed.primary_key]
    if not keys or any(map(privacy.hidden, keys)):
        keys = [c for c in agreed.columns if c.role != "target" and not privacy.hidden(c)]
    if not keys:
        raise ProjectError("the contract has no column but personal ones that tells rows apart")
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, frame.height)
    typed = (
        validation.parse(frame.get_column(c.name, default=nothing), c).alias(c.name) for c in keys
    )
    texts = [values.cast(pl.String).fill_null("\x00") for values in typed]
    joined = pl.DataFrame(texts).select(pl.concat_str(pl.all(), separator="\x1f")).to_series()
    plain = (hashlib.blake2b(line.encode(), digest_size=8).hexdigest() for line in joined)
    return pl.Series(ITEM, list(plain), dtype=pl.String)


def snapshot(project: Project) -> tuple[pl.DataFrame, _Snapshot]:
    """Return the rows of the last snapshot."""
    manifest = project.path("data/raw/manifest.json")
    if not manifest.exists():
        raise ProjectError("no data yet: run `ml ingest` first")
    found = storage.read_json(manifest, _Snapshot)
    path = project.path(found.file)
    if not path.is_file() or storage.sha256(path) != found.sha256:
        raise ProjectError(f"{found.file} is missing or was changed: run `ml ingest` again")
    return pl.read_parquet(path), found


def export(
    project: Project, output: Path, rows: int, choose: str, *, given: bool = False
) -> dict[str, Any]:
    """Write up to `rows` items with empty columns for their label and for who gives it.

    What is personal stays here, and what names somebody in a text is masked. Without `given`,
    nobody sees the label that is there, so that agreement means something.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise ProjectError(f"{output.name}: the name must end in .csv or .jsonl")
    if not output.absolute().parent.is_dir():
        raise ProjectError(f"{output}: there is no such folder: make it, or give another name")
    if output.exists():
        raise ProjectError(f"{output} is there already, maybe with labels: give another name")
    if choose not in CHOICES:
        raise ProjectError(f"--choose {choose}: it is one of {', '.join(CHOICES)}")
    agreed, (frame, _) = contracts.read(project.contract_path), snapshot(project)
    target = _target(agreed, frame)
    item = items(frame, agreed)
    label = forms.texts(validation.parse(frame[target.name], target), target)
    columns = [c for c in agreed.columns if c.role != "target" and not privacy.hidden(c)]
    columns = [column for column in columns if column.name in frame.columns]
    if taken := {c.name for c in columns} & {ITEM, GIVEN, LABEL, PERSON}:
        columns = [column for column in columns if column.name not in taken]
    table = frame.select(column.name for column in columns).with_columns(item, label.alias(GIVEN))
    table = table.unique(ITEM, keep="first", maintain_order=True)
    table = _chosen(project, table, choose).head(rows)
    if not table.height:
        raise ProjectError(f"there is nothing to label: no row is chosen by {choose}")
    for column in columns:
        if column.kind in READ:
            folder = output.parent / f"{output.stem}-{column.name}"
            handed = whole.handed(table[column.name], column.kind, table[ITEM], folder)
            table = table.with_columns(handed.alias(column.name))
    shown = [ITEM, *(column.name for column in columns), *([GIVEN] if given else [])]
    nothing = [pl.lit("").alias(name) for name in (LABEL, PERSON)]
    _write(output, table.select(shown).with_columns(nothing))
    return {"file": str(output), "rows": table.height, "chosen": choose, "columns": shown[1:]}


def _chosen(project: Project, table: pl.DataFrame, choose: str) -> pl.DataFrame:
    if choose == "suspects":
        path = project.path("reports/suspects.json")
        if not path.exists():
            raise ProjectError("no label was doubted yet: run `ml label suspects` first")
        listed = [one.item for one in storage.read_json(path, _Suspects).listed]
        order = pl.DataFrame({ITEM: listed}, schema={ITEM: pl.String})
        return order.join(table, on=ITEM, how="inner", maintain_order="left")
    if choose == "unlabelled":
        table = table.filter(pl.col(GIVEN).is_null())
    return table.sort(ITEM)  # a hash: in no order, and each time the same


def _write(output: Path, table: pl.DataFrame) -> None:
    if output.suffix.lower() == ".csv":
        storage.write_text(output, table.write_csv())
    else:
        lines = (msgspec.json.encode(row) + b"\n" for row in table.iter_rows(named=True))
        storage.write_bytes(output, b"".join(lines))


def take(project: Project, path: Path) -> dict[str, Any]:
    """Read labels; write a table with them beside the snapshot, and what changed to labels.json.

    Of several people's labels of an item that counts which `forms.decide` says; without one the
    item stays as it was. ProjectError, and nothing written, for an item or a label that is unknown.
    """
    agreed, (frame, found) = contracts.read(project.contract_path), snapshot(project)
    target = _target(agreed, frame)
    item = items(frame, agreed)
    before = forms.texts(validation.parse(frame[target.name], target), target)
    names = forms.names(before, target)
    given = _read(path, project.config.data.encoding, {*item}, names, target)
    decided = {one: forms.decide([*by.values()], target) for one, by in given.items()}
    said = item.replace_strict(decided, default=None, return_dtype=pl.String)
    is_new = said.is_not_null() & (before.is_null() | (before != said).fill_null(True))
    raw = frame[target.name]
    values = forms.written(said, before, raw, target)
    table = frame.with_columns(values.zip_with(is_new, raw).alias(target.name))
    content = validation.parquet(table)
    digest = storage.sha256_bytes(content)
    name = f"{FOLDER}/{ingest.MADE_UP if found.made_up else ''}labelled-{digest[:12]}.parquet"
    changes = pl.DataFrame([item, before.alias("from"), said.alias("to")]).filter(is_new)
    changes = changes.unique(ITEM, keep="first", maintain_order=True)
    report: dict[str, Any] = {
        "file": path.name,
        "table": name,
        "sha256": digest,
        "snapshot": found.file,
        "items": len(given),
        "labels": sum(map(len, given.values())),
        "people": len({person for by in given.values() for person in by}),
        "undecided": sum(label is None for label in decided.values()),
        "changed": changes["from"].is_not_null().sum(),
        "new": changes["from"].null_count(),
        "agreement": forms.compared(given, names, target, project.config.training.seed),
        "right": _right(item, before, said),
        "changes": changes.head(LISTED).to_dicts() if not privacy.hidden(target) else [],
    }
    if changes.height:
        storage.write_bytes(project.path(name), content)
    else:
        report["table"] = ""
    storage.write_json(project.path(REPORT), report)
    return report


def _target(agreed: Contract, frame: pl.DataFrame) -> Column:
    target = agreed.target
    if target.definition or target.name not in frame.columns:
        raise ProjectError(
            f"the target {target.name!r} is computed or not in the data: nobody labels it by hand"
        )
    return target


def _read(
    path: Path, encoding: str, known: set[str], names: list[str], target: Column
) -> dict[str, dict[str, str]]:
    """Return the labels by item and person; those that are empty are not there yet."""
    table = ingest.read_table(path, encoding)
    if absent := [name for name in (ITEM, LABEL) if name not in table.columns]:
        raise ProjectError(
            f"{path.name}: it lacks column {absent[0]!r}, which `ml label export` has"
        )
    if PERSON not in table.columns:
        table = table.with_columns(pl.lit("").alias(PERSON))
    rows = table.select(pl.col(ITEM, LABEL, PERSON).cast(pl.String).str.strip_chars())
    given: dict[str, dict[str, str]] = {}
    for place, (item, label, person) in enumerate(rows.rows(), 1):
        if not label:
            continue
        if item not in known:
            raise ProjectError(
                f"{path.name}: row {place} has item {item!r}, which the snapshot does not have: "
                "label what was exported from these data"
            )
        if (name := forms.read(label, names, target)) is None:
            why = forms.refused(names)
            raise ProjectError(f"{path.name}: row {place} has the label {label!r}, which {why}")
        by = given.setdefault(item, {})
        if by.setdefault(person or "", name) != name:
            raise ProjectError(
                f"{path.name}: row {place}: {person or 'nobody named'} gave item {item} two "
                f"labels: name people in the column {PERSON!r}, or leave one"
            )
    if not given:
        raise ProjectError(f"{path.name}: no row has a label yet: fill the column {LABEL!r}")
    return given


def _right(item: pl.Series, before: pl.Series, said: pl.Series) -> dict[str, Any] | None:
    """Return how far people confirm what was there, None where nothing was."""
    table = pl.DataFrame([item, before.alias("from"), said.alias("to")]).drop_nulls().unique(ITEM)
    return forms.confirmed(table["from"], table["to"]) if table.height else None


def told(report: dict[str, Any]) -> str:
    """Say what was read and what changed, and what comes next."""
    lines = [
        f"{count(report['labels'], 'label')} of {count(report['items'], 'item')}: "
        f"{number(report['changed'])} changed, {number(report['new'])} new, "
        f"{number(report['undecided'])} undecided"
    ]
    if found := report["agreement"]:
        lines.append(forms.agreed(found))
    if right := report["right"]:
        lines.append(forms.right(right))
    lines += [
        f"  {one[ITEM]}  {one['from'] or '(none)'} becomes {one['to']}"
        for one in report["changes"][:SHOWN]
    ]
    if report["table"]:
        lines.append(
            f"wrote {report['table']}; set data.source to it in config.yaml, and run `ml run`"
        )
    return "\n".join(lines)
