"""The folder of a training run: its recipe, its log, and the state it can be picked up from.

::

    RUN/recipe.toml        what was asked for, in full; files it names by their sha256
    RUN/run.json           seed, commit, fingerprint of the data, machine
    RUN/log.jsonl          one line per report, one per evaluation
    RUN/state.pt           step, weights, moving average, optimiser; replaced whole
    RUN/last.safetensors   the network as it would be shipped now
    RUN/tensorboard/       the log as curves, where tensorboardX is installed

A file is either the old one or the new one, whenever the process dies or the disk is full.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import torch

from cmnas_edge import config
from cmnas_edge.errors import CmnasError, ConfigError, unwritable
from train.fit.scalars import Scalars

__all__ = ["Run", "by_content", "kept"]


class _Origin(msgspec.Struct):
    data: str


class _Row(msgspec.Struct):
    step: int


class Run:
    """A run's folder: begins empty, or goes on where its last saved state ends.

    As a context it closes its curves at the end.

    Args:
        folder: Created if missing.
        recipe: What to do there: of a training, or of a search.
        writes: Whether this process keeps the folder; others only read what is there.

    Raises:
        ConfigError: The folder holds a run of another recipe, or cannot be written; or a file
            that the recipe names cannot be read.
        DiskFull: There is no room for the recipe.
    """

    def __init__(self, folder: Path, recipe: msgspec.Struct, *, writes: bool = True) -> None:
        self.folder = folder
        self.checkpoint_path = folder / "last.safetensors"
        self._writes = writes
        self._state_path, self._log_path = folder / "state.pt", folder / "log.jsonl"
        self._scalars = Scalars(folder / "tensorboard")
        asked = by_content(recipe)
        recipe_path = folder / "recipe.toml"
        with self._room():
            if writes:
                folder.mkdir(parents=True, exist_ok=True)
            begun = recipe_path.exists() and (self._state_path.exists() or not writes)  # else nothing would be lost
            # Version 0.1.0 wrote the path of the checkpoint to start from.
            if begun and kept(recipe_path, type(recipe)) not in (asked, recipe):
                raise ConfigError(f"{recipe_path}: expected the recipe given now, found another one; choose another "
                                  "--out, or delete the folder to start over")
            if writes:
                _replace(recipe_path, lambda file: file.write(config.show(asked).encode()))

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exc: object) -> None:
        self._scalars.close()

    def sign(self, origin: Mapping[str, Any]) -> None:
        """Write where the numbers of this run come from; a run goes on with the data it began with only.

        Raises:
            ConfigError: The ``data`` of the run so far was other, or what is noted of it cannot be read.
        """
        path = self.folder / "run.json"
        if path.exists() and self._state_path.exists():
            try:
                before = msgspec.json.decode(path.read_bytes(), type=_Origin).data
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path}: expected where this run comes from, found something else; restore the "
                                  "file, or delete the folder to start over") from error
            if before != origin["data"]:
                raise ConfigError(f"{path}: expected the data this run began with ({before[:12]}), found other "
                                  f"data ({origin['data'][:12]}); restore it, or choose another --out")
        if self._writes:
            with self._room():
                text = msgspec.json.format(msgspec.json.encode(origin), indent=2)
                _replace(path, lambda file: file.write(text + b"\n"))

    def resume(self) -> dict[str, Any] | None:
        """The last saved state, or None for a fresh run; the log is cut back to its step.

        Raises:
            ConfigError: The state or the log cannot be read.
        """
        if not self._state_path.exists():
            if self._writes:
                self._log_path.unlink(missing_ok=True)
            return None
        try:
            state = cast("dict[str, Any]", torch.load(self._state_path, map_location="cpu", weights_only=True))
            step = int(state["step"])
        except Exception as error:  # torch raises whatever its unpickler met
            raise ConfigError(f"{self._state_path}: expected a state of this run, found something unreadable "
                              f"({type(error).__name__}); delete the folder to start over") from error
        if self._writes:
            told = [line for line, row in zip(self._lines(), self.rows(), strict=True) if row["step"] <= step]
            with self._room():
                _replace(self._log_path, lambda file: file.write(b"".join(line + b"\n" for line in told)))
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state; the file is whole or the old one.

        Raises:
            DiskFull: No room for it; the old one stands.
        """
        if self._writes:
            with self._room():
                _replace(self._state_path, lambda file: torch.save(dict(state), file))

    def keep(self, write: Callable[[], object]) -> None:
        """Write a file of this run by a function that leaves the old one if it fails.

        Raises:
            DiskFull: No room for it.
        """
        if self._writes:
            with self._room():
                write()

    def note(self, row: Mapping[str, Any]) -> None:
        """Append one line to the log; a row has a ``step``.

        Raises:
            DiskFull: No room for it.
        """
        if self._writes:
            with self._room(), self._log_path.open("ab") as file:
                file.write(msgspec.json.encode(row) + b"\n")
            self._scalars.add(row)

    def rows(self) -> list[dict[str, Any]]:
        """The log so far.

        Raises:
            ConfigError: A line is damaged.
        """
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(self._lines(), start=1):
            try:
                msgspec.json.decode(line, type=_Row)
                rows.append(msgspec.json.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"{self._log_path}:{number}: expected what a run noted at a step, found something "
                                  "else; delete this line, and give the same command again") from error
        return rows

    def _lines(self) -> list[bytes]:
        """Whole lines of the log; a kill may have cut the last one short."""
        if not self._log_path.exists():
            return []
        *whole, _ = self._log_path.read_bytes().split(b"\n")
        return whole

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Inside, a file that cannot be written ends in one sentence."""
        try:
            yield
        except CmnasError:
            raise
        except (OSError, RuntimeError) as error:
            # torch.save says what the file system said in words of its own, and keeps it as the context.
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__context__
            if cause is None:
                raise
            raise unwritable(self.folder, "this run", cause, "choose another --out",
                             again="give the same command again: it goes on from the last saved state") from error


def by_content(recipe: msgspec.Struct) -> msgspec.Struct:
    """The recipe with its files named by content, so that a checkout that moved goes on with its runs.

    Raises:
        ConfigError: A file that the recipe names cannot be read.
    """
    for key in ("start", "arch"):
        path: Path | None = getattr(recipe, key, None)
        if path is not None:
            what = "a checkpoint to start from" if key == "start" else "an arch file"
            try:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise ConfigError(f"{path}: expected {what}, found {error.strerror}; correct recipe.{key}") from error
            recipe = msgspec.structs.replace(recipe, **{key: Path(f"sha256:{digest}")})
    return recipe


def kept(path: Path, kind: type[msgspec.Struct]) -> msgspec.Struct | None:
    """The recipe of a run; None if this release cannot read it. Version 0.1.0 knew drawn people only."""
    try:
        text = re.sub(r"^\[(train|validation)\]\n(?!dataset)", r'[\1]\ndataset = "drawn"\n', path.read_text("utf-8"),
                      flags=re.MULTILINE)
        return msgspec.toml.decode(text, type=kind, dec_hook=lambda of, value: of(value))
    except (msgspec.DecodeError, ValueError):
        return None


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
