"""Weights from elsewhere, in and out, without a silent loss: torchreid, torchvision, CM-NAS.

Every tensor of the network must be found under the reference's name in its exact shape, and
every tensor of the file must be used or named, with the reason, in what is returned. A network
of another design than the released one starts from that one as `train.networks.build.adopt` says.

Formats: torchreid (KaiyangZhou/deep-person-reid, plain OSNet); torchvision's ResNet-50
state_dict; the official CM-NAS checkpoint (JDAI-CV/CM-NAS), which stores three norms per
site of which its 53-integer config line uses one (shared) or two (split).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec
import torch

from cmnas_edge.embedding import Modality
from cmnas_edge.errors import BundleError, ConfigError
from train.networks.build import Network, adopt, build
from train.networks.checkpoint import place
from train.networks.design import RELEASED, Pool, differences
from train.networks.inheritance import plain_name
from train.networks.osnet_layers import WIDTHS
from train.networks.space import Arch
from train.networks.state_files import State, likeness, read_state

__all__ = ["Imported", "from_cmnas", "from_torchreid", "from_torchvision", "read",
           "read_state", "to_cmnas", "to_torchreid", "to_torchvision"]

_COUNTER = "num_batches_tracked"
_COUNTER_REASON = "a counter that only a BatchNorm without momentum reads"
_HEAD_REASON = "another number of identities was asked for"
_DESIGN_REASON = "the design asked for has no place for it"
_CMNAS_NORM = {"visible": "visible_bn", "infrared": "thermal_bn", "shared": "sharable_bn"}
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
    """Read a plain OSNet of torchreid; branches of a split site and copies of a part start from its one.

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
        found = "conv1.conv.weight of shape " + str(tuple(stem.shape)) if stem is not None else (
            f"no conv1.conv.weight but {likeness(state)}")
        raise BundleError(f"{path}: expected an OSNet of torchreid, with a stem of {sorted(width)} channels, found "
                          f"{found}; give a torchreid checkpoint of {', '.join(WIDTHS)}, or say what wrote this one "
                          "(start_format)")
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
    arch, state = _arch(path, arch, "resnet50"), read_state(path)
    if "layer1.0.conv3.weight" not in state:
        raise BundleError(f"{path}: expected torchvision's ResNet-50, found {likeness(state)}; give its state_dict, "
                          "or say what wrote this one (start_format)")
    return _import(path, state, arch, identities, source)


def read(path: Path, wrote: Literal["torchreid", "torchvision"], arch: Arch, *, identities: int = 0) -> Imported:
    """Read the file of one or the other, as a recipe's ``start_format`` says; random numbers are nobody's but its own.

    Raises:
        ConfigError: As `from_torchreid` and `from_torchvision`.
        BundleError: Likewise.
    """
    with torch.random.fork_rng(devices=[]):
        return (from_torchvision if wrote == "torchvision" else from_torchreid)(path, arch, identities=identities)


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
        modality: Whose norms and parts to write; may be left out when everything is shared.

    Raises:
        ConfigError: Another backbone or design, or something isn't shared and no modality.
    """
    if network.arch.backbone not in WIDTHS:
        raise ConfigError(f"torchreid: expected an OSNet, found {network.arch.backbone}; use to_torchvision")
    return _export("torchreid", network, modality)


def to_torchvision(network: Network, modality: Modality | None = None) -> State:
    """The trunk of a ResNet-50 under torchvision's names; neck and classifier have no place there.

    Raises:
        ConfigError: Another backbone, non-local blocks, or something isn't shared and no modality.
    """
    if network.arch.backbone != "resnet50":
        raise ConfigError(f"torchvision: expected resnet50, found {network.arch.backbone}; use to_torchreid")
    whole = _export("torchvision", network, modality, pool=network.arch.design.pool)  # nothing of it is in the trunk
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


def _arch(path: Path, arch: Arch | None, backbone: str) -> Arch:
    if arch is not None and arch.backbone != backbone:
        raise ConfigError(f"{path}: expected {arch.backbone} as the arch says, found {backbone}; change one")
    return arch or Arch.uniform(backbone, "shared")


def _import(path: Path, state: State, arch: Arch, identities: int | None, source: _Source) -> Imported:
    """Build the network of ``arch`` and fill it from ``state``."""
    if arch.design != msgspec.structs.replace(RELEASED, own=arch.design.own, pool=arch.design.pool):
        whole = _import(path, state, Arch.uniform(arch.backbone, "shared"), identities, source)
        network = build(arch, identities=whole.network.identities)
        report = adopt(whole.network, network)
        unused = {source.name_of(name): _DESIGN_REASON for name in report.left_out}
        return Imported(network.eval(), whole.left_out | unused, (*whole.fresh, *report.fresh))
    heads = [state[name] for name in ("classifier.weight", "classifier.bias") if name in state]
    head_size = heads[0].shape[0] if heads and heads[0].ndim else 0
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


def _export(where: str, network: Network, modality: Modality | None, *, pool: Pool = "mean") -> State:
    design = network.arch.design
    if foreign := differences(msgspec.structs.replace(RELEASED, own=design.own, pool=pool), design):
        raise ConfigError(f"{where}: expected the network that it knows, found {', '.join(foreign)}; "
                          "keep it as a checkpoint of this project")
    own = [site for site, choice in network.arch.choices if choice != "shared"]
    if (own or design.own) and modality is None:
        found = f"{len(own)} that are not" + f" and {design.own} owned parts" * bool(design.own)
        raise ConfigError(f"export: expected every site shared, found {found}; say a modality")
    return _with_counters({_plain_name(name): tensor
                           for name, tensor in network.plain(modality or "visible").state_dict().items()})


def _with_counters(state: State) -> State:
    """Add the counters torch's own BatchNorm has, so that a strict load finds them."""
    suffix = ".running_var"
    counters = {f"{name.removesuffix(suffix)}.{_COUNTER}": torch.tensor(0)
                for name in state if name.endswith(suffix)}
    return state | counters


def _plain_name(name: str) -> str:
    """What torchreid or torchvision calls a tensor of ours: they have one norm where we may have two."""
    return plain_name(name).removeprefix("backbone.")


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
