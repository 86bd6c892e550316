"""Say on stderr what a long step does and how long it has taken; stdout stays for results."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

FIRST_S, EVERY_S = 5.0, 10.0  # of lines in a log; a terminal's line is written anew each second
_state = {"step": "", "doing": ""}


def tell(doing: str, done: int | None = None, total: int | None = None) -> None:
    """Note what is being done, as the `done`-th of `total` parts; seen while `shown` is open."""
    _state["doing"] = doing if done is None else f"{doing}, {done} of {total}"


@contextmanager
def shown(step: str) -> Iterator[None]:
    """Show `step` and what `tell` notes: one line that changes, or a line now and then in a log."""
    outer, over, started = dict(_state), threading.Event(), time.monotonic()
    _state.update(step=step, doing="")
    terminal = sys.stderr.isatty()

    def show() -> None:
        pause = 1.0 if terminal else FIRST_S
        while not over.wait(pause):
            parts = f"{_state['step']}: {_state['doing']}".removesuffix(": ")
            line = f"... {parts} ({time.monotonic() - started:.0f} s)"
            print(
                f"\r\x1b[K{line}" if terminal else line,
                end="" if terminal else "\n",
                file=sys.stderr,
                flush=True,
            )
            pause = 1.0 if terminal else EVERY_S

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        _state.update(outer)
