"""Containers have the memory that `bench.max_memory_mb` of config.yaml allows a process."""

import re
from pathlib import Path

import msgspec
import yaml

ROOT = Path(__file__).parents[2]
UNITS = {"m": 1, "g": 1024, "Mi": 1, "Gi": 1024}


def megabytes(limit: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(\w+)", limit).groups()
    return int(number) * UNITS[unit]


def limits() -> dict[str, float]:
    """Return the memory of each long-running container, by file and name."""
    path = ROOT / "deploy/compose.yaml"
    services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    ours = {n: s["mem_limit"] for n, s in services.items() if s.get("build", {}).get("target")}
    found = {f"{path.name}: {name}": megabytes(limit) for name, limit in ours.items()}
    for path in sorted(ROOT.glob("deploy/*/base/*.yaml")):
        for item in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if item["kind"] == "Deployment":
                (container,) = item["spec"]["template"]["spec"]["containers"]
                found[path.name] = megabytes(container["resources"]["limits"]["memory"])
    return found


def test_memory_of_a_container_is_that_which_bench_allows():
    given = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")) or {}
    most = msgspec.convert(given.get("bench", {}).get("max_memory_mb", 512), float, strict=False)
    assert limits() and {name: mb for name, mb in limits().items() if mb != most} == {}, (
        f"bench.max_memory_mb of config.yaml is {most:g}: give containers as much"
    )
