"""Start `ml`, also while conflicts of an update stand in the code."""

import sys
from pathlib import Path


def main() -> None:
    """Run the command line; what takes an update back needs next to nothing of the code."""
    try:
        from .cli import main as start

        start()
    except SyntaxError as error:
        if sys.argv[1:] == ["update", "--undo"]:
            from .planner.update import undo

            undo(Path(__file__).parents[2])
            print("the files are as before the update")
        else:
            print(f"error: {error.filename}, line {error.lineno}: {error.msg}", file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    main()
