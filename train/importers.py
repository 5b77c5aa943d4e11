"""Weights from elsewhere, in and out, without a silent loss: torchreid, torchvision, CM-NAS.

Every tensor of the network must be found under the reference's name in its exact shape, and
every tensor of the file must be used or named, with the reason, in what is returned. Files
are read with ``weights_only=True``: no code in them runs.

Formats: torchreid (KaiyangZhou/deep-person-reid, plain OSNet); torchvision's ResNet-50
state_dict; the official CM-NAS checkpoint (JDAI-CV/CM-NAS), which stores three norms per
site of which its 53-integer config line uses one (shared) or two (split).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cmnas_edge.embedding import Modality
from cmnas_edge.errors import BundleError, ConfigError
from train.checkpoint import place
from train.networks import Network, build
from train.osnet import WIDTHS
from train.space import Arch

__all__ = ["Imported", "from_cmnas", "from_torchreid", "from_torchvision", "read_state",
           "to_cmnas", "to_torchreid", "to_torchvision"]

State = dict[str, Tensor]

_COUNTER = "num_batches_tracked"
_COUNTER_REASON = "a counter that only a BatchNorm without momentum reads"
_HEAD_REASON = "another number of identities was asked for"
_CMNAS_NORM = {"visible": "visible_bn", "infrared": "thermal_bn", "shared": "sharable_bn"}
# Training checkpoints keep their scores as numpy numbers; reading these runs no code.
_SCALAR = np.float32().__reduce__()[0]
_NUMBERS: list[Any] = [(_SCALAR, "numpy.core.multiarray.scalar"), (_SCALAR, "numpy._core.multiarray.scalar"), np.dtype,
                       *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64))]
_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


class _Source(NamedTuple):
    """How a kind of file names things: our name to its own, what it has beyond us, what it hasn't."""

    name_of: Callable[[str], str]
    left_out: Mapping[str, str] = MappingProxyType({})
    fresh: tuple[str, ...] = ()


class Imported(NamedTuple):
    """A network with weights from elsewhere, and what of both sides has no counterpart.

    Attributes:
        network: In evaluation mode.
        left_out: Tensors of the file that were not used, with the reason.
        fresh: Tensors of the network that the file doesn't have by design, freshly initialised.
    """

    network: Network
    left_out: dict[str, str]
    fresh: tuple[str, ...]


def from_torchreid(path: Path, arch: Arch | None = None, *, identities: int | None = None) -> Imported:
    """Read a plain OSNet of torchreid; both branches of a split site start from its one norm.

    Args:
        path: A state_dict, or a training checkpoint with one under ``state_dict``.
        arch: What to build; all shared, of the file's width, by default.
        identities: Size of a fresh classifier; the file's own is kept by default.

    Raises:
        ConfigError: No such file, or ``arch`` is of another backbone than the file.
        BundleError: Unreadable, an IBN or AIN network, or tensors missing, unknown or misshapen.
    """
    state = read_state(path, "state_dict")
    _refuse_instance_norm(state, path)
    stem = state.get("conv1.conv.weight")
    width = {widths[0]: backbone for backbone, widths in WIDTHS.items()}
    backbone = None if stem is None or stem.ndim != 4 else width.get(stem.shape[0])
    if backbone is None:
        found = "no conv1.conv.weight" if stem is None else f"conv1.conv.weight of shape {tuple(stem.shape)}"
        raise BundleError(f"{path}: expected an OSNet stem of {sorted(width)} channels, found {found}; "
                          f"give a torchreid checkpoint of {', '.join(WIDTHS)}")
    return _import(path, state, _arch(path, arch, backbone), identities, _Source(_plain_name))


def from_torchvision(path: Path, arch: Arch | None = None, *, identities: int = 0) -> Imported:
    """Read torchvision's ResNet-50; its 1000-class ``fc`` is left out, neck and classifier are fresh.

    Args:
        path: The state_dict.
        arch: What to build; all shared by default.
        identities: Size of the fresh classifier; 0 for none.

    Raises:
        ConfigError: No such file, or ``arch`` is of another backbone.
        BundleError: Unreadable, or tensors missing, unknown or misshapen.
    """
    left_out = dict.fromkeys(("fc.weight", "fc.bias"), "ImageNet's classes are not people")
    source = _Source(_plain_name, left_out, fresh=("backbone.bnneck.", "classifier."))
    return _import(path, read_state(path), _arch(path, arch, "resnet50"), identities, source)


def from_cmnas(path: Path, line: str, *, weights: Literal["model", "ema"] = "model",
               identities: int | None = None) -> Imported:
    """Read an official CM-NAS checkpoint: of each site's three norms, those its config line chose.

    Args:
        path: The checkpoint.
        line: Its config, 53 integers, 0 split and 1 shared.
        weights: The trained weights or their moving average.
        identities: Size of a fresh classifier; the file's own is kept by default.

    Raises:
        ConfigError: No such file, or not 53 integers of 0 and 1.
        BundleError: Unreadable, or tensors missing, unknown or misshapen.
    """
    arch = Arch.from_cmnas_line(line)
    dead: dict[str, str] = {}
    for site, choice in arch.choices:
        unused = ("visible", "infrared") if choice == "shared" else ("shared",)
        for branch in unused:
            for tensor in _NORM_TENSORS:
                name = f"backbone.{_cmnas_module(site)}.{_CMNAS_NORM[branch]}.{tensor}"
                dead[name] = f"the config line chose {choice} here"
    return _import(path, read_state(path, weights), arch, identities, _Source(_cmnas_name(arch), dead))


def to_torchreid(network: Network, modality: Modality | None = None) -> State:
    """The state_dict torchreid reads: one plain OSNet, classifier included.

    Args:
        network: An OSNet.
        modality: Whose norms to write; may be left out when every site is shared.

    Raises:
        ConfigError: Another backbone, or split sites and no modality.
    """
    if network.arch.backbone not in WIDTHS:
        raise ConfigError(f"torchreid: expected an OSNet, found {network.arch.backbone}; use to_torchvision")
    return _export(network, modality)


def to_torchvision(network: Network, modality: Modality | None = None) -> State:
    """The trunk of a ResNet-50 under torchvision's names; neck and classifier have no place there.

    Raises:
        ConfigError: Another backbone, or split sites and no modality.
    """
    if network.arch.backbone != "resnet50":
        raise ConfigError(f"torchvision: expected resnet50, found {network.arch.backbone}; use to_torchreid")
    whole = _export(network, modality)
    return {name: whole[name] for name in whole if not name.startswith(("bnneck.", "classifier."))}


def to_cmnas(network: Network) -> tuple[State, str]:
    """The state_dict and config line the official CM-NAS code reads.

    Norms the line doesn't choose never run there; they are written as a new BatchNorm's.

    Raises:
        ConfigError: Another backbone than ResNet-50, or a split-statistics site.
    """
    line = network.arch.cmnas_line()
    name_of = _cmnas_name(network.arch)
    state = {name_of(name): tensor.detach().clone() for name, tensor in network.state_dict().items()}
    for site in network.sites()[:-1]:
        for norm in _CMNAS_NORM.values():
            for tensor in _NORM_TENSORS:
                fresh = torch.ones if tensor in ("weight", "running_var") else torch.zeros
                name = f"backbone.{_cmnas_module(site.name)}.{norm}.{tensor}"
                state.setdefault(name, fresh(site.norm.channels))
    return _with_counters(state), line


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
        raise ConfigError(f"{path}: expected a checkpoint, found no such file; check the path")
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
        raise BundleError(f"{path}: expected tensors only, found other things at {', '.join(others)}; "
                          f"expected the state_dict itself or one under {container!r}")
    if all(name.startswith("module.") for name in found):
        return {name.removeprefix("module."): tensor for name, tensor in found.items()}
    return dict(found)


def _arch(path: Path, arch: Arch | None, backbone: str) -> Arch:
    if arch is not None and arch.backbone != backbone:
        raise ConfigError(f"{path}: expected {arch.backbone} as the arch says, found {backbone}; change one")
    return arch or Arch.uniform(backbone, "shared")


def _import(path: Path, state: State, arch: Arch, identities: int | None, source: _Source) -> Imported:
    """Build the network of ``arch`` and fill it from ``state``."""
    head = state.get("classifier.weight")
    head_size = 0 if head is None or head.ndim != 2 else head.shape[0]
    wanted = head_size if identities is None else identities
    fresh, reasons = source.fresh, dict(source.left_out)
    if wanted != head_size:
        fresh = (*fresh, "classifier.")
        reasons |= dict.fromkeys(("classifier.weight", "classifier.bias"), _HEAD_REASON)
    network = build(arch, identities=wanted)
    own = network.state_dict()
    made = tuple(name for name in own if name.startswith(fresh)) if fresh else ()
    names = {name: source.name_of(name) for name in own if name not in made}
    used = set(names.values())
    known = used | set(reasons)
    for name in state:
        norm = name.removesuffix(_COUNTER)
        if norm != name and f"{norm}running_var" in known:
            reasons[name] = _COUNTER_REASON
    place({name: own[name] for name in made} | {name: state[names[name]] for name in names if names[name] in state},
          network, str(path), names=names, unknown=[name for name in state if name not in used | set(reasons)])
    return Imported(network.eval(), {name: reasons[name] for name in state if name not in used}, made)


def _export(network: Network, modality: Modality | None) -> State:
    own = [site for site, choice in network.arch.choices if choice != "shared"]
    if own and modality is None:
        raise ConfigError(f"export: expected every site shared, found {len(own)} that are not; say a modality")
    other = {"visible": ".infrared.", "infrared": ".visible.", None: "\0"}[modality]
    return _with_counters({_plain_name(name): tensor.detach().clone()
                           for name, tensor in network.state_dict().items() if other not in name})


def _with_counters(state: State) -> State:
    """Add the counters torch's own BatchNorm has, so that a strict load finds them."""
    suffix = ".running_var"
    counters = {f"{name.removesuffix(suffix)}.{_COUNTER}": torch.tensor(0)
                for name in state if name.endswith(suffix)}
    return state | counters


def _plain_name(name: str) -> str:
    """What torchreid or torchvision calls a tensor of ours: they have one norm where we may have two."""
    return re.sub(r"\.(visible|infrared)\.", ".", name.removeprefix("backbone."))


def _cmnas_module(site: str) -> str:
    return site.replace("downsample.0", "downsample.conv").replace("downsample.1", "downsample.bn")


def _cmnas_name(arch: Arch) -> Callable[[str], str]:
    """What the official code calls a tensor of ours, given what was chosen where."""
    sites = dict(arch.choices)

    def name_of(name: str) -> str:
        module, _, tensor = name.rpartition(".")
        inner = module.removeprefix("backbone.")
        if inner in sites:  # a shared site: its tensors are its own
            return f"backbone.{_cmnas_module(inner)}.{_CMNAS_NORM['shared']}.{tensor}"
        site, _, branch = inner.rpartition(".")
        if site in sites:
            return f"backbone.{_cmnas_module(site)}.{_CMNAS_NORM[branch]}.{tensor}"
        if inner == "bnneck" or module == "classifier":
            return f"{inner}.{tensor}"
        return f"backbone.{_cmnas_module(inner)}.{tensor}"

    return name_of


def _refuse_instance_norm(state: State, path: Path) -> None:
    """AIN and IBN networks are told by their keys; they can't become plain graphs.

    Raises:
        BundleError: One of the two.
    """
    ain = [name for name in state if re.search(r"\.conv2\.\d\.layers\.", name)]
    instance = [name for name in state if re.search(r"\.IN\.(weight|bias)$", name)]
    if ain or instance:
        family = "AIN" if ain else "IBN"
        raise BundleError(f"{path}: expected a plain OSNet, found OSNet-{family} ({(instance or ain)[0]}, ...); its "
                          "instance norms need each picture's own statistics, so they can't be folded into "
                          "weights; take a plain osnet checkpoint")
