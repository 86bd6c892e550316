"""What no service and no run may break on, the same for each task."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import polars as pl
import pytest

from .running import Made

BODIES = (
    *(b"", b"{", b"null", b"1", b'"x"', b"[[]]", b'{"rows": 1}', b'{"rows": [1]}', b"\xff\xfe"),
    *(b"[" * 5000, b'{"rows": [{}], "rows": 2}', b'[{"a": NaN}]', b'{"rows": [null]}'),
)
VALUES = (
    *(None, "", "\0", "x" * 5000, [1], {"a": 1}, True, -1, 1e308, -1e308, 1e-320, 10**30, "1e999"),
    *("NaN", "Infinity", "9999-99-99", "\u202e", "'; DROP TABLE rows; --"),
)
Change = Callable[[pl.DataFrame], pl.DataFrame | bytes]


def asked(ask: Callable[..., Any], content: Any) -> tuple[int, Any]:
    """Return the status and the answer of a request, which must be JSON without NaN."""
    try:
        answer, status = ask("/predict", content), 200
    except HTTPError as error:
        answer, status = json.loads(error.read()), error.code
    json.dumps(answer, allow_nan=False)
    return status, answer


def survive_requests(ask: Callable[..., Any], rows: list[dict[str, Any]]) -> None:
    """Send what no client should; the service refuses or answers, and goes on as before."""
    before = asked(ask, {"rows": rows})
    for body in BODIES:
        status, said = asked(ask, body)
        assert 400 <= status < 500 and said, body
    answered = 0
    for name in rows[0]:
        for value in VALUES:
            status, said = asked(ask, {"rows": [{**rows[0], name: value}]})
            assert status in (200, 422), (name, value, said)
            assert status == 200 or name in json.dumps(said), (name, value, said)
            answered += status == 200
    assert answered
    assert asked(ask, {"rows": [{**rows[0], "no_such_column": 1}]})[0] in (200, 422)
    assert asked(ask, {"rows": rows}) == before


def survive_attacks(project: Made, folder: Path) -> None:
    """Serve hostile requests, then load a champion of which one thing has changed."""
    (version,) = (path.name for path in (project.folder / "models").iterdir() if path.is_dir())
    golden = json.loads((project.folder / f"models/{version}/golden.json").read_text())
    with project.serving() as ask:
        survive_requests(ask, golden["rows"])
    survive_damage(project, folder)


def survive_rows(project: Made, folder: Path, change: Change, code: int, says: str) -> None:
    """Run with a bad table: one line on stderr, and the champion stays as it is."""
    root = Path(shutil.copytree(project.folder, folder / "copy"))
    table = change(pl.read_parquet(root / "data/sample/dataset.parquet"))
    (root / "my.csv").write_bytes(table if isinstance(table, bytes) else table.write_csv().encode())
    made = Made(root, project.package, {**project.settings, "ML_DATA__SOURCE": "my.csv"})
    kept = {path: path.read_bytes() for path in (root / "models").rglob("*") if path.is_file()}
    said = made.ml("run", code=code)
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and says in lines[0].replace("\u00a0", " "), said
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in kept} == kept


def survive_damage(project: Made, folder: Path) -> None:
    """Change one thing of the champion; whoever loads it refuses in one line."""
    (version,) = {path.name for path in (project.folder / "models").iterdir() if path.is_dir()}
    for name, damage in DAMAGE.items():
        root = Path(shutil.copytree(project.folder, folder / name))
        damage(root / "models" / version)
        made = Made(root, project.package, project.settings)
        said = made.ml("score", "data/sample/dataset.parquet", "out.csv", code=2)
        assert said.count("error: ") == 1 and "Traceback" not in said, (name, said)
        assert not (root / "out.csv").exists()


def _flip(bundle: Path) -> None:
    graph = bytearray((bundle / "model.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(graph)


def _decide_otherwise(bundle: Path) -> None:
    """Let the manifest say another decision than the graph, in a hand-edited file."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    decision = manifest["decision"]
    first = next(name for name, value in decision.items() if isinstance(value, int | float))
    decision[first] = float(decision[first]) / 2 + 0.1
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


DAMAGE: Mapping[str, Callable[[Path], None]] = {
    "a changed bit": _flip,
    "another decision": _decide_otherwise,
    "no graph": lambda bundle: (bundle / "model.onnx").unlink(),
}


def without(column: str) -> Change:
    """Leave a column out."""
    return lambda frame: frame.drop(column)


def put(column: str, value: Any) -> Change:
    """Give every row of a column one value."""
    return lambda frame: frame.with_columns(pl.lit(value).alias(column))


EVERY: dict[str, tuple[Change, int, str]] = {
    "one row": (lambda frame: frame.head(1), 1, "1 of 1 rows are usable"),
}


def hostile_rows(more: dict[str, tuple[Change, int, str]]) -> pytest.MarkDecorator:
    """Parametrise a test by bad tables, those of a task beside those of every one."""
    cases = [pytest.param(*case, id=name) for name, case in (EVERY | more).items()]
    return pytest.mark.parametrize(("change", "code", "says"), cases)
