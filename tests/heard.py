"""What the house says during a test, in this process and in those it starts, searched for what must never be said.

Nothing in the product knows of this. Heard is

- every log record of this process, as it would be written (through the house's own formatters);
- the standard error of every process that a test starts, into a pipe or a file;
- whatever else reaches the standard error of this process: printed here, or by a process at any depth that
  inherited it, as far as pytest captures that (by default it does; with ``-s`` nobody does);
- every file ``*.log`` below a test's ``tmp_path``, whoever wrote it, and at the end of the run below the
  other folders that pytest made for it.

Not heard is what a process sends to /dev/null, and a file of another name that a grandchild writes.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cmnas_edge import log

PASSWORD = "hunter2"
_NUMBER = r"-?\d(?:\.\d+)?(?:e-?\d+)?"
SECRETS = {
    "a device's token": re.compile(r"cmnas_[A-Za-z0-9_-]{20,}"),
    "a bearer token": re.compile(r"(?i)bearer (?!\*\*\*)\S{8,}"),
    "a password": re.compile(rf"{PASSWORD}"),
    "credentials in a URL": re.compile(r"://(?!\*\*\*@)[^/\s'\"]+@[^/\s]"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "a vector's numbers": re.compile(rf"(?:{_NUMBER}[,;\s]+){{8,}}{_NUMBER}"),
    "a vector in hexadecimal": re.compile(r"(?i)(?<![0-9a-f])[0-9a-f]{80,}"),
    "a vector's bytes": re.compile(r"(?:\\x[0-9a-f]{2}[^\\]{0,3}){8,}"),
    "a vector in base64": re.compile(r"(?<![A-Za-z0-9+/])(?=[A-Za-z+/]*[0-9])(?=[a-z0-9+/]*[A-Z])(?=[A-Z0-9+/]*[a-z])"
                                     r"[A-Za-z0-9+/]{100,}"),
}
_FORMATS = (log._Line(), log._Json())


_MOST_BYTES = 4 << 20  # of one log, its beginning and its end


class Heard:
    """Lines of one test; and files that processes write theirs to."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []
        self.files: set[str] = set()

    def text(self) -> Iterator[str]:
        """All that was said, line by line or in larger pieces."""
        for record in self.records:
            for form in _FORMATS:
                with contextlib.suppress(TypeError, ValueError):    # a test of a record that cannot be written
                    yield form.format(record)
        yield from self.lines
        for name in self.files:
            with contextlib.suppress(OSError):
                yield Path(name).read_text("utf-8", "replace")


_heard = Heard()


def logs_in(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every log below a folder, and what stands in it."""
    for path in sorted(folder.rglob("*.log")):
        with contextlib.suppress(OSError):      # somebody's fifo, or a folder of such a name
            if path.is_file():
                with path.open("rb") as file:
                    content = file.read(_MOST_BYTES)
                    if (size := path.stat().st_size) > _MOST_BYTES:
                        file.seek(max(_MOST_BYTES, size - _MOST_BYTES))
                        content += file.read()
                yield path, content.decode("utf-8", "replace")


def secrets_in(text: str) -> list[str]:
    """Name the kinds of secrets that stand in a text."""
    return [f"{what}: ...{found[0][:60]}..." for what, pattern in SECRETS.items() if (found := pattern.search(text))]


def forms(data: bytes) -> Iterator[str]:
    """How bytes might be written in a text: as hexadecimal, as Python, in base64 wherever they begin."""
    yield data.hex()
    yield repr(data)[2:-1]
    for skipped in range(3):
        yield base64.b64encode(data[skipped:len(data) - (len(data) - skipped) % 3]).decode()


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    """Hear what is said inside."""
    global _heard  # noqa: PLW0603 - one test runs at a time
    before, _heard = _heard, Heard()
    try:
        yield _heard
    finally:
        _heard = before


def begin() -> None:
    """From now on every record and every process of this Python is heard."""
    made = logging.getLogRecordFactory()

    def factory(*args: Any, **named: Any) -> logging.LogRecord:
        record = made(*args, **named)
        if record.name.startswith(("cmnas", "uvicorn")):
            _heard.records.append(record)
        return record

    def readouterr(capture: pytest.CaptureFixture[Any], read: Any = pytest.CaptureFixture.readouterr) -> Any:
        caught = read(capture)
        _hear(caught.err)
        return caught

    logging.setLogRecordFactory(factory)
    pytest.CaptureFixture.readouterr = readouterr   # type: ignore[method-assign]
    subprocess.Popen = _Process     # type: ignore[misc]


class _Process(subprocess.Popen):   # type: ignore[type-arg]
    """A process whose standard error is heard, whoever reads it."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        where = named.get("stderr")
        if where == subprocess.STDOUT:
            where = named.get("stdout")
            if self.stdout is not None:
                self.stdout = _Tee(self.stdout)     # type: ignore[assignment]
        elif self.stderr is not None:
            self.stderr = _Tee(self.stderr)         # type: ignore[assignment]
        if isinstance(name := getattr(where, "name", None), str):
            _heard.files.add(name)

    def communicate(self, *args: Any, **named: Any) -> tuple[Any, Any]:
        out, err = super().communicate(*args, **named)
        for stream, text in ((self.stdout, out), (self.stderr, err)):
            if isinstance(stream, _Tee) and text:
                _hear(text)
        return out, err


class _Tee:
    """A stream that is heard as it is read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Tee:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[Any]:
        return map(_hear, self._stream)

    def read(self, *size: int) -> Any:
        return _hear(self._stream.read(*size))

    def readline(self, *size: int) -> Any:
        return _hear(self._stream.readline(*size))

    def readlines(self) -> Any:
        return list(self)


def _hear(text: Any) -> Any:
    _heard.lines.append(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text or ""))
    return text
