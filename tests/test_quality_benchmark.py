"""The benchmark of quality loses nothing when it breaks, and measures nothing twice."""

import argparse
import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import quality


def asked(folder: Path, **changed: object) -> argparse.Namespace:
    """Return what one table, two seeds and all tools ask for."""
    wanted = {"work": folder / "work", "results": folder / "found.jsonl", "seeds": [0, 1]}
    wanted |= {"task": ["regression"], "tables": ["wage"], "tools": quality.TOOLS, "budget": 90}
    return argparse.Namespace(**{**wanted, **changed})


def test_a_broken_run_is_carried_on(tmp_path, monkeypatch):
    """A fit that failed is tried again, what waits for its time after it; the rest is kept."""
    done, broken = [], {quality.MEDIUM}

    def measured(work, task, name, seed, tool, budget):
        done.append((seed, tool, budget))
        if tool in broken:
            sys.exit(f"{tool}: killed")
        about = {"task": task, "table": name, "seed": seed, "tool": tool, "cpu": 20.0 + seed}
        return {**about, "rmse/sd": 0.5, "mae/sd": 0.3}

    monkeypatch.setattr(quality, "measured", measured)
    quality.measure(asked(tmp_path))
    first = [quality.DEFAULT, quality.WIDE, quality.MEDIUM, quality.TUNED, quality.BEST]
    assert [tool for seed, tool, _ in done if seed == 0] == first
    kept = (tmp_path / "found.jsonl").read_text()

    done.clear()
    broken.clear()
    quality.measure(asked(tmp_path))
    medium = [(seed, quality.MEDIUM, 0.0) for seed in (0, 1)]
    flaml = [(seed, quality.FLAML, 20.0 + seed) for seed in (0, 1)]
    assert sorted(done) == sorted(medium + flaml)
    assert (tmp_path / "found.jsonl").read_text().startswith(kept)
    assert len(quality.read(tmp_path / "found.jsonl")) == 2 * len(quality.TOOLS)


def test_gaps_are_ratios_to_the_medium_preset_by_table_and_seed(tmp_path, capsys):
    """The mean is over tables, the spread over the seeds' means."""
    errors = {("wage", 0): (1.1, 1.0), ("wage", 1): (1.3, 1.0), ("ames", 0): (0.3, 0.5)}
    errors |= {("ames", 1): (0.5, 0.5)}
    lines = [
        {"task": "regression", "table": table, "seed": seed, "tool": tool, "cpu": cpu, "mae/sd": e}
        for (table, seed), pair in errors.items()
        for tool, cpu, e in zip((quality.DEFAULT, quality.MEDIUM), (2, 8), pair, strict=True)
    ]
    path = tmp_path / "found.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    quality.report(quality.read(path), "regression", "mae/sd")
    row = next(line for line in capsys.readouterr().out.splitlines() if quality.DEFAULT in line)
    # ames -40 % and 0 %, wage +10 % and +30 %; the seeds' means are -15 % and +15 %
    assert row == "| ml run | -20.0% | +20.0% | +0.0% | +0.0% | 21.2% | 0.25 | 0.25 |"


@pytest.mark.parametrize("task", quality.TABLES)
def test_every_table_names_its_target_once(task):
    """A column that is dropped is not the target, and only classes have a positive one."""
    for table in quality.TABLES[task].values():
        assert table.target not in table.dropped
        assert (table.positive != "") == (task == "binary")
