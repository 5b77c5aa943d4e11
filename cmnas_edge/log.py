"""Logs: one line for people or one JSON object for machines, secrets scrubbed from both.

Loggers are named ``cmnas.<room>``. Vectors, tokens and credentials never belong in a log;
the scrubber is the second fence, for the URL a library prints on its own.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable

__all__ = ["Repeats", "configure", "scrub"]

_MOST_REMEMBERED = 256
_REST = "\0"     # no message's own key
_SECRETS = (
    # rtsp://user:password@host, rtsp://key@host; and a password with a slash, though none should stand so in a URL
    (re.compile(r"(?<=://)(?:[^/\s:@]*:\S*|[^/\s]*)@(?=[^/\s])"), "***@"),
    # What cameras take in a query or a path, and GStreamer as a property: ?user=a&password=b, user-pw=b
    (re.compile(r"(?i)(?<![^\W_])((?:[a-z]*(?:pass|passw(?:or)?d|passphrase|pas|pwd|pw)|(?:api|access)?_?(?:token|key)"
                r"|secret|auth)=)[^\s&;,\"'!]+"),
     r"\1***"),
    (re.compile(r"(?i)(?<=bearer )\S+"), "***"),
    (re.compile(r"cmnas_[A-Za-z0-9_-]{16,}"), "cmnas_***"),     # a device's token
)


def scrub(text: str) -> str:
    """Replace credentials in URLs, wherever they stand there, bearer tokens and device tokens by ``***``.

    Examples:
        >>> scrub("rtsp://admin:hunter2@10.0.0.7/live")
        'rtsp://***@10.0.0.7/live'
    """
    for pattern, put in _SECRETS:
        text = pattern.sub(put, text)
    return text


class Repeats:
    """Lets a message through once per interval and counts what it held back.

    Messages that differ each time, as with a peer's own words in them, are let through until there are more in an
    interval than are worth remembering; from then on the rest count as one.
    """

    def __init__(self, every_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._last: dict[str, tuple[float, int]] = {}

    def admit(self, key: str) -> int | None:
        """Return how many were held back since the last one let through, or None to stay silent."""
        now = self._clock()
        if key not in self._last and len(self._last) >= _MOST_REMEMBERED:
            self._last = {known: seen for known, seen in self._last.items() if now - seen[0] < self._every_s}
            key = key if len(self._last) < _MOST_REMEMBERED else _REST
        since, held = self._last.get(key, (-float("inf"), 0))
        if now - since < self._every_s:
            self._last[key] = (since, held + 1)
            return None
        self._last[key] = (now, 0)
        return held


def _room(record: logging.LogRecord) -> str:
    return record.name.removeprefix("cmnas.")


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return scrub(f"{stamp} {_room(record):<9} {level}{self._message(record)}")

    def _message(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        return message


class _Json(_Line):
    def format(self, record: logging.LogRecord) -> str:
        row = {"at": round(record.created, 3), "level": record.levelname.lower(),
               "room": _room(record), "message": scrub(self._message(record))}
        return json.dumps(row)


def configure(*, as_json: bool = False, level: int = logging.INFO) -> None:
    """Send the house's logs to stderr, as lines or as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else _Line())
    root = logging.getLogger("cmnas")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
