"""The folder of a training run: its recipe, its log, and the state it can be picked up from.

::

    RUN/recipe.toml        what was asked for, in full; a checkpoint to start from by its sha256
    RUN/log.jsonl          one line per report, one per evaluation
    RUN/state.pt           step, weights, moving average, optimiser; replaced whole
    RUN/last.safetensors   the network as it would be shipped now

A file is either the old one or the new one, whenever the process dies.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import torch

from cmnas_edge import config
from cmnas_edge.errors import ConfigError
from train.recipe import Recipe

__all__ = ["Run"]


class Run:
    """A run's folder: begins empty, or goes on where its last saved state ends.

    Args:
        folder: Created if missing.
        recipe: What to do there.

    Raises:
        ConfigError: The folder holds a run of another recipe, or cannot be written; or the
            checkpoint to start from cannot be read.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        self.checkpoint_path = folder / "last.safetensors"
        self._state_path, self._log_path = folder / "state.pt", folder / "log.jsonl"
        asked = config.show(_anywhere(recipe))
        recipe_path = folder / "recipe.toml"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Version 0.1.0 wrote the path of the checkpoint to start from.
            if recipe_path.exists() and recipe_path.read_text("utf-8") not in (asked, config.show(recipe)):
                raise ConfigError(f"{recipe_path}: expected the recipe given now, found another one; choose another "
                                  "--out, or delete the folder to start over")
            _replace(recipe_path, lambda file: file.write(asked.encode()))
        except OSError as error:
            raise ConfigError(f"{folder}: expected a folder to write the run to, {error.strerror}; "
                              "choose another --out") from error

    def resume(self) -> dict[str, Any] | None:
        """The last saved state, or None for a fresh run; the log is cut back to its step.

        Raises:
            ConfigError: The state cannot be read.
        """
        if not self._state_path.exists():
            self._log_path.unlink(missing_ok=True)
            return None
        try:
            state = cast("dict[str, Any]", torch.load(self._state_path, map_location="cpu", weights_only=True))
            step = int(state["step"])
        except Exception as error:  # torch raises whatever its unpickler met
            raise ConfigError(f"{self._state_path}: expected a state of this run, found something unreadable "
                              f"({type(error).__name__}); delete the folder to start over") from error
        kept = [line for line in self._lines() if msgspec.json.decode(line)["step"] <= step]
        _replace(self._log_path, lambda file: file.write(b"".join(line + b"\n" for line in kept)))
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state; the file is whole or the old one."""
        _replace(self._state_path, lambda file: torch.save(dict(state), file))

    def note(self, row: Mapping[str, Any]) -> None:
        """Append one line to the log; a row has a ``step``."""
        with self._log_path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")

    def rows(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [msgspec.json.decode(line) for line in self._lines()]

    def _lines(self) -> list[bytes]:
        """Whole lines of the log; a kill may have cut the last one short."""
        if not self._log_path.exists():
            return []
        *whole, _ = self._log_path.read_bytes().split(b"\n")
        return whole


def _anywhere(recipe: Recipe) -> Recipe:
    """The recipe with its start named by content, so that a checkout that moved goes on with its runs."""
    if recipe.start is None:
        return recipe
    try:
        digest = hashlib.sha256(recipe.start.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{recipe.start}: expected a checkpoint to start from, found {error.strerror}; "
                          "correct recipe.start") from error
    return msgspec.structs.replace(recipe, start=Path(f"sha256:{digest}"))


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
