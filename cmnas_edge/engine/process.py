"""Code of others in a process of its own: it may crash, or never answer, and whoever asked goes on and can say so.

It is asked, and answers, by a pipe, in messages of bytes. Closed, or with the process that started it, it ends.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Pipe

from cmnas_edge.errors import DeviceError

__all__ = ["Process", "command", "end_with_parent"]

_END_S = 5.0    # a killed process is gone at once, unless its driver hangs inside the kernel
_DIE_WITH_PARENT = 1    # PR_SET_PDEATHSIG of prctl(2)
_log = logging.getLogger("cmnas.engine")


def command(module: str, function: str, *words: str) -> list[str]:
    """Start a function of ours with these words, and the number of its end of the pipe after them."""
    # It finds modules where this process does: not, as with ``-m``, first in whatever folder this is.
    script = f"import sys; sys.path[:] = {sys.path!r}; from {module} import {function}; {function}(*sys.argv[1:])"
    return [sys.executable, "-c", script, *words]


class Process:
    """Another process, at the other end of a pipe.

    Args:
        words: Start it; the number of its end of the pipe is added.
        limit_s: Longest it may be silent while something is awaited of it, its start included.
        option: What gives it longer, for the message.

    Raises:
        DeviceError: No process can be started.
    """

    def __init__(self, words: Sequence[str], limit_s: float, option: str) -> None:
        self.limit_s = limit_s
        self._option = option
        self._pipe, theirs = Pipe()
        with theirs:
            try:
                # A session of its own: Ctrl-C reaches this process only, which ends the others.
                self.popen = subprocess.Popen([*words, str(theirs.fileno())], pass_fds=[theirs.fileno()],
                                              stdin=subprocess.DEVNULL, stdout=2, start_new_session=True)
            except OSError as error:
                self._pipe.close()
                raise DeviceError(f"found no process to run in ({error.strerror})") from error

    def send(self, data: bytes, doing: str) -> None:
        """Ask something.

        Raises:
            DeviceError: It is dead.
        """
        try:
            self._pipe.send_bytes(data)
        except OSError:
            raise DeviceError(f"its process {self._end()} while {doing}") from None

    def receive(self, doing: str) -> bytes:
        """Wait for its next message.

        Args:
            doing: What it is at, for the message.

        Raises:
            DeviceError: It gave none in time, or died.
        """
        try:
            if not self._pipe.poll(self.limit_s):
                raise DeviceError(f"gave no answer within {self.limit_s:g} s while {doing}, and was ended; "
                                  f"`{self._option}` gives it longer")
            return self._pipe.recv_bytes()
        except (EOFError, OSError):
            raise DeviceError(f"its process {self._end()} while {doing}") from None

    def close(self) -> None:
        """End it, whatever it is at; again is harmless."""
        self._pipe.close()
        self.popen.kill()
        try:
            self.popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            _log.warning("process %d was killed and is still there: a driver of this machine hangs; look at dmesg",
                         self.popen.pid)

    def _end(self) -> str:
        try:
            code = self.popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was ended by {name}" + (", as where memory runs out," if name == "SIGKILL" else "")


def end_with_parent() -> None:
    """Have this process killed when the one that started it ends, however that ends."""
    with contextlib.suppress(ImportError, AttributeError):  # elsewhere than on Linux the closed pipe has to do
        import ctypes  # noqa: PLC0415 - only here

        # What hangs reads no pipe. Should the other have ended before this line, the pipe says so.
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
