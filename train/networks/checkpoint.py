"""A trained network on disk: safetensors with a JSON header that says what it is.

Tensors carry the network's own parameter names; the header, one JSON text under the key
``cmnas_edge`` of the safetensors metadata, carries what is needed to build the network
again and to know where it came from. No pickle: reading a checkpoint runs no code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, cast

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from cmnas_edge.errors import BundleError, ConfigError
from cmnas_edge.preprocess import DEFINITION
from train.networks.build import Network, build
from train.networks.design import RELEASED, Design
from train.networks.space import Arch, Choice

__all__ = ["SCHEMA", "Checkpoint", "Lesson", "load", "place", "save"]

SCHEMA = "cmnas-edge checkpoint 1"
_KEY = "cmnas_edge"
_NAMED = 20  # tensors that a message names before it only counts: more than a block of a network has
_ZIP = b"PK\3\4"  # what files of torch.save begin with

_Size = Annotated[int, msgspec.Meta(ge=1)]


class Lesson(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom one training learnt from.

    Attributes:
        source: In full, as a recipe's ``[train]`` has it.
        pictures: One of each person, as the start of the SHA-256 of its crop, where no published split says who
            they are: they are known again whatever their folder is called by then.
        world: Of drawn people who lay on disk in the layout of ``source``: the seed of their world.
        numbers: Theirs in it, as the first and last of each run.
    """

    source: dict[str, Any]
    pictures: tuple[str, ...] = ()
    world: int | None = None
    numbers: tuple[tuple[int, int], ...] = ()


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a network came from; backbone, arch, design and identities are the network's own.

    Attributes:
        height: Rows of the crops it was trained on.
        width: Columns.
        preprocessing: The definition the crops went through (`cmnas_edge.preprocess.DEFINITION`).
        seed: Of the training run.
        commit: Git commit of the code that trained it.
        data: Fingerprint of the training data.
        learnt: Whom it was taught, the weights it began with included; left out by version 0.1.0, and where nobody
            knows.
    """

    height: _Size
    width: _Size
    preprocessing: str = DEFINITION
    seed: int
    commit: str
    data: str
    learnt: tuple[Lesson, ...] | msgspec.UnsetType = msgspec.UNSET


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    schema: str
    backbone: str
    choices: dict[str, str]
    design: Design = RELEASED  # left out when it is, as in the files of 0.1.0
    identities: Annotated[int, msgspec.Meta(ge=0)]
    run: Checkpoint


class _Schema(msgspec.Struct, frozen=True):
    schema: str


def save(path: Path, network: Network, meta: Checkpoint) -> None:
    """Write a network; the file is whole or not there, also when the power fails.

    Args:
        path: File to write; its folder exists. An older file is replaced.
        network: What to keep, classifier included.
        meta: Where it came from.

    Raises:
        OSError: The file cannot be written.
    """
    header = _Header(schema=SCHEMA, backbone=network.arch.backbone, choices=dict(network.arch.choices),
                     design=network.arch.design, identities=network.identities, run=meta)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    data = to_bytes(tensors, {_KEY: msgspec.json.encode(header).decode()})
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load(path: Path, *, expected: Arch | None = None) -> tuple[Network, Checkpoint]:
    """Build the network a file describes and put its numbers in, on the CPU, in evaluation mode.

    Args:
        path: What `save` wrote, in this release or an earlier one.
        expected: What the network has to be; any by default.

    Raises:
        ConfigError: There is no such file; or the network is another than expected, with what
            tells them apart.
        BundleError: Damaged, not a checkpoint of this project, of another schema, or its
            tensors aren't exactly those of the network it names.
    """
    if not path.is_file():
        found = "a folder; name the .safetensors file in it" if path.is_dir() else (
            "no such file; train one with python -m train")
        raise ConfigError(f"{path}: expected a checkpoint, found {found}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        why = f"({error}); copy or train it again"
        with path.open("rb") as file:
            if file.read(4) == _ZIP:
                why = 'that torch.save wrote; to start from it, say start_format = "torchreid" or "torchvision"'
        raise BundleError(f"{path}: expected a safetensors checkpoint, found a damaged or foreign file {why}"
                          ) from error
    if text is None:
        raise BundleError(f"{path}: expected a header under {_KEY!r}, found safetensors without it; "
                          "weights from elsewhere come in as files of torch.save, by start_format in a recipe")
    header = _read_header(path, text)
    try:
        arch = Arch(header.backbone, cast("tuple[tuple[str, Choice], ...]", tuple(header.choices.items())),
                    header.design)
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from error
    if expected is not None and arch != expected:
        raise ConfigError(f"{path}: expected a network of the architecture asked for, found "
                          f"{expected.differences(arch)}; take another checkpoint, or change what is asked for")
    with torch.random.fork_rng(devices=[]):  # reading must not move anybody's random numbers
        network = build(arch, identities=header.identities)
    place(tensors, network, str(path))
    return network.eval(), header.run


def place(tensors: Mapping[str, Tensor], network: Network, where: str, *,
          names: Mapping[str, str] = MappingProxyType({}), unknown: Sequence[str] = ()) -> None:
    """Copy tensors into a network whose parameters and buffers they must be, all of them.

    Args:
        tensors: By the network's own names.
        network: Filled in place, or left as it was.
        where: The file, for the message.
        names: What the file calls a tensor of ours, where that differs.
        unknown: Further tensors of the file that are nobody's.

    Raises:
        BundleError: Naming the tensors that are missing, unknown, of another shape, or have a
            value that isn't a finite floating-point number; of very many the first, and how many more.
    """
    own = network.state_dict()
    missing, wrong = [], []
    for name, mine in own.items():
        called, tensor = names.get(name, name), tensors.get(name)
        if tensor is None:
            missing.append(f"missing {called} {tuple(mine.shape)}")
        elif tensor.shape != mine.shape:
            wrong.append(f"{called} expected {tuple(mine.shape)}, found {tuple(tensor.shape)}")
        elif not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            wrong.append(f"{called} has values that are not finite floating-point numbers")
    strange = [f"unknown {name}" for name in (*unknown, *(name for name in tensors if name not in own))]
    faults = list(dict.fromkeys(missing + wrong + strange))  # two branches may start from one tensor
    if faults:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise BundleError(f"{where}: expected exactly the tensors of {network.arch.backbone}, found "
                          f"{len(faults)} at fault: {'; '.join(faults[:_NAMED])}{more}; take a checkpoint of this "
                          "network")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def _read_header(path: Path, text: str) -> _Header:
    try:
        schema = msgspec.json.decode(text, type=_Schema).schema
        if schema != SCHEMA:
            raise BundleError(f"{path}: expected schema {SCHEMA!r}, found {schema!r}; "
                              "read it with the version that wrote it")
        return msgspec.json.decode(text, type=_Header)
    except msgspec.DecodeError as error:
        raise BundleError(f"{path}: expected a header of {SCHEMA!r}, found {error}") from error
