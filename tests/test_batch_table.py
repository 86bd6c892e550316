"""Scored files in a table of a real PostgreSQL: once, whole, or as it was before."""

import threading
from pathlib import Path

import helpers.bundles as small
import polars as pl
import psycopg
import pytest
from helpers.scoring import noted
from helpers.stream import Postgres

from package_name.engine.errors import ProjectError
from package_name.engine.serving import batch, batch_table, streaming_sink
from package_name.engine.settings import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = small.with_champion(tmp_path_factory.mktemp("table"))
    small.frame(500, seed=3).drop("y").write_parquet(made.path("in.parquet"))
    return made


@pytest.fixture
def scored(
    project: Project, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> tuple[Project, Path, dict]:
    monkeypatch.setenv(batch_table.ADDRESS, postgres.address)
    monkeypatch.setattr(batch_table, "ROWS", 200)
    output = project.path("out.parquet")
    return project, output, batch.run(project, project.path("in.parquet"), output)


def test_a_run_stands_in_the_table_once_and_as_in_the_file(scored, postgres) -> None:
    project, output, report = scored
    for _ in range(3):
        assert batch_table.store(output, "scores", report) == 500
    expected = pl.read_parquet(output)
    names = ", ".join(f'"{name}"' for name in expected.columns)
    found = postgres.ask(f'select {names} from scores order by "row"')
    assert found == expected.rows()
    other = project.path("other.parquet")
    small.frame(40, seed=8).drop("y").write_parquet(project.path("in2.parquet"))
    added = batch.run(project, project.path("in2.parquet"), other)
    batch_table.store(other, "scores", added)
    assert postgres.ask("select count(*), count(distinct run) from scores") == [(540, 2)]
    postgres.ask("create schema sales")
    batch_table.store(output, "sales.Scores", report)
    assert postgres.ask('select count(*) from sales."Scores"') == [(500,)]


def test_the_command_notes_its_table(scored) -> None:
    project, output, _ = scored
    told = noted(project, "in.parquet", str(output), "--table", "noted")
    assert f"table noted in the database of {batch_table.ADDRESS}" in told


@pytest.mark.parametrize(
    "address",
    [
        "postgresql//u:hidden@127.0.0.1/db",
        "postgresql://u:hid den@127.0.0.1/db",
        "postgresql://u:hidden@[::1/db",
        "postgresql://u:hid%ZZden@127.0.0.1/db",
        "postgresql://u:hid/den@127.0.0.1:1/db",
        "password=hid den host=127.0.0.1",
    ],
)
def test_an_address_that_cannot_be_read_is_told_without_its_password(
    scored, monkeypatch, address: str
) -> None:
    _, output, report = scored
    monkeypatch.setenv(batch_table.ADDRESS, address)
    with pytest.raises(ProjectError) as error:
        batch_table.store(output, "scores", report)
    try:
        streaming_sink.connected(address).close()
    except (ProjectError, psycopg.Error) as other:
        line = streaming_sink._line(other) if isinstance(other, psycopg.Error) else str(other)
    for said in (str(error.value), line):
        assert "hid" not in said and "den" not in said and "\n" not in said
        assert "the address cannot be read" in said or "host 'u'" in said


def test_two_who_store_the_same_run_at_once_do_not_double_it(scored, postgres) -> None:
    _, output, report = scored
    batch_table.store(output, "raced", report)
    postgres.ask("delete from raced")
    threads = [
        threading.Thread(target=batch_table.store, args=(output, "raced", report)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert postgres.ask("select count(*) from raced") == [(500,)]


def test_what_fails_half_way_leaves_the_table_as_it_was(scored, postgres, monkeypatch) -> None:
    _, output, report = scored
    batch_table.store(output, "halfway", report)
    postgres.ask('alter table halfway add check ("row" < 300) not valid')
    with pytest.raises(ProjectError, match=r"table halfway: .*check constraint.*the same command"):
        batch_table.store(output, "halfway", report)
    assert postgres.ask("select count(*) from halfway") == [(500,)]
    postgres.ask("drop table halfway")
    postgres.ask("create table halfway (run text, probability text)")
    with pytest.raises(ProjectError, match="table halfway: "):
        batch_table.store(output, "halfway", report)
    with pytest.raises(ProjectError, match="table scores: ") as gone:
        monkeypatch.setenv(batch_table.ADDRESS, "host=127.0.0.1 port=1 password=hush")
        batch_table.store(output, "scores", report)
    assert "\n" not in str(gone.value) and "hush" not in str(gone.value)


def test_what_could_not_be_stored_is_said_before_anything_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(batch_table.ADDRESS, "postgresql:///ml")
    with pytest.raises(ProjectError, match="only Parquet has"):
        batch_table.check(Path("out.csv"), "scores")
    with pytest.raises(ProjectError, match=r"give TABLE or SCHEMA\.TABLE"):
        batch_table.check(Path("out.parquet"), "a.b.c")
    monkeypatch.delenv(batch_table.ADDRESS)
    with pytest.raises(ProjectError, match="ML_SCORE_DATABASE says where the table is"):
        batch_table.check(Path("out.parquet"), "scores")
