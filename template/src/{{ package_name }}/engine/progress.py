"""Say on stderr what a long step does and how long it has taken; stdout stays for results."""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from .formats import number

FIRST_S, EVERY_S = 5.0, 10.0  # of lines in a log; a terminal's line is written anew each second
_state = {"step": "", "doing": ""}
_detail: deque[tuple[str, int, int | None]] = deque(maxlen=1)


def tell(doing: str, done: int | None = None, total: int | None = None) -> None:
    """Note what is being done, as the `done`-th of `total` parts; seen while `shown` is open."""
    _state["doing"] = doing if done is None else f"{doing}, {_count(done, total)}"
    _detail.clear()


def detail(name: str, done: int, total: int | None = None) -> None:
    """Note how far that is, such as the round of boosting: beside it, until the next `tell`.

    It is written only when it is shown: there are thousands of rounds.
    """
    _detail.append((name, done, total))


@contextmanager
def part(name: str, done: int, total: int) -> Iterator[None]:
    """Name a larger part, such as a trial, before all that is told in it."""
    outer = _state["step"]
    _state["step"] = f"{outer}, {name} {_count(done, total)}"
    try:
        yield
    finally:
        _state["step"] = outer


def _count(done: int, total: int | None) -> str:
    return number(done) if total is None else f"{number(done)} of {number(total)}"


@contextmanager
def shown(step: str) -> Iterator[None]:
    """Show `step` and what `tell` notes: one line that changes, or a line now and then in a log."""
    outer, over, started = dict(_state), threading.Event(), time.monotonic()
    _state.update(step=step, doing="")
    _detail.clear()
    terminal = sys.stderr.isatty()

    def show() -> None:
        pause = 1.0 if terminal else FIRST_S
        while not over.wait(pause):
            rounds = [f"{name} {_count(done, total)}" for name, done, total in list(_detail)]
            doing = ", ".join(filter(None, (_state["doing"], *rounds)))
            parts = ": ".join(filter(None, (_state["step"], doing)))
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
        _detail.clear()
