"""State dicts as other projects keep them: files of ``torch.save``, read without running code in them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmnas_edge.errors import BundleError, ConfigError

__all__ = ["State", "likeness", "read_state"]

State = dict[str, Tensor]

# Training checkpoints keep their scores as numpy numbers; reading these runs no code.
_SCALAR = np.float32().__reduce__()[0]
_NUMBERS: list[Any] = [(_SCALAR, "numpy.core.multiarray.scalar"), (_SCALAR, "numpy._core.multiarray.scalar"), np.dtype,
                       *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64))]


def read_state(path: Path, container: str | None = None) -> State:
    """The tensors of a checkpoint file by name, without DataParallel's ``module.`` prefix.

    Args:
        path: A file written by ``torch.save``.
        container: Key under which a training checkpoint keeps the state_dict, if it is one.

    Raises:
        ConfigError: There is no such file.
        BundleError: Not readable without running code, or no state_dict.
    """
    if not path.is_file():
        there = "a folder" if path.is_dir() else "no such file"
        raise ConfigError(f"{path}: expected a checkpoint, found {there}; check the path")
    try:
        with torch.serialization.safe_globals(_NUMBERS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of them is in the sentence below
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on random bytes torch's reader fails in any way a parser can
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            raise BundleError(f"{path}: expected tensors only, found {code[1]}, which could run code when "
                              "read; get the state_dict alone from whoever made the file") from error
        raise BundleError(f"{path}: expected a file that torch.save wrote, found a damaged or foreign one "
                          f"({type(error).__name__}); copy it again") from error
    if isinstance(found, Mapping) and container in found:
        found = found[container]
    if not isinstance(found, Mapping) or not found:
        raise BundleError(f"{path}: expected a state_dict, found {type(found).__name__}; "
                          "give the file that torch.save(network.state_dict(), ...) writes")
    others = [str(name) for name, value in found.items()
              if not isinstance(name, str) or not isinstance(value, Tensor)]
    if others:
        where = "" if container is None else f", or one under {container!r}"
        raise BundleError(f"{path}: expected tensors only, found other things at {', '.join(others)}; "
                          f"give the file of a state_dict itself{where}")
    if all(name.startswith("module.") for name in found):
        return {name.removeprefix("module."): tensor for name, tensor in found.items()}
    return dict(found)


def likeness(state: State) -> str:
    """What a state seems to be of, in words, by the names of its tensors."""
    if "conv1.conv.weight" in state:
        return "an OSNet of torchreid"
    if "layer1.0.conv3.weight" in state:
        return "a ResNet-50, 101 or 152 of torchvision"
    if "layer1.0.conv1.weight" in state:
        return "a ResNet-18 or 34 of torchvision"
    if any(name.startswith("backbone.") for name in state):
        return "a checkpoint of this project or of CM-NAS"
    return f"{len(state)} tensors, such as {next(iter(state))}"
