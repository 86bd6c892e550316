"""Model versions: which there are, which one is the champion and which were before it.

models/registry.json is replaced at once, so a kill leaves the old state or the new one. A bundle
that it does not name, as after a kill between both, is ignored until `ml models --rebuild`.
"""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from .. import audit, storage, task
from ..data import contract
from ..errors import CheckFailed, ProjectError
from ..formats import UNKNOWN, number
from ..settings import Project
from .history import STATE
from .scorer import EVALUATED, MANIFEST, Manifest, Scorer

NOT_EVALUATED = "it is not evaluated: run `ml evaluate {}`"


class Version(msgspec.Struct, kw_only=True):
    """One version; `forced` says why it was promoted although a check said no.

    The manifest holds the hash of each file of the bundle, and this entry the manifest's and that
    of metrics.json, which is written later: while it is replaced, of the old one and the new one.
    An entry of an older template has none until the version is promoted.
    """

    run: str
    status: Literal["trained", "evaluated", "champion", "retired"] = "trained"
    gate_passed: bool | None = None
    metric: float | None = None
    forced: str | None = None
    manifest_sha256: str | None = None
    metrics_sha256: tuple[str, ...] = ()


class Ended(msgspec.Struct, frozen=True):
    """That the model was taken out of use: since which day (UTC), and why."""

    on: str
    reason: str


class Registry(msgspec.Struct, kw_only=True):
    """All versions, the champion, and earlier champions with the last one at the end."""

    champion: str | None = None
    previous: list[str] = []
    versions: dict[str, Version] = {}
    ended: Ended | None = None


class Retired(ProjectError):
    """The model was taken out of use: no version may answer, and no service goes on with one."""


def read(project: Project) -> Registry:
    """Read the registry; an empty one when there is no file yet."""
    path = _path(project)
    if not path.exists():
        return Registry()
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Registry)
        named = {*found.previous, *filter(None, [found.champion])}
        if unknown := sorted(named - set(found.versions)):
            raise msgspec.ValidationError(f"{unknown[0]} is champion but not a version")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProjectError(
            f"models/registry.json is damaged ({error}): run `ml models --rebuild`, which "
            "reads the bundles again, then `ml promote VERSION`"
        ) from None
    return found


def rebuild(project: Project) -> Registry:
    """Write the registry again from the bundles; the champion stays if it can still be read."""
    try:
        old = read(project)
    except ProjectError:
        old = Registry()
    versions = {}
    for name in sorted(_folders(project), key=_number):
        folder = project.path(f"models/{name}")
        manifest = storage.read_json(folder / MANIFEST, Manifest)
        if manifest.version != name:
            raise ProjectError(f"models/{name} calls itself {manifest.version}: restore it")
        entry = versions[name] = old.versions.get(name) or Version(run=manifest.run)
        _seal(folder, entry)
        if entry.gate_passed is None and (folder / EVALUATED).exists():
            report = storage.read_json(folder / EVALUATED, dict[str, Any])
            with suppress(KeyError, TypeError):  # no evaluation: `ml evaluate` makes one
                entry.metric = report["champion"]["metrics"][manifest.primary_metric]["value"]
                entry.status, entry.gate_passed = "evaluated", report["gate"]["passed"]
    champion = old.champion if old.champion in versions else None
    previous = [name for name in old.previous if name in versions]
    new = Registry(champion=champion, previous=previous, versions=versions, ended=old.ended)
    _write(project, new)
    return new


def newest(project: Project) -> str:
    """Return the version that was trained last."""
    versions = read(project).versions
    if not versions:
        raise ProjectError("no model yet: run `ml train`")
    return max(versions, key=_number)


def next_version(project: Project) -> str:
    """Return a version name that neither the registry nor a folder has: v1, v2 ..."""
    taken = {*read(project).versions, *_folders(project)}
    return f"v{max(map(_number, taken), default=0) + 1}"


def register(project: Project, version: str, *, run: str) -> None:
    """Add a version whose bundle is complete in models/<version>."""
    registry = read(project)
    registry.versions[version] = Version(run=run)
    _seal(project.path(f"models/{version}"), registry.versions[version])
    _write(project, registry)


def set_evaluated(
    project: Project, version: str, report: dict[str, Any], *, gate_passed: bool, metric: float
) -> None:
    """Write what the test set said of a version into its folder, and record it.

    The hash is recorded first: whenever this is killed, the file that is there has its hash.
    """
    registry = read(project)
    entry = named(registry, version)
    content = storage.json_bytes(report)
    hashed = storage.sha256_bytes(content)
    entry.metrics_sha256 = (*entry.metrics_sha256, hashed)
    _write(project, registry)
    storage.write_bytes(project.path(f"models/{version}/{EVALUATED}"), content)
    entry.metrics_sha256 = (hashed,)
    entry.gate_passed, entry.metric = gate_passed, metric
    if entry.status == "trained":
        entry.status = "evaluated"
    _write(project, registry)


def promote(
    project: Project, version: str, *, force_reason: str | None = None, by: str = UNKNOWN
) -> None:
    """Make `version` the champion; the log of people says `by` whom.

    CheckFailed when its gate did not pass or its contract is not the project's, unless a reason is
    given, which is recorded. No reason stands for a measurement: a version that is not evaluated
    is refused, as services would refuse it. A bundle that does not verify is a ProjectError.
    """
    registry = read(project)
    entry = named(registry, version)
    _refuse_unmeasured(registry, version, "is not promoted")
    folder = _verified(project, registry, version)
    scorer = Scorer.load(folder)
    _seal(folder, entry)
    objections = _objections(project, registry, version, scorer)
    if objections and not (force_reason or "").strip():
        raise CheckFailed(
            f"{version} is not promoted: {' and '.join(objections)} "
            f"(`ml promote {version} --force REASON` promotes it and records the reason)"
        )
    if objections:
        entry.forced = f"{force_reason} (although {' and '.join(objections)})"
    changes = registry.champion != version
    if changes:
        if registry.champion is not None:
            registry.versions[registry.champion].status = "retired"
            registry.previous.append(registry.champion)
        entry.status, registry.champion, registry.ended = "champion", version, None
    _write(project, registry)
    forced = entry.forced if objections else None
    if changes or forced:
        audit.note(project, "promoted", version=version, forced=forced, by=by)


def _refuse_unmeasured(registry: Registry, version: str, what: str) -> None:
    if registry.versions[version].gate_passed is None:
        raise CheckFailed(f"{version} {what}: {NOT_EVALUATED.format(version)}")


def objections(project: Project, version: str) -> list[str]:
    """Return what speaks against promoting a version; ProjectError for a damaged bundle."""
    registry = read(project)
    named(registry, version)
    scorer = Scorer.load(_verified(project, registry, version))
    return _objections(project, registry, version, scorer)


def _objections(project: Project, registry: Registry, version: str, scorer: Scorer) -> list[str]:
    entry, objections = registry.versions[version], []
    if entry.gate_passed is None:
        objections.append(NOT_EVALUATED.format(version))
    elif not entry.gate_passed:
        objections.append("its gate did not pass")
    if changed := _judged_by_another_plan(project, project.path(f"models/{version}")):
        objections.append(f"{changed} of the plan has changed since `ml evaluate {version}`")
    if scorer.manifest.contract_sha256 != contract.read(project.contract_path).fingerprint:
        objections.append("the data contract has changed since it was trained")
    if worse := _worse_than(registry.champion, project.path(f"models/{version}")):
        objections.append(f"it is {worse}")
    if registry.ended:
        objections.append(f"the model was retired on {registry.ended.on}")
    return objections


def end(project: Project, ended: Ended, by: str = UNKNOWN) -> None:
    """Take the model out of use: no champion, and none to go back to."""
    registry = read(project)
    champion = registry.champion
    if registry.champion is not None:
        registry.versions[registry.champion].status = "retired"
    registry.champion, registry.previous, registry.ended = None, [], ended
    _write(project, registry)
    audit.note(project, "retired", version=champion, reason=ended.reason, by=by)


def _judged_by_another_plan(project: Project, folder: Path) -> str:
    """Return the first fact of the plan that is not as it was when the version was judged."""
    path = folder / EVALUATED
    used = storage.read_json(path, dict[str, Any]).get("plan", {}) if path.exists() else {}
    return next(iter(project.plan.changed(used)), "") if used else ""


def _worse_than(champion: str | None, folder: Path) -> str:
    """Say by how much a version is worse than the champion beyond chance; "" where it is not."""
    path = folder / EVALUATED
    before = storage.read_json(path, dict[str, Any]).get("before") if path.exists() else None
    worse = before and before["worse"] and before["version"] == champion
    return str(before["said"]) if before and worse else ""


def rollback(project: Project, by: str = UNKNOWN) -> str:
    """Make the previous champion the champion again and return its version."""
    registry = read(project)
    if not registry.previous:
        raise ProjectError("there is no earlier champion to go back to: see `ml models`")
    version = registry.previous.pop()
    _refuse_unmeasured(registry, version, "does not come back")  # older templates promoted such
    Scorer.load(_verified(project, registry, version))
    if registry.champion is not None:
        registry.versions[registry.champion].status = "retired"
    registry.versions[version].status = "champion"
    registry.champion = version
    _write(project, registry)
    audit.note(project, "rolled back", version=version, by=by)
    return version


def champion_folder(project: Project) -> Path:
    """Return the folder of the champion's bundle."""
    registry = read(project)
    if registry.champion is None:
        problem = Retired if registry.ended else ProjectError
        raise problem(no_champion(project))
    return _verified(project, registry, registry.champion)


def of_another_task(project: Project) -> str:
    """Say that the champion is a model for another task, "" where it is not, and what to do."""
    registry = read(project)
    path = project.path(f"models/{registry.champion}/manifest.json")
    try:
        of = storage.read_json(path, dict[str, Any]).get("task", task.TASK)
    except ProjectError:
        return ""  # damaged: `check_champion` says so
    if of == task.TASK:
        return ""
    newest_one = max(registry.versions, key=_number)
    state = "" if newest_one == registry.champion else f" and {newest_one} is not promoted"
    return (
        f"{registry.champion} was made for task_type {of}{state}: no model of this task is in use"
    )


def check_champion(project: Project) -> None:
    """ProjectError, which says how to mend it, when the champion is damaged; good without one."""
    if read(project).champion is None:
        return
    try:
        Scorer.load(champion_folder(project))
    except ProjectError as error:
        raise ProjectError(
            f"the champion is damaged: {error} (`ml run --force` trains again and promotes what "
            "passes its gate; `ml rollback` goes back to the champion before)"
        ) from None


def folder(project: Project, version: str) -> Path:
    """Return the folder of a version that is evaluated, whatever an earlier evaluation left there.

    ProjectError when its manifest is not the recorded one.
    """
    return _verified(project, read(project), version, evaluated=False)


def whole(project: Project, version: str) -> Path:
    """Return the folder of a version; ProjectError when manifest or metrics are not as recorded."""
    registry = read(project)
    named(registry, version)
    return _verified(project, registry, version)


def take(project: Project, version: str, entry: Version, folder: Path) -> None:
    """Add a version that came from elsewhere: `folder` becomes models/<version>.

    Where that is there already it is the same model: its judgement and its state become those of
    `folder`, together with the registry, and it stays champion if it was.
    """
    registry, target = read(project), project.path(f"models/{version}")
    if before := registry.versions.get(version):
        entry.forced = before.forced
        if before.status in ("champion", "retired"):
            entry.status = before.status
    registry.versions[version] = entry
    if not target.exists():
        folder.rename(target)
        _write(project, registry)
        return
    new = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    changed: list[tuple[Path, bytes | None]] = [
        (target / name, data)
        for name, data in sorted(new.items())
        if _hash(target / name) != storage.sha256_bytes(data)
    ]
    if STATE in new:
        old = (path for path in target.glob("state-*.npz") if path.name not in new)
        changed += [(path, None) for path in old]
    hashes = entry.metrics_sha256
    entry.metrics_sha256 = (*hashes, *(before.metrics_sha256 if before else ()))
    storage.replace_all(project.root, [(_path(project), storage.json_bytes(registry)), *changed])
    entry.metrics_sha256 = hashes
    _write(project, registry)


def made_up(folder: Path) -> bool:
    """Whether the bundle in `folder` learnt from the made-up sample, which proves nothing."""
    trained = storage.read_json(folder / "training.json", dict[str, Any])
    return bool(trained.get("made_up", False))


def no_champion(project: Project) -> str:
    """Say why there is no champion, and what to do."""
    registry = read(project)
    versions, ended = registry.versions, registry.ended
    if ended:
        return (
            f"the model was retired on {ended.on}: {ended.reason} (`ml promote VERSION --force "
            "REASON` takes a version into use again)"
        )
    if not versions:
        mend = (
            "`ml models --rebuild` adds what models/ holds" if _folders(project) else "`ml train`"
        )
        return f"no champion yet: no version is registered, run {mend}"
    version = max(versions, key=_number)
    if versions[version].gate_passed is False:
        return (
            f"no champion yet: {version} did not pass its gate, reports/evaluation.html says why; "
            "mend that and train again"
        )
    return "no champion yet: run `ml evaluate`, then `ml promote VERSION`"


def table(project: Project) -> str:
    """Return the versions as a table, the newest first."""
    versions = read(project).versions
    lines = [f"{'version':<8} {'status':<10} {'gate':<7} {'metric':>8}  run"]
    for name in sorted(versions, key=_number, reverse=True):
        entry = versions[name]
        gate = {True: "passed", False: "closed", None: "-"}[entry.gate_passed]
        metric = "-" if entry.metric is None else number(entry.metric, 4)
        forced = f"  forced: {entry.forced}" if entry.forced else ""
        lines.append(f"{name:<8} {entry.status:<10} {gate:<7} {metric:>8}  {entry.run}{forced}")
    lines = lines if versions else ["no model yet: run `ml train`"]
    if unnamed := set(_folders(project)) - set(versions):
        names = ", ".join(sorted(unnamed, key=_number))
        lines.append(f"models/ holds {names} too: `ml models --rebuild` adds them")
    return "\n".join(lines)


def named(registry: Registry, version: str, purpose: str = "") -> Version:
    """Return a version; ProjectError, which names those that are there, where it is none."""
    if version not in registry.versions:
        there = ", ".join(sorted(registry.versions, key=_number)) or "none, run `ml train`"
        raise ProjectError(f"no version {version!r}{purpose}; there are: {there}")
    return registry.versions[version]


def _verified(
    project: Project, registry: Registry, version: str, *, evaluated: bool = True
) -> Path:
    """Return the folder of a version whose manifest, and metrics, are those that were recorded."""
    found = project.path(f"models/{version}")
    if not (found / MANIFEST).is_file():
        raise ProjectError(f"models/{version} is gone: restore it, or `ml models --rebuild`")
    entry = named(registry, version)
    if entry.manifest_sha256 not in (None, _hash(found / MANIFEST)):
        raise ProjectError(
            f"models/{version}/{MANIFEST} is not the one that was registered; restore it or "
            "train again"
        )
    hashed, judged = _hash(found / EVALUATED), entry.gate_passed is not None
    known = entry.metrics_sha256 or (hashed,) * judged  # an older template recorded none
    good = hashed in known if hashed else not judged
    if evaluated and not good:
        state = "not the one that was registered" if hashed else "gone"
        raise ProjectError(
            f"models/{version}/{EVALUATED} is {state}: restore it, or `ml evaluate "
            f"{version}` writes it again"
        )
    return found


def _seal(folder: Path, entry: Version) -> None:
    """Record hashes that an entry does not have yet."""
    entry.manifest_sha256 = entry.manifest_sha256 or _hash(folder / MANIFEST)
    hashed = _hash(folder / EVALUATED)
    entry.metrics_sha256 = entry.metrics_sha256 or tuple(filter(None, [hashed]))


def _hash(path: Path) -> str | None:
    return storage.sha256(path) if path.is_file() else None


def _folders(project: Project) -> list[str]:
    found = project.path("models").glob("v*/manifest.json")
    return [path.parent.name for path in found if _number(path.parent.name)]


def _number(version: str) -> int:
    digits = version.removeprefix("v")
    return int(digits) if digits.isdecimal() else 0


def _path(project: Project) -> Path:
    return project.path("models/registry.json")


def _write(project: Project, registry: Registry) -> None:
    """Replace the registry, then clear what killed commands left; the caller has the lock."""
    storage.write_json(_path(project), registry)
    for orphan in project.path("models").glob(".tmp-*"):
        shutil.rmtree(orphan, ignore_errors=True)
