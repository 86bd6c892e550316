"""Forgetting a person and ending a retention: from every file, all at once, with a certificate."""

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import helpers.bundles as small
import msgspec
import polars as pl
import pytest
import yaml
from helpers.plan import of_people
from test_keys import SECRET, document

from package_name.engine import elsewhere, erasing, keys, storage
from package_name.engine.data import forgotten, ingest, sources, validation
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model import lineage, lineage_events, registry, retirement
from package_name.engine.settings import Project
from package_name.planner import check

TODAY = dt.date(2026, 11, 28)
WHO = "Ms Zebra"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose rows are of 100 customers, ten each; every tenth is old."""
    monkeypatch.setenv(keys.SECRET, SECRET)
    made = of_people(tmp_path, document())
    names = [WHO, *(f"person {n}" for n in range(1, 100))]
    table = small.frame(1000).drop("since")
    table = table.with_columns(
        order=pl.int_range(1, 1001),
        customer=pl.Series(names * 10),
        seen=pl.Series(["2020-05-01T00:00:00", *["2026-05-01T00:00:00"] * 9] * 100),
        note=pl.lit("n"),
    )
    table.write_csv(tmp_path / "in.csv")
    ingest.run(made)
    validation.run(made)
    valid = pl.read_parquet(made.path("data/processed/valid.parquet"))
    registry.promote(made, small.train(made, table=valid))
    rejected = pl.DataFrame({"customer": [WHO, "x"], "_rules": [["a: type"], ["a: type"]]})
    validation.store(made, "data/quarantine/rejected.parquet", rejected)
    hashed = keys.logged(_customer(), WHO, keys.secret())
    lines = [{"keys": {"customer": hashed}}, {"keys": {"customer": "other"}}, {"keys": {}}]
    for day in ("2022-01-31", "2026-11-27"):
        content = "".join(json.dumps(line) + "\n" for line in lines) + '{"keys": {"cus'
        storage.write_text(tmp_path / f"data/predictions/{day}.jsonl", content)
    storage.write_text(tmp_path / "data/out.csv", f"customer,probability\n{WHO},0.5\nx,0.1\n")
    storage.write_json(tmp_path / "data/out.csv.done.json", {})
    return made


def _customer() -> Any:
    from package_name.engine.data.contract import Column

    return Column(name="customer", kind="category", role="entity", personal=True)


def holding(project: Project, *texts: str) -> set[str]:
    """Return the files of data/ that hold one of these texts, in Parquet too."""
    found = set()
    for path in project.path("data").rglob("*.*"):
        content = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path)
            content = frame.select(pl.col(pl.String)).write_csv().encode()
        if any(text.encode() in content for text in texts):
            found.add(path.relative_to(project.root).as_posix())
    return found


def test_a_person_is_gone_from_every_file_and_stays_out(project: Project) -> None:
    hashed = str(keys.logged(_customer(), WHO, keys.secret()))
    assert len(holding(project, WHO, hashed)) >= 7
    others = pl.read_parquet(project.path("data/processed/valid.parquet")).filter(
        pl.col("customer") != WHO
    )
    certificate, path = erasing.forget(project, WHO, "by letter")
    assert holding(project, WHO, hashed) == set()
    assert pl.read_parquet(project.path("data/processed/valid.parquet")).equals(others)
    written = path.read_text()
    assert WHO not in written and hashed not in written and "by letter" in written
    assert (certificate.verified, certificate.column) == (0, "customer")
    gone = {one.file.split("/")[1]: one.rows_erased for one in certificate.files}
    assert gone["raw"] == 10 and gone["quarantine"] == gone["out.csv"] == gone["predictions"] == 1
    assert [(m.version, m.trained_on_them) for m in certificate.models] == [("v1", "yes")]
    assert any("reports/audit.jsonl" in place for place in certificate.out_of_reach)
    said = erasing.told(certificate, path)
    assert "v1 (champion); `ml run` trains without" in said and "in.csv" in said
    assert "4 lines of data/predictions without a key" in said  # of two days, half lines too
    # What was written fits: the seal of each table, and the manifest.
    validation.run(project)
    assert "10 rows of it erased since" in lineage.table(lineage.trace(project))
    (snapshot,) = project.path("data/raw").glob("*.parquet")
    assert os.name == "nt" or snapshot.stat().st_mode & 0o222 == 0
    # The source brings the rows back; the next load does not take them.
    assert WHO in project.path("in.csv").read_text()
    manifest = ingest.run(project)
    assert (manifest["forgotten"], manifest["rows"]) == (10, 990)
    with pytest.raises(CheckFailed, match="no file of this project has a row of this customer"):
        erasing.forget(project, WHO)
    told = [f.message for f in check.check(project) if f.id == "PRIV-01" and "v1" in f.message]
    assert len(told) == 1 and "`ml run` trains without them" in told[0]


def test_a_version_of_rows_that_are_no_longer_used_learnt_from_them_too(project: Project) -> None:
    """What `ml validate` keeps is of the last load alone; the snapshot tells what was before."""
    (v1,) = lineage.trace(project)
    assert v1.snapshot and v1.snapshot.source == "in.csv" and v1.snapshot_kept
    assert v1.data_sha256 == storage.sha256(project.path(v1.snapshot.file))
    table = pl.read_csv(project.path("in.csv"), infer_schema=False)
    table.filter(pl.col("customer") != WHO).write_csv(project.path("in.csv"))
    ingest.run(project)
    validation.run(project)
    for who in (WHO, "person 1"):  # the second finds what the first left of the snapshot
        certificate, _ = erasing.forget(project, who)
        assert [m.trained_on_them for m in certificate.models] == ["yes"], who
    assert "20 rows of it erased since" in lineage.table(lineage.trace(project))


def test_a_certificate_names_where_commands_put_rows_beside_the_folder(project: Project) -> None:
    places = [
        "table sales.p in the database of X",
        "Delta table s3://lake/p, with its old versions",
    ]
    within, remote = project.path("data/out.csv"), "s3://lake/out.csv"
    files = [elsewhere.outside(project, str(within)), elsewhere.outside(project, remote)]
    there = elsewhere.outside(project, str(project.root.parent / "out.csv"))
    for _ in range(2):  # what is known is not said twice
        elsewhere.note(project, [*places, *files, there])
    certificate, path = erasing.forget(project, WHO)
    named = [place for place in certificate.out_of_reach if "its owner deletes there" in place]
    assert len(named) == 5  # the source is the first
    for place in (*places, f"the file {remote}", there):
        assert f"not reached: {place}: its owner" in erasing.told(certificate, path)
    told = retirement.told(retirement.run(project, "the contract ended"))
    assert f"out of reach: {there}: delete its rows by the retention" in told
    assert all(f"out of reach: {place}: delete its rows" in told for place in places)


def test_a_table_of_delta_lake_is_left_whole_and_named(project: Project) -> None:
    part = project.path("data/lake/part-0.parquet")
    storage.write_text(project.path("data/lake/_delta_log/00000000000000000000.json"), "{}")
    pl.DataFrame({"customer": [WHO]}).write_parquet(part)
    before = part.read_bytes()
    certificate, _ = erasing.forget(project, WHO)
    assert part.read_bytes() == before
    assert "data/lake: delete with Delta Lake, then vacuum" in certificate.out_of_reach


@pytest.mark.parametrize("content", [b"", b'["the fi', b'{"a": 1}', b"\xff"])
def test_a_damaged_list_of_places_stops_nobody_and_is_told(
    project: Project, content: bytes
) -> None:
    path = project.path(elsewhere.PLACES)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert elsewhere.read(project) == [elsewhere.LOST]
    elsewhere.note(project, ["table new"])
    assert storage.read_json(path, list) == ["table new", elsewhere.LOST]
    path.write_bytes(content)
    certificate, _ = erasing.forget(project, WHO)
    assert f"{elsewhere.LOST}: its owner deletes there" in certificate.out_of_reach
    ended = retirement.run(project, "the contract ended")
    assert any(what.startswith(elsewhere.LOST) for what in ended["elsewhere"])


def test_a_place_is_named_whole_and_without_its_secrets(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = "s3://who:hidden@lake/out.csv?X-Amz-Signature=hidden"
    assert elsewhere.outside(project, signed) == "the file s3://lake/out.csv"
    monkeypatch.chdir(project.root)
    assert elsewhere.named("lake/p") == str(project.path("lake/p").resolve())
    assert elsewhere.outside(project, "what?.csv").endswith("what?.csv")


def test_a_file_of_valid_rows_leads_to_its_version(project: Project) -> None:
    (origin,) = lineage.trace(project)
    valid = project.path("valid.parquet")
    valid.write_bytes(b"rows")
    manifest = project.path(f"models/{origin.version}/manifest.json")
    known = storage.read_json(manifest) | {"data_sha256": storage.sha256(valid)}
    storage.write_json(manifest, known | {"snapshot_sha256": origin.data_sha256})
    assert [one.version for one in lineage.trace(project, str(valid))] == [origin.version]


def test_each_joined_table_is_a_node_of_the_picture(project: Project) -> None:
    (origin,) = lineage.trace(project)
    assert origin.snapshot
    tables = tuple(
        lineage.Joined(server=name, on=("k",), rows=1, sha256=digest)
        for name, digest in (("a", ""), ('b "x"', ""), ("c", "0" * 64), ("d", "0" * 64))
    )
    snapshot = msgspec.structs.replace(origin.snapshot, joined=tables)
    drawn = lineage.picture([msgspec.structs.replace(origin, snapshot=snapshot)])
    nodes = [line.split("[")[0].strip() for line in drawn.splitlines() if line.startswith("  j")]
    assert len({*nodes}) == 4 and "[\"b 'x'\"]" in drawn


def test_events_into_a_folder_are_refused_by_its_name(project: Project) -> None:
    folder = project.path("events")
    folder.mkdir()
    with pytest.raises(ProjectError) as error:
        lineage_events.write(lineage.trace(project), "shop", folder)
    assert str(error.value) == f"{folder.resolve()} is a folder: name a file"


def test_events_of_a_catalogue_say_what_lineage_does_and_repeat_themselves(
    project: Project,
) -> None:
    (origin,) = lineage.trace(project)
    path = project.path("events.jsonl")
    assert lineage_events.write([origin], "shop", path) == 2
    before = path.read_bytes()
    start, end = map(json.loads, before.splitlines())
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"] == end["run"] and end["producer"] == "urn:project:shop"
    assert origin.snapshot

    def versions(found: list[dict[str, Any]]) -> dict[str, str]:
        return {one["name"]: one["facets"]["version"]["datasetVersion"] for one in found}

    assert versions(end["outputs"]) == {"models/v1": origin.manifest_sha256}
    made_of = {"in.csv": origin.snapshot.source_sha256, "snapshot": origin.data_sha256}
    assert versions(end["inputs"]) == made_of | {"contract": origin.contract_sha256}
    lineage_events.write([origin], "shop", path)
    assert path.read_bytes() == before


def test_the_hash_of_the_log_names_a_person_too(project: Project) -> None:
    hashed = str(keys.logged(_customer(), WHO, keys.secret()))
    by_hash, _ = erasing.forget(project, hashed)
    assert holding(project, WHO, hashed) == set() and by_hash.verified == 0


def test_without_the_key_no_load_is_taken(project: Project) -> None:
    erasing.forget(project, WHO)
    project.path(forgotten.KEY).unlink()
    with pytest.raises(ProjectError, match="key, which is gone: restore it"):
        ingest.run(project)


class Killed(BaseException):
    """What a kill is to the code that it hits."""


@pytest.mark.parametrize("step", range(0, 40, 8))
def test_a_kill_leaves_all_or_nothing(
    project: Project, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = str(keys.logged(_customer(), WHO, keys.secret()))
    before = holding(project, WHO, hashed)
    calls = {"left": step}

    def dying(real: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            calls["left"] -= 1
            if calls["left"] < 0:
                raise Killed
            return real(*args, **named)

        return call

    with monkeypatch.context() as patched:
        for name in ("replace", "fsync"):
            patched.setattr(storage.os, name, dying(getattr(os, name)))
        try:
            erasing.forget(project, WHO)
        except Killed:
            begun = project.path(storage.JOURNAL).exists()
        else:
            begun = True
    if not begun:
        assert holding(project, WHO, hashed) == before
    with storage.project_lock(project.root):  # as every command that writes
        assert holding(project, WHO, hashed) == (set() if begun else before)
    assert not [*project.root.rglob("*.next"), *project.root.glob(storage.JOURNAL)]
    validation.run(project)


@pytest.mark.parametrize(
    ("key", "column", "error", "said"),
    [
        ("nobody", None, CheckFailed, "no file of this project has a row of this customer"),
        ("x", "email", ProjectError, "the contract has no column 'email'"),
    ],
)
def test_what_names_nobody_changes_nothing(
    project: Project, key: str, column: str | None, error: type[Exception], said: str
) -> None:
    before = {p: p.read_bytes() for p in project.root.rglob("*") if p.is_file()}
    with pytest.raises(error, match=said):
        erasing.forget(project, key, by=column)
    assert before == {p: p.read_bytes() for p in project.root.rglob("*") if p.is_file()}


def test_a_plan_without_people_or_a_limit_says_so(project: Project) -> None:
    project.plan.answers |= {"personal_data": False, "retention_months": 0}
    with pytest.raises(ProjectError, match="nobody to forget"):
        erasing.forget(project, WHO)
    with pytest.raises(ProjectError, match="without a limit"):
        erasing.retain(project, today=TODAY)
    project.plan.answers["personal_data"] = True
    storage.write_text(project.contract_path, yaml.safe_dump(small.document()))
    with pytest.raises(ProjectError, match="no column that names a person: give one the role"):
        erasing.forget(project, WHO)


def test_old_rows_and_days_go(project: Project) -> None:
    def overdue() -> list[str]:
        return [f.message for f in check.check(project) if "`ml retain`" in f.message]

    assert len(overdue()) == 1 and "rows of 2020-05-01" in overdue()[0]
    planned, path = erasing.retain(project, today=TODAY, dry=True)
    assert planned and path is None and "100 of 1000" in erasing.told(planned, path)
    assert len(pl.read_parquet(project.path("data/processed/valid.parquet"))) == 1000
    certificate, path = erasing.retain(project, today=TODAY)
    assert certificate and certificate.verified == 0 and certificate.before == "2023-11-28"
    assert path and WHO not in path.read_text()
    assert len(pl.read_parquet(project.path("data/processed/valid.parquet"))) == 900
    assert [p.stem for p in project.path("data/predictions").iterdir()] == ["2026-11-27"]
    assert erasing.retain(project, today=TODAY) == (None, None)
    validation.run(project)
    assert overdue() == []
    # The source still has them: the next load leaves them out, until the plan keeps them longer.
    again = ingest.run(project)
    assert (again["past_retention"], again["rows"]) == (100, 900)
    assert "100 rows that `ml retain` deleted stayed outside" in ingest.told(again)
    plan = yaml.safe_load(project.path("plan/plan.yaml").read_text())
    plan["answers"]["retention_months"] = 360
    storage.write_text(project.path("plan/plan.yaml"), yaml.safe_dump(plan))
    assert ingest.run(Project(project.root))["rows"] == 1000


def test_versions_that_dvc_keeps_are_out_of_reach(project: Project) -> None:
    def told() -> bool:
        planned, _ = erasing.retain(project, today=TODAY, dry=True)
        assert planned
        (said,) = [p for p in planned.out_of_reach if "cache of DVC" in p] or [""]
        assert not said or "what other branches, tags or projects of that remote still need" in said
        return bool(said)

    assert not told()
    project.path(".dvc").mkdir()
    assert told()


def test_where_no_row_has_a_time_files_go_by_their_day(project: Project) -> None:
    text = project.contract_path.read_text().replace("value: time", "value: excluded")
    project.contract_path.write_text(text)
    first = _in_use(project)
    assert erasing.retain(project)[0] is not None  # a day of the log
    assert erasing.retain(project) == (None, None)
    project.path("in.csv").write_text(project.path("in.csv").read_text().replace("note", "n"))
    second = _in_use(project, load=True)
    theirs = project.path("data/raw/of_the_shop.parquet")
    pl.DataFrame({"customer": ["x"]}).write_parquet(theirs)
    for path in (first, second, theirs, project.path("data/out.csv")):
        os.utime(path, (OLD, OLD))
    told = [f.message for f in check.check(project) if "`ml retain`" in f.message]
    assert len(told) == 1 and "rows of 2022-01-31" in told[0]
    certificate, _ = erasing.retain(project)
    assert certificate and certificate.verified == 0
    assert sorted(one.file for one in certificate.files) == [
        "data/out.csv",
        first.relative_to(project.root).as_posix(),
    ]
    assert second.name in certificate.out_of_reach[0] and second.exists()
    assert (
        theirs.exists()
        and not first.exists()
        and not project.path("data/out.csv.done.json").exists()
    )
    with pytest.raises(CheckFailed, match=r"in use: it was loaded before .* load newer rows"):
        erasing.retain(project)


OLD = dt.datetime(2022, 1, 31, 12, tzinfo=dt.UTC).timestamp()


def _in_use(project: Project, load: bool = False) -> Path:
    if load:
        ingest.run(project)
        validation.run(project)
    return project.path(sources.taken(project)["file"])
