"""TensorRT's log: what it complains of is kept, since a call that failed often says so only there."""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

__all__ = ["Log", "make_log", "reason"]

_MOST = 64
_log = logging.getLogger("cmnas.tensorrt")
# "[03/27/2023-15:49:00] [E] [TRT] text" or "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (text)"
_STAMP = re.compile(r"^\s*(?:\[[^\]]*\]\s*)*")


class Log:
    """Keeps the errors TensorRT reports, from any of its threads; the object it calls is `native`."""

    def __init__(self, trt: Any) -> None:
        self._mutex = threading.Lock()
        self._errors: list[str] = []
        self.native: Any = make_log(trt, self._take)

    def _take(self, severe: int, message: str) -> None:
        text = _STAMP.sub("", " ".join(message.split()))
        if severe > 0:
            with self._mutex:
                if len(self._errors) < _MOST and text not in self._errors:
                    self._errors.append(text)
        elif severe == 0:
            _log.debug("%s", text)

    def taken(self) -> list[str]:
        """The errors since the last time, each once."""
        with self._mutex:
            errors, self._errors = self._errors, []
        return errors


def make_log(trt: Any, take: Any) -> Any:
    """A logger as TensorRT wants one; it must call its base's constructor and never raise."""
    severe = {trt.ILogger.Severity.INTERNAL_ERROR: 2, trt.ILogger.Severity.ERROR: 1, trt.ILogger.Severity.WARNING: 0}

    class Native(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            take(severe.get(severity, -1), str(msg))

    return Native()


def reason(errors: list[str], otherwise: str = "it does not say why") -> str:
    """What TensorRT said, in one line: the first errors are those that later ones follow from."""
    if not errors:
        return otherwise
    return "; ".join(errors[:3]) + (f"; and {len(errors) - 3} more errors" if len(errors) > 3 else "")
