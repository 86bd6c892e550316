"""Write, in order, all that follows from the questions and rules; `--check` says what is stale."""

import subprocess
import sys
from pathlib import Path

# Each reads what those before it write.
ORDER = ("gen_rules", "gen_given", "gen_cookiecutter", "gen_reference", "gen_examples")


def main() -> None:
    """Run every generator; exit with the code of the first that fails."""
    for name in ORDER:
        tool = Path(__file__).with_name(f"{name}.py")
        done = subprocess.run([sys.executable, tool, *sys.argv[1:]], check=False)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
