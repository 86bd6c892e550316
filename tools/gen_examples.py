"""Write docs/examples: PLAN.md as a project gets it, from three presets in the three depths.

python tools/gen_examples.py [--check]
"""

import re
import sys
import tempfile
import warnings
from pathlib import Path

from copier import run_copy

ROOT = Path(__file__).resolve().parents[1]
DEPTHS = {"churn": "light", "fraud": "standard", "credit": "regulated"}


def example(preset: str, depth: str) -> str:
    """Return the plan of a fresh project; its links lead to files that only the project has."""
    answers = {"preset": preset, "plan_depth": depth}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a working tree with changes is fine here
        run_copy(str(ROOT), folder, answers, defaults=True, quiet=True, vcs_ref="HEAD")
        plan = Path(folder, "PLAN.md").read_text(encoding="utf-8")
    title, rest = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", plan).split("\n", 1)
    command = f"copier copy --defaults --data preset={preset} --data plan_depth={depth}"
    return f"{title}\n\n_As `{command}` writes it, before anybody has._\n{rest}"


def main() -> None:
    """Write the examples, or with --check fail when one is not current."""
    for preset, depth in DEPTHS.items():
        target, text = ROOT / "docs" / "examples" / f"{preset}.md", example(preset, depth)
        if "--check" not in sys.argv:
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            sys.exit(f"{target.name} is stale: run python tools/gen_examples.py")


if __name__ == "__main__":
    main()
