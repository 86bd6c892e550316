"""How folds are made: what goes with which split, by the names of TRAIN-01 and TRAIN-02."""

from . import task
from .errors import ProjectError

REPEATS = 5  # of folds that are drawn anew
MOST_LEFT_OUT = 200  # rows or groups that are left out one by one


def fitting(split: str) -> tuple[str, ...]:
    """Return the folds that go with a split, the plain ones first."""
    if split == "time":
        return ("time_series",)
    plain = {"random": "kfold"}.get(split, f"{split}_kfold")
    one = "leave_one_group_out" if split == task.BY_ENTITY else "leave_one_out"
    return plain, f"repeated_{plain}", one


def manner(cv: str, split: str) -> str:
    """Return "plain", "repeated" or "leave_one"; ProjectError where the split forbids it."""
    found = next((way for way in ("repeated", "leave_one") if cv.startswith(way)), "plain")
    if found != "plain" and cv not in (able := fitting(split)):
        raise ProjectError(
            f"plan: folds `{cv}` (TRAIN-02) do not go with the split `{split}` (TRAIN-01): rows "
            "that belong together or come later would stand on both sides; override TRAIN-02 in "
            f"plan/overrides.yaml with {' or '.join(f'`{name}`' for name in able)}"
        )
    return found
