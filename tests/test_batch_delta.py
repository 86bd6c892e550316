"""Scored files in a real Delta table, here and in a real object store: once, whole, or not."""

import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import helpers.bundles as small
import polars as pl
import pytest
from deltalake import DeltaTable
from helpers.buckets import Buckets
from helpers.scoring import noted

from package_name.engine.errors import ProjectError
from package_name.engine.serving import batch, batch_delta
from package_name.engine.settings import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = small.with_champion(tmp_path_factory.mktemp("delta"))
    small.frame(500, seed=3).drop("y").write_parquet(made.path("in.parquet"))
    return made


@pytest.fixture
def scored(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[Project, Path, dict]:
    monkeypatch.setattr(batch_delta, "ROWS", 200)
    output = project.path("out.parquet")
    return project, output, batch.run(project, project.path("in.parquet"), output)


@pytest.fixture(scope="module")
def buckets() -> Iterator[Buckets]:
    found = Buckets()
    yield found
    found.close()


@pytest.fixture(params=["folder", "bucket"])
def address(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, dict[str, str] | None]:
    """A table that is not there yet, and how a reader asks for it."""
    if request.param == "folder":
        return str(tmp_path / "table"), None
    for name, value in request.getfixturevalue("buckets").env.items():
        monkeypatch.setenv(name, value)
    return f"s3://lake/{request.node.name.partition('[')[0]}", {"allow_http": "true"}


def rows(address: tuple[str, dict[str, str] | None]) -> pl.DataFrame:
    return pl.from_arrow(DeltaTable(address[0], storage_options=address[1]).to_pyarrow_table())


def test_a_run_stands_in_the_table_once_and_as_in_the_file(scored, address) -> None:
    project, output, report = scored
    for _ in range(3):
        assert batch_delta.store(output, address[0], report) == 500
    found = rows(address).sort("row")
    expected = pl.read_parquet(output)
    assert found.drop("run").rows() == [
        tuple(v.replace(tzinfo=dt.UTC) if isinstance(v, dt.datetime) else v for v in row)
        for row in expected.rows()
    ]
    small.frame(40, seed=8).drop("y").write_parquet(project.path("in2.parquet"))
    other = project.path("other.parquet")
    added = batch.run(project, project.path("in2.parquet"), other)
    assert batch_delta.store(other, address[0], added) == 40
    found = rows(address)
    assert (found.height, found["run"].n_unique()) == (540, 2)
    # Made, filled, filled: what was there already made no version.
    assert DeltaTable(address[0], storage_options=address[1]).version() == 2


def test_the_command_notes_its_table_by_the_whole_path(scored) -> None:
    project, output, _ = scored
    told = noted(project, "in.parquet", str(output), "--delta", "lake/table")
    table = project.path("lake/table").resolve()
    assert f"Delta table {table}, with its old versions" in told and rows((str(table), None)).height


def test_four_who_store_the_same_run_at_once_do_not_double_it(scored, address) -> None:
    _, output, report = scored
    failed: list[BaseException] = []

    def store() -> None:
        try:
            batch_delta.store(output, address[0], report)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and rows(address).height == 500


def test_what_breaks_half_way_leaves_the_table_as_it_was(scored, tmp_path, monkeypatch) -> None:
    _, output, report = scored
    table = str(tmp_path / "t")
    part = batch_delta._part

    def breaks(frame: Any, run: str, first: int, count: int) -> Any:
        if first >= 200:
            raise OSError("the disk is full")
        return part(frame, run, first, count)

    with monkeypatch.context() as patch:
        patch.setattr(batch_delta, "_part", breaks)
        with pytest.raises(ProjectError, match=r"the disk is full.*the same command stores it"):
            batch_delta.store(output, table, report)
    assert rows((table, None)).height == 0
    assert batch_delta.store(output, table, report) == 500
    assert rows((table, None)).height == 500


def test_other_readers_find_the_rows_by_the_log(scored, tmp_path) -> None:
    _, output, report = scored
    table = str(tmp_path / "t")
    batch_delta.store(output, table, report)
    files = DeltaTable(table).file_uris()
    counted = duckdb.execute("select count(*), count(distinct run) from read_parquet(?)", [files])
    assert counted.fetchall() == [(500, 1)]
    protocol = DeltaTable(table).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)  # old ones too


@pytest.mark.parametrize(
    ("output", "table", "line"),
    [
        ("out.csv", "t", "out.csv: a table needs types, which only Parquet has"),
        ("s3://lake/out.parquet", "t", "--delta reads a file of this machine"),
        ("out.parquet", "", "--delta '': give a folder, or s3://BUCKET/TABLE"),
        ("out.parquet", "s3://lake", "give a folder, or s3://BUCKET/TABLE"),
        ("out.parquet", "s3://lake/a[b]", "give a folder, or s3://BUCKET/TABLE"),
        ("out.parquet", "abfss://x@y/z", "give a folder, or s3://BUCKET/TABLE"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_scored(output, table, line) -> None:
    with pytest.raises(ProjectError) as error:
        batch_delta.check(output, table)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_another_table_of_that_name_is_told_in_one_line(scored, tmp_path) -> None:
    _, output, report = scored
    table = str(tmp_path / "t")
    pl.DataFrame({"other": [1]}).write_delta(table)
    with pytest.raises(ProjectError) as error:
        batch_delta.store(output, table, report)
    assert str(error.value).startswith(f"table {table}: ") and "\n" not in str(error.value)
    assert rows((table, None)).height == 1
