"""A real terminal in which a person answers a tool of this environment."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>()][AB0]?)|[\r\x00]")


class Terminal:
    """Starts a tool in a terminal of 40 lines; `wait` for what it shows, then `type` keys."""

    def __init__(self, *arguments: str, cwd: Path | None = None) -> None:
        self.screen, tool_side = pty.openpty()
        fcntl.ioctl(tool_side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        env = {**os.environ, "TERM": "xterm"}
        tool = str(Path(sys.executable).with_name(arguments[0]))
        self.process = subprocess.Popen(
            [tool, *arguments[1:]],
            cwd=cwd,
            env=env,
            stdin=tool_side,
            stdout=tool_side,
            stderr=tool_side,
            start_new_session=True,
        )
        os.close(tool_side)
        self.shown = ""

    def _read(self, seconds: float) -> bool:
        """Take what came within some seconds; False when the tool has closed the terminal."""
        if not select.select([self.screen], [], [], seconds)[0]:
            return True
        try:
            more = os.read(self.screen, 65536)
        except OSError:  # so Linux says that the other side is closed
            return False
        if b"\x1b[6n" in more:  # where is the cursor? In the first line.
            os.write(self.screen, b"\x1b[1;1R")
        self.shown += more.decode(errors="replace")
        return bool(more)

    def wait(self, text: str, seconds: float = 60) -> str:
        """Return what was shown up to and with a text, and forget it."""
        end = time.monotonic() + seconds
        while text not in (plain := ESCAPE.sub("", self.shown)):
            assert time.monotonic() < end and self._read(0.5), f"no {text!r} in:\n{plain[-3000:]}"
        self.shown = ""
        return plain

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.screen, keys.encode())

    def answer(self, keys: dict[str, str]) -> None:
        """Wait for each text and press its keys."""
        for text, pressed in keys.items():
            self.wait(text)
            self.type(pressed)

    def end(self, seconds: float = 60) -> tuple[int, str]:
        """Return the exit code and what was shown at last."""
        end = time.monotonic() + seconds
        while self._read(0.5):
            assert time.monotonic() < end, ESCAPE.sub("", self.shown)[-3000:]
        os.close(self.screen)
        return self.process.wait(seconds), ESCAPE.sub("", self.shown)
