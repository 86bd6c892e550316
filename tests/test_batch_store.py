"""Scored files in a real object store: the same bytes, once, whole, and then said to be done."""

import shutil
from pathlib import Path
from typing import Any

import helpers.bundles as small
import obstore
import polars as pl
import pytest
from helpers.buckets import Buckets
from helpers.scoring import noted
from helpers.service import free_port

from package_name.engine import elsewhere, storage, stores
from package_name.engine.errors import ProjectError
from package_name.engine.model import registry
from package_name.engine.serving import batch, batch_store, batch_table
from package_name.engine.settings import Project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = small.project(tmp_path_factory.mktemp("scored"))
    for seed in range(2):
        small.train(project, rows=600, seed=seed)
    registry.promote(project, "v1")
    small.frame(500, seed=3).drop("y").write_parquet(project.path("in.parquet"))
    return project.root


@pytest.fixture
def project(
    made: Path, tmp_path: Path, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> Project:
    for name, value in buckets.env.items():
        monkeypatch.setenv(name, value)
    shutil.copytree(made, tmp_path / "p")
    return Project(tmp_path / "p")


def got(buckets: Buckets, name: str) -> bytes:
    return bytes(obstore.get(buckets.store(), name).bytes())


def test_the_command_notes_the_file_also_where_it_breaks(
    project: Project, buckets: Buckets
) -> None:
    assert noted(project, "in.parquet", "s3://lake/noted.csv") == ["the file s3://lake/noted.csv"]
    assert got(buckets, "noted.csv")
    with pytest.raises(AssertionError):  # before it has scored a row
        noted(project, "nothing.parquet", "s3://lake/later.csv")
    assert "the file s3://lake/later.csv" in elsewhere.read(project)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_scored_file_is_there_once_with_the_bytes_of_a_file_here(
    project: Project, buckets: Buckets, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{tmp_path.name}/scores.{suffix}"
    source, here = project.path("in.parquet"), project.path(f"here.{suffix}")
    report = batch_store.run(project, source, f"s3://lake/{name}")
    assert batch.run(project, source, here).items() <= report.items()
    assert got(buckets, name) == here.read_bytes()
    assert buckets.names(tmp_path.name) == [name, f"{name}.done.json"]
    assert not list(project.path("data/.scoring").iterdir())
    elsewhere = Project(Path(shutil.copytree(project.root, tmp_path / "elsewhere")))
    sent = obstore.head(buckets.store(), name)["last_modified"]
    with monkeypatch.context() as patch:
        patch.setattr(batch, "score", None)  # nothing is scored again, on no machine
        assert batch_store.run(elsewhere, source, f"s3://lake/{name}") == report
    assert obstore.head(buckets.store(), name)["last_modified"] == sent
    assert batch_store.run(elsewhere, source, f"s3://lake/{name}", force=True) == report
    registry.promote(elsewhere, "v2")  # another model is another file
    other = batch_store.run(elsewhere, source, f"s3://lake/{name}")
    assert (other["version"], report["version"]) == ("v2", "v1")
    assert storage.sha256_bytes(got(buckets, name)) == other["output_sha256"]


def test_what_breaks_while_sending_is_sent_by_the_same_command(
    project: Project, buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{tmp_path.name}/scores.parquet"
    address, source = f"s3://lake/{name}", project.path("in.parquet")
    batch_store.run(project, source, address)
    old = got(buckets, name)
    small.frame(300, seed=8).drop("y").write_parquet(source)
    write = stores.Bucket.write
    with monkeypatch.context() as patch:

        def breaks(self: stores.Bucket, name: str, content: bytes | Path) -> None:
            if isinstance(content, bytes):
                raise ProjectError("the store is gone")
            write(self, name, content)

        patch.setattr(stores.Bucket, "write", breaks)
        with pytest.raises(ProjectError, match=r"gone; .*scores\.parquet is whole, the same comm"):
            batch_store.run(project, source, address)
    # The new file, and nothing that says of the old one that it is done.
    assert got(buckets, name) != old and buckets.names(tmp_path.name) == [name]
    with monkeypatch.context() as patch:
        patch.setattr(batch, "score", None)
        report = batch_store.run(project, source, address)
    assert report["rows"] == 300 == pl.read_parquet(got(buckets, name)).height
    assert batch_store.run(project, source, address) == report
    obstore.delete(buckets.store(), name)
    assert batch_store.run(project, source, address) == report  # what is gone is made again
    assert storage.sha256_bytes(got(buckets, name)) == report["output_sha256"]


def test_rows_of_a_bucket_are_scored_as_those_of_a_file_here(
    project: Project, buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = f"s3://lake/{tmp_path.name}"
    source = project.path("in.parquet")
    obstore.put(buckets.store(), f"{tmp_path.name}/in.parquet", source)
    report = batch.run(project, source, project.path("here.csv"))
    monkeypatch.setattr(stores, "PIECE", 1000)  # many of them
    there = project.path("there.csv")
    assert batch_store.score(project, f"{lead}/in.parquet", str(there)) == report
    assert there.read_bytes() == project.path("here.csv").read_bytes()
    batch_store.score(project, f"{lead}/in.parquet", f"{lead}/out.csv")
    assert got(buckets, f"{tmp_path.name}/out.csv") == there.read_bytes()
    assert not list(project.path("data/.scoring").iterdir())

    def said(address: str, output: str = str(project.path("x.csv"))) -> str:
        with pytest.raises(ProjectError) as refused:
            batch_store.score(project, address, output)
        assert "\n" not in str(refused.value) and not project.path("x.csv").exists()
        return str(refused.value)

    assert said(f"{lead}/none.parquet") == f"{lead}/none.parquet: no such file"
    assert "unknown file type" in said(f"{lead}/in.txt")
    assert "give such as s3://BUCKET/in.parquet" in said("s3://in.parquet")
    assert "give a folder, or s3://BUCKET/PREFIX" in said("gs://lake/in.parquet")
    for name in ("a//in.parquet", "../in.parquet"):
        assert said(f"{lead}/{name}").startswith(f"{lead}/{name}: ")
    assert "this is the input" in said(f"{lead}/in.parquet", f"{lead}/in.parquet")
    assert "must end in" in said(f"{lead}/in.parquet", "x.txt")  # before anything is fetched
    get, asked = obstore.get, []

    def replaced(*given: Any, **options: Any) -> Any:
        asked.append(1)
        if len(asked) == 3:
            obstore.put(buckets.store(), f"{tmp_path.name}/in.parquet", b"another")
        return get(*given, **options)

    monkeypatch.setattr(obstore, "get", replaced)
    assert "it was replaced while it was read" in said(f"{lead}/in.parquet")
    assert not list(project.path("data/.scoring").iterdir())
    folder = stores.Folder(tmp_path)
    assert not folder.fetch("none", tmp_path / "x") and folder.fetch("p/here.csv", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == project.path("here.csv").read_bytes()


def test_what_could_not_be_sent_is_said_before_anything_is_scored(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SECONDS", 1)
    monkeypatch.setattr(batch, "score", None)
    source = project.path("in.parquet")

    def said(address: str) -> str:
        with pytest.raises(ProjectError) as refused:
            batch_store.run(project, source, address)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    assert "must end in .parquet, .csv or .jsonl" in said("s3://lake/scores.txt")
    assert "give a folder, or s3://BUCKET/PREFIX" in said("gs://lake/scores.csv")
    assert "give such as s3://BUCKET/scores.parquet" in said("s3://scores.csv")
    with pytest.raises(ProjectError, match="--table reads a file of this machine"):
        batch_table.check("s3://lake/scores.parquet", "scores")
    source = project.path("none.parquet")
    assert "no such file" in said("s3://lake/scores.csv")
    source = project.path("in.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert "does not answer" in said("s3://lake/scores.csv")
    assert not project.path("data/.scoring").exists()
