"""Run the `ml` command as `python -m`."""

from .cli import main

main()
