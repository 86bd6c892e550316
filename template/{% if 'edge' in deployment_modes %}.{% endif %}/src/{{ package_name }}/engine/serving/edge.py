"""Packages for devices: the champion with what reads rows, signed, measured before it goes out.

A device holds the public key alone, so who has a device cannot sign for others.
"""

import io
import re
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .. import dialect, privacy, progress, signing, storage, task
from ..errors import CheckFailed, ProjectError
from ..formats import number
from ..model import registry
from ..model.scorer import GOLDEN_TOLERANCE, FeatureSpec, Golden, Scorer, codes_of, read_golden
from ..model.values import ServedColumn
from ..settings import Project
from . import expected
from .on_device import device

KEY = "ML_EDGE_KEY"
PUBLIC = "deploy/edge.pub"
PAIR = signing.Pair(
    KEY,
    PUBLIC,
    "ml edge key",
    "train",
    "devices that have it take no package of another key; --force makes a new one, and each device "
    "needs it before the next version",
)
FOLDER = "dist/edge"
REPORT = "reports/edge.json"
FILES = ("device.py", "scorer.mjs", "index.html")
SHARES = (1, 10, 100)  # % of the devices, in this order
SECONDS = 1.0
WARM_UP = 50


def make_key(project: Project, *, force: bool = False) -> str:
    """Write a new public key into the project; return the secret, which is written nowhere."""
    return signing.make(project, PAIR, force=force)


def package(project: Project) -> dict[str, Any]:
    """Write the champion for devices into dist/edge, as a folder and a zip, and its report.

    ProjectError when the model cannot be on a device, CheckFailed when it is larger or slower than
    the plan allows: then nothing but the report is written.
    """
    answers = project.plan.answers
    limits = {"size_mb": answers["edge_size_mb"], "one_row_ms": answers["edge_latency_ms"]}
    sign, public = signing.signer(project, PAIR)
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder)
    spec = storage.read_json(folder / "features.json", FeatureSpec)
    _refuse_what_a_device_lacks(scorer, spec)
    progress.tell("writing the package")
    content = {
        "model.onnx": (folder / "model_encoded.onnx").read_bytes(),
        "contract.json": storage.json_bytes(_contract(scorer, spec)),
        "golden.json": storage.json_bytes(_golden(scorer, read_golden(folder, scorer.columns))),
        **{name: _runtime(name, public) for name in FILES},
    }
    manifest = {
        "format": device.FORMAT,
        "project": project.plan.project.slug,
        "version": scorer.version,
        "run": scorer.manifest.run,
        "created": scorer.manifest.created,
        "bundle_sha256": storage.sha256(folder / "manifest.json"),
        "files": {name: storage.sha256_bytes(data) for name, data in sorted(content.items())},
    }
    content["manifest.json"] = storage.json_bytes(manifest)
    content["manifest.sig"] = _line(sign(content["manifest.json"]))
    zipped = _zip(content)
    with tempfile.TemporaryDirectory() as temporary:
        for name, data in content.items():
            (Path(temporary) / name).write_bytes(data)
        progress.tell("timing single rows on the runtime of devices")
        measured = _measure(Path(temporary), public)
    report: dict[str, Any] = {
        "version": scorer.version,
        "run": scorer.manifest.run,
        "made_up": registry.made_up(folder),
        "plan": limits,
        "size_mb": len(zipped) / 1e6,
        "model_mb": len(content["model.onnx"]) / 1e6,
        **measured,
        "limits": limits,
        "manifest_sha256": storage.sha256_bytes(content["manifest.json"]),
    }
    report["reasons"] = _over(report, limits)
    storage.write_json(project.path(REPORT), report)
    if report["reasons"]:
        raise CheckFailed(
            f"{scorer.version} is not packaged: {' and '.join(report['reasons'])}: train fewer "
            "members or rounds, or change the answer"
        )
    target = project.path(f"{FOLDER}/{scorer.version}")
    for name, data in content.items():
        storage.write_bytes(target / name, data)
    storage.write_bytes(target.with_name(f"{scorer.version}.zip"), zipped)
    return report


def release(project: Project, version: str | None, share: int) -> dict[str, Any]:
    """Sign which version `share` % of the devices shall have; return what dist/edge says then."""
    sign, public = signing.signer(project, PAIR)
    named = version or registry.read(project).champion or ""
    folder = project.path(f"{FOLDER}/{named}")
    if not named or not (folder / "manifest.json").is_file():
        raise ProjectError(f"{FOLDER}/{named or 'VERSION'} is not there: run `ml edge package`")
    if share not in SHARES:
        raise ProjectError(f"--share {share}: give one of {', '.join(map(str, SHARES))}")
    try:
        device.Scorer.load(folder, public)
    except device.Broken as error:
        raise ProjectError(f"{FOLDER}/{named}: {error}; run `ml edge package` again") from None
    path = project.path(f"{FOLDER}/release.json")
    before = storage.read_json(path).get("number", 0) if path.exists() else 0
    told = {
        "number": max(int(time.time()), before + 1),  # a device never goes back to an older one
        "version": named,
        "manifest_sha256": storage.sha256(folder / "manifest.json"),
        "share": share / 100,
    }
    content = storage.json_bytes(told)
    storage.write_bytes(path.with_suffix(".sig"), _line(sign(content)))
    storage.write_bytes(path, content)
    return told


def _line(signature: str) -> bytes:
    return f"{signature}\n".encode()


def _refuse_what_a_device_lacks(scorer: Scorer, spec: FeatureSpec) -> None:
    version = scorer.version
    if spec.words:
        raise ProjectError(
            f"{version} reads the text {spec.words[0].column!r}, whose words are made outside of "
            "the graph: no package; leave the column out, or answer with a service"
        )
    if spec.history:
        raise ProjectError(
            f"{version} looks back ({spec.history[0].name!r}) to a state that no device has: no "
            "package; leave such features out, or answer with a service"
        )
    for column in scorer.columns:
        for form in column.formats:
            for mark in re.findall(r"%\.f|%#?.", form):
                if mark not in dialect.DIRECTIVES:
                    raise ProjectError(
                        f"{column.name}: {mark} of the format {form!r} is not read on devices: no "
                        "package; send such dates as ISO 8601 and change the contract"
                    )


def _contract(scorer: Scorer, spec: FeatureSpec) -> dict[str, Any]:
    """Return how rows are read and answered, with nothing that personal columns hold."""
    manifest = scorer.manifest
    return {
        "version": manifest.version,
        "task": manifest.task,
        "target": manifest.target,
        "decision": manifest.decision,
        "outputs": manifest.outputs,
        "columns": [_column(column) for column in scorer.sent],
        "ignored": manifest.ignored,
        "numeric": spec.numeric,
        "categorical": [
            {
                "column": feature.column,
                "codes": codes_of(feature.levels),
                "other": len(feature.levels),
            }
            for feature in spec.categorical
        ],
        "far": scorer.far,
        "reading": reading(),
    }


def reading() -> dict[str, Any]:
    """Return how texts of every column are read."""
    return {
        "missing": dialect.MISSING,
        "boolean": dialect.BOOLEANS,
        "number": dialect.NUMBER,
        "level": dialect.LONG_LEVEL,
        "spaces": dialect.SPACES,
        "decimal_comma": dialect.DECIMAL_COMMA,
        "thousands": dialect.THOUSANDS,
        "thousands_comma": dialect.THOUSANDS_COMMA,
    }


def _column(column: ServedColumn) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(column.public())
    patterns = {"": dialect.ISO[column.kind]} if column.kind in dialect.ISO else {}
    patterns |= {form: dialect.pattern(form) for form in column.formats}
    forms = [{"pattern": pattern, "format": form} for form, pattern in patterns.items()]
    hidden = privacy.hidden(column)
    del shown["formats"]
    return shown | {"forms": forms, "expected": expected(column), "personal": hidden}


def _golden(scorer: Scorer, golden: Golden) -> dict[str, Any]:
    """Return golden rows with every number of their answers, and how far off each may be."""
    rows = list(map(scorer.read_row, golden.rows))
    answers, told = {}, scorer.predict(scorer.encode_rows(rows))
    for name, found in told.items():
        kind = next(output.kind for output in scorer.outputs if output.name == name)
        if kind not in ("number", "numbers", "list"):
            continue
        unit = task.unit(found, *told.values())
        near = np.broadcast_to(GOLDEN_TOLERANCE * unit, found.shape)
        answers[name] = {"values": found, "tolerance": near}
    return {"rows": golden.rows, "answers": answers}


def _runtime(name: str, public: str) -> bytes:
    """Return a file that runs on devices; the page has the public key in it."""
    content = (Path(device.__file__).parent / name).read_bytes()
    return content.replace(b"PUBLIC_KEY", public.encode()) if name == "index.html" else content


def _zip(content: dict[str, bytes]) -> bytes:
    """Return a zip whose bytes depend on the files alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in sorted(content.items()):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compresslevel=9)
    return buffer.getvalue()


def _measure(folder: Path, public: str) -> dict[str, Any]:
    """Open a package as a device does and time single rows, here and in one thread."""
    start = time.perf_counter()
    try:
        scorer = device.Scorer.load(folder, public)
    except device.Broken as error:
        raise ProjectError(f"the package does not repeat the model: {error}") from None
    opened = time.perf_counter() - start
    rows: list[dict[str, Any]] = storage.read_json(folder / "golden.json")["rows"]
    taken: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(taken) < 2 * WARM_UP or time.perf_counter() < end:
        start = time.perf_counter()
        scorer.score([rows[len(taken) % len(rows)]])
        taken.append(time.perf_counter() - start)
    p50, p95, p99 = (float(n) for n in np.percentile(np.array(taken[WARM_UP:]) * 1e3, [50, 95, 99]))
    timed = {"p50": p50, "p95": p95, "p99": p99}
    return {"open_ms": opened * 1e3, "golden_rows": len(rows), "one_row_ms": timed}


def _over(report: dict[str, Any], limits: dict[str, Any]) -> list[str]:
    found = []
    if report["size_mb"] > limits["size_mb"]:
        found.append(
            f"it is {number(report['size_mb'], 2)} MB, more than edge_size_mb "
            f"{number(limits['size_mb'], 2)}"
        )
    if report["one_row_ms"]["p95"] > limits["one_row_ms"]:
        found.append(
            f"95 % of single rows take up to {number(report['one_row_ms']['p95'], 2)} ms, more "
            f"than edge_latency_ms {number(limits['one_row_ms'], 2)}"
        )
    return found
