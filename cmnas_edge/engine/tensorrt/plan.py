"""A plan on disk: the manifest beside it, where both lie, and the checks before TensorRT may see it.

TensorRT has no way of asking whether it would take a plan. Given another version's, another GPU's or
half of one it logs a line and returns nothing, or worse: a plan is code. So a plan is only loaded when
the manifest beside it says that it was made for this very device from this very graph, and its bytes
are those that were made. Each way to fall short of that has a sentence of its own.

A device's plans lie in ``<cache>/plans/<bundle>/<graph>.<precision>.<key>.plan``. A plan may be copied
to an equal device, with the ``.json`` beside it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from cmnas_edge.bundle import Bundle, FileRecord, Precision, weights_name
from cmnas_edge.calibration import printable
from cmnas_edge.embedding import Modality
from cmnas_edge.engine.tensorrt.device import Device
from cmnas_edge.errors import BundleError, CmnasError, ConfigError, DeviceError
from cmnas_edge.wording import in_words

__all__ = ["Found", "Graph", "Plan", "Profile", "Settings", "Tensor", "bundle_graph", "check", "detector_graph", "find",
           "plan_path", "read_bytes", "read_manifest"]

_LARGEST_MANIFEST = 1 << 20
_READ = 1 << 20
_CACHE_DEPTH = 3    # of a plan: its bundle's folder, that of all plans, and the cache
_TELLING = 1 << 20   # of so many arbitrary bytes about sixteen pairs are carriage return and line feed


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input or output; ``-1`` in its shape is free."""

    name: str
    mode: Literal["input", "output"]
    dtype: str
    shape: tuple[int, ...]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shapes of the input that a plan takes: the least, those it is fastest at, the most."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


class Graph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From what a plan is made.

    Attributes:
        folder: Of its plans in the cache: the start of a bundle's fingerprint, or ``detector``.
        name: Of the graph: a modality, or the file of a detector.
        precision: Arithmetic that stands in the graph.
        sha256: Over the ONNX file and, if it has one, its file of weights.
        bundle: Fingerprint of its bundle; empty for a detector.
    """

    folder: str
    name: str
    precision: Precision
    sha256: str
    bundle: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How TensorRT was asked to build."""

    workspace_mib: int
    level: int
    flags: tuple[str, ...]
    timing_cache: bool


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file beside a plan says of it; unknown fields are refused.

    Attributes:
        made_by: Program and version.
        made_at: Time in UTC.
        build_s: How long it took.
        file: Size and digest of the plan.
        graph: From what.
        device: Where, and so where it runs.
        tensors: Its inputs and outputs.
        profile: Shapes of the input.
        settings: How.
        preprocessing: Of a bundle's crops, as the bundle says it.
        calibration: Of int8 graphs: digests of the crops, by modality.
    """

    schema: Literal[1]
    made_by: str
    made_at: str
    build_s: float
    file: FileRecord
    graph: Graph
    device: Device
    tensors: tuple[Tensor, ...]
    profile: Profile
    settings: Settings
    preprocessing: str = ""
    calibration: dict[Modality, str] = {}

    @property
    def input(self) -> Tensor:
        """Its one input."""
        return next(tensor for tensor in self.tensors if tensor.mode == "input")

    @property
    def output(self) -> Tensor:
        """Its one output."""
        return next(tensor for tensor in self.tensors if tensor.mode == "output")


def bundle_graph(bundle: Bundle, modality: Modality, precision: Precision) -> Graph:
    """Name one of a bundle's graphs by its bytes and those of its weights.

    Raises:
        BundleError: The bundle has no such graph.
    """
    path = bundle.graph(modality, precision)
    files = bundle.manifest.files
    both = files[path.name].sha256 + files[weights_name(precision)].sha256
    return Graph(bundle.fingerprint_hex[:16], modality, precision, hashlib.sha256(both.encode()).hexdigest(),
                 bundle.fingerprint_hex)


def detector_graph(path: Path) -> Graph:
    """Name a detector's graph by its bytes.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return Graph("detector", path.stem, "fp32", _sha256(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path and its mode") from None


def plan_path(cache: Path, graph: Graph, device: Device) -> Path:
    """Where the plan of a graph lies that was made on a device."""
    key = hashlib.sha256(f"{graph.sha256} {device.key}".encode()).hexdigest()[:12]
    return cache / "plans" / graph.folder / f"{graph.name}.{graph.precision}.{key}.plan"


class Found(NamedTuple):
    """A plan that may be given to TensorRT."""

    path: Path
    plan: Plan
    data: bytes


def find(cache: Path, graph: Graph, device: Device, build: str) -> Found:
    """Find the plan of a graph for a device, and check everything that can be without TensorRT.

    Args:
        cache: See `cmnas_edge.engine.tensorrt.cache.cache_folder`.
        graph: From what.
        device: This one.
        build: The command that makes the plan, for the message.

    Returns:
        A plan, its bytes verified.

    Raises:
        DeviceError: There is none for this device; of those that there are, the message tells what they are for.
        BundleError: The one for this device is damaged, or made from another graph.
    """
    folder = cache / "plans" / graph.folder
    prefix = f"{graph.name}.{graph.precision}."
    try:
        paths = sorted(path for path in folder.glob("*.plan") if path.name.startswith(prefix))
    except OSError as error:
        raise DeviceError(f"{folder}: expected plans this user can read, found {error.strerror}; check its owner and "
                          "mode") from None
    # Its own file first; then any other, since a plan may be copied from an equal device under any key.
    own = plan_path(cache, graph, device)
    refusals: list[CmnasError] = []
    for path in sorted(paths, key=lambda path: path != own):
        try:
            plan = read_manifest(path, build)
            check(path, plan, graph, device, build)
            return Found(path, plan, read_bytes(path, plan, build))
        except (BundleError, DeviceError) as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
    raise DeviceError(f"{folder}: expected a plan of {graph.name} in {graph.precision} for this device, found none; "
                      f"make it here: {build}")


def read_manifest(path: Path, build: str) -> Plan:
    """Read what the file beside a plan says of it.

    Raises:
        BundleError: There is none, or it is none.
    """
    where = path.with_suffix(".json")
    try:
        if where.stat().st_size > _LARGEST_MANIFEST:
            raise BundleError(f"{where}: expected a plan's manifest, found a file too large for one; build again: "
                              f"{build}")
        return msgspec.json.decode(where.read_bytes(), type=Plan)
    except FileNotFoundError:
        raise BundleError(f"{where}: expected the manifest that goes with {path.name}, found none; copy both files, or "
                          f"build again: {build}") from None
    except OSError as error:
        raise BundleError(f"{where}: expected a file this user can read, found {error.strerror}; check its owner and "
                          "mode") from None
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BundleError(f"{where}: expected a plan's manifest of this version, found something else "
                          f"({printable(in_words(str(error), Plan))}); build again: {build}") from None


def check(path: Path, plan: Plan, graph: Graph, device: Device, build: str) -> None:
    """Hold a manifest against the graph and the device it shall serve.

    Raises:
        BundleError: It was made from another graph.
        DeviceError: It was made for another platform, version of TensorRT or GPU.
    """
    made, gpu = plan.device, plan.device.gpu
    if (plan.graph.bundle, plan.graph.name, plan.graph.precision) != (graph.bundle, graph.name, graph.precision):
        was = f"of bundle {plan.graph.bundle[:16]}" if plan.graph.bundle else "of no bundle"
        raise BundleError(f"{path}: expected a plan of {graph.name} in {graph.precision} of bundle "
                          f"{graph.bundle[:16] or 'none'}, found {plan.graph.name} in {plan.graph.precision} {was}; "
                          f"build again: {build}")
    if plan.graph.sha256 != graph.sha256:
        raise BundleError(f"{path}: expected a plan made from this graph ({graph.sha256[:16]}), found one made from "
                          f"another ({plan.graph.sha256[:16]}); the bundle was exported again, so build again: {build}")
    if made.platform != device.platform:
        raise DeviceError(f"{path}: expected a plan made on {device.platform}, found one made on {made.platform}; "
                          f"plans never move between platforms, so build here: {build}")
    if made.tensorrt != device.tensorrt:
        raise DeviceError(f"{path}: expected a plan made with TensorRT {device.tensorrt}, which is installed here, "
                          f"found one made with {made.tensorrt}; build here: {build}")
    if gpu.capability != device.gpu.capability:
        raise DeviceError(f"{path}: expected a plan for compute capability {device.gpu.capability} "
                          f"({device.gpu.name}), found one for {gpu.capability} ({gpu.name}); build here: {build}")
    if (gpu.name, gpu.sm_count) != (device.gpu.name, device.gpu.sm_count):
        raise DeviceError(f"{path}: expected a plan for {device.gpu.name} with {device.gpu.sm_count} multiprocessors, "
                          f"found one for {gpu.name} with {gpu.sm_count}; build here: {build}")


def read_bytes(path: Path, plan: Plan, build: str) -> bytes:
    """The plan itself, its bytes those that were made.

    Raises:
        BundleError: They are not; the message says how, as far as it shows. Or others than this user and root may
            change them.
    """
    try:
        for where in (*path.parents[_CACHE_DEPTH - 1::-1], path):
            found = where.stat()
            # A plan is code: who may write it decides what runs on this device.
            if found.st_uid not in (0, os.geteuid()):
                raise BundleError(f"{where}: expected what is this user's or root's, found it to be user "
                                  f"{found.st_uid}'s, who could change what runs here; give, if that is no stranger: "
                                  f"chown {os.geteuid()} {shlex.quote(str(where))}")
            if (mode := stat.S_IMODE(found.st_mode)) & (stat.S_IWOTH | stat.S_IWGRP):
                who = "anybody" if mode & stat.S_IWOTH else "its group"
                raise BundleError(f"{where}: expected what only its owner may change, found mode {mode:o}, with which "
                                  f"{who} may; give: chmod go-w {shlex.quote(str(where))} and build again: {build}")
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: expected a plan this user can read, found {error.strerror}; check its owner and "
                          "mode") from None
    if len(data) == plan.file.bytes and hashlib.sha256(data).hexdigest() == plan.file.sha256:
        return data
    raise BundleError(f"{path}: {_damage(data, plan.file)}; copy it again, or build again: {build}")


def _damage(data: bytes, made: FileRecord) -> str:
    """Say what happened to a plan, as far as its bytes show it."""
    replaced = data.count("\N{REPLACEMENT CHARACTER}".encode())
    if hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest() == made.sha256 or replaced > 4 + (len(data) >> 20):
        return "its bytes went through a program that takes files for text (FTP in text mode, an editor)"
    if _TELLING < len(data) < made.bytes and b"\r\n" not in data:
        return (f"expected {made.bytes} bytes, found {len(data)}, and in none of them a carriage return before a line "
                "feed: it went through a program that takes files for text, or was cut short")
    if len(data) < made.bytes:
        return f"expected {made.bytes} bytes, found {len(data)}: it was cut short"
    return f"expected the {made.bytes} bytes that were built, found others ({len(data)})"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ):
            digest.update(block)
    return digest.hexdigest()
