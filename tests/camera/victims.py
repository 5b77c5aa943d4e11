"""Processes to kill by the thousand: the program is imported once, and forked for each of its deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Victims"]

ROOT = Path(__file__).resolve().parents[2]
_FORKS = """
import os, sys
words = sys.argv[1:]
def say(*what): os.write(1, (" ".join(map(str, what)) + "\\n").encode())
{program}
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            run(*line.split())
        finally:
            os._exit(0)
    say("pid", child)
    os.waitpid(child, 0)
    say("gone")
"""


class Victims:
    """A program that defines ``run``, may ``say`` lines, and has its arguments in ``words``."""

    def __init__(self, program: str, words: Sequence[object]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKS.replace("{program}", program), *map(str, words)], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Victims:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def run(self, *words: object, line_count: int | None = None, later_s: float = 0.0) -> list[str]:
        """Fork one and return the lines it said, killed a little after so many of them, or ended by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        lines: list[str] = []
        pid = 0
        while True:
            line = self._process.stdout.readline()
            assert line, "the process that forks ended"
            if line.startswith("pid "):
                pid = int(line.split()[1])
            elif line == "gone\n":
                return lines
            else:
                lines.append(line)
            if pid and line_count is not None and len(lines) >= line_count:
                time.sleep(later_s)
                os.kill(pid, signal.SIGKILL)
                line_count = None
