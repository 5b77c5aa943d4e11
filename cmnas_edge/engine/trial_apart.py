"""Trials in processes of their own, one for each: what crashes or hangs there is a verdict, and the others go on.

A process is told what to try, and says by its pipe what is worth telling, what it is at, with the figures so far, and
how it ended. So of one that died the report has everything up to there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from cmnas_edge.bundle import Bundle
from cmnas_edge.engine.process import Process, command, end_with_parent
from cmnas_edge.engine.proof import Asked, Subject
from cmnas_edge.engine.prove_device import anonymous
from cmnas_edge.engine.trial import Here, Look
from cmnas_edge.errors import DeviceError

__all__ = ["LIMIT_S", "Apart", "serve", "serve_trials"]

LIMIT_S = 1800.0    # TensorRT builds a large plan on a small device for minutes, and says nothing meanwhile


class _Ask(msgspec.Struct, tag=True):
    subject: Subject | None     # None: what TensorRT says of this device


class _Said(msgspec.Struct, tag=True):
    text: str


class _At(msgspec.Struct, tag=True):
    doing: str
    subject: Subject


class _Ended(msgspec.Struct, tag=True):
    subject: Subject


_Told = Look | _Said | _At | _Ended


class Apart:
    """A `cmnas_edge.engine.trial.Trials` that starts a process for each.

    Args:
        words: Start a process that calls `serve`; the number of its end of the pipe is added.
        limit_s: Longest that one may be silent.
    """

    def __init__(self, words: Sequence[str], limit_s: float = LIMIT_S) -> None:
        self._words, self._limit_s = words, limit_s

    @classmethod
    def of(cls, bundle: Bundle, asked: Asked, cache: Path, limit_s: float = LIMIT_S) -> Apart:
        """Trials of a bundle; ``cache`` is where plans are kept."""
        return cls(command("cmnas_edge.engine.trial_apart", "serve_trials", str(bundle.path),
                           msgspec.json.encode(asked).decode(), str(cache)), limit_s)

    def look(self) -> Look:
        """See `Trials`."""
        doing = "being asked for its GPU"
        try:
            with closing(self._begun(None, doing)) as process:
                told = _read(process, doing)
                assert isinstance(told, Look)
                return told
        except DeviceError as error:
            return Look(fault=anonymous(str(error)))

    def attempt(self, subject: Subject, say: Callable[[str], None]) -> Subject:
        """See `Trials`."""
        doing = "starting"
        try:
            with closing(self._begun(subject, doing)) as process:
                while True:
                    told = _read(process, doing)
                    if isinstance(told, _Ended):
                        return told.subject
                    if isinstance(told, _Said):
                        say(told.text)
                    elif isinstance(told, _At):
                        doing, subject = told.doing, told.subject
        except DeviceError as error:
            subject.verdict = anonymous(str(error))
            return subject

    def _begun(self, subject: Subject | None, doing: str) -> Process:
        process = Process(self._words, self._limit_s, "cmnas-edge engine prove --limit-s")
        try:
            process.send(msgspec.msgpack.encode(_Ask(subject)), doing)
        except DeviceError:
            process.close()
            raise
        return process


def _read(process: Process, doing: str) -> _Told:
    # Not JSON, which has no infinity: an embedding may lie that far off.
    told: _Told = msgspec.msgpack.decode(process.receive(doing), type=_Told)
    return told


def serve(trials: Here, pipe: Connection) -> None:
    """Do the one thing that an `Apart` in another process asks, and tell it how it goes."""
    end_with_parent()

    def tell(told: _Told) -> None:
        pipe.send_bytes(msgspec.msgpack.encode(told))

    with contextlib.suppress(EOFError, ConnectionError), pipe:
        subject = msgspec.msgpack.decode(pipe.recv_bytes(), type=_Ask).subject
        if subject is None:
            tell(trials.look())
        else:
            tell(_Ended(trials.attempt(subject, lambda text: tell(_Said(text)),
                                       lambda doing: tell(_At(doing, subject)))))


def serve_trials(path: str, asked: str, cache: str, pipe: str) -> None:
    """Serve trials of a bundle; what `Apart.of` starts, with the words it adds."""
    serve(Here(Bundle.open(Path(path)), msgspec.json.decode(asked, type=Asked), Path(cache)), Connection(int(pipe)))
