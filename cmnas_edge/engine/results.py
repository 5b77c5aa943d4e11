"""Races as they are kept: one file per bundle, device and number of threads, and used for no other.

A file that is damaged, or of another bundle, device, version or number of threads, is as good as none: the device
then runs ONNX Runtime in float32, which every bundle and every camera has.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
import shlex
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
import onnxruntime

from cmnas_edge import __version__
from cmnas_edge.bundle import Bundle
from cmnas_edge.calibration import Digest, printable
from cmnas_edge.engine import tensorrt
from cmnas_edge.engine.tensorrt.cache import cache_folder, write_together
from cmnas_edge.engine.tensorrt.device import power_mode
from cmnas_edge.errors import DeviceError
from cmnas_edge.sighting import EngineName, Precision
from cmnas_edge.wording import in_words

__all__ = ["SAFE", "Choice", "Entrant", "Machine", "Race", "Row", "bundle_digest", "chosen", "keep", "kept",
           "machine", "race_command", "race_path", "table"]

_LARGEST = 1 << 20
Count = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Milliseconds = Annotated[float, msgspec.Meta(gt=0)]


class Entrant(NamedTuple):
    """An engine, and the precision it computes in."""

    engine: EngineName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


SAFE = Entrant("onnxruntime", "fp32")


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On what a race was run: whatever may change its outcome.

    Attributes:
        system: Operating system and kind of processor.
        cpu: Its model.
        cores: Those this process may use.
        gpu: The GPU and TensorRT's version, where TensorRT runs; else empty.
        versions: Of this package and of what computes.
        power_mode: Of a Jetson, which decides how fast its processor and GPU may be; else empty.
    """

    system: str
    cpu: str
    cores: int
    gpu: str
    versions: dict[str, str]
    power_mode: str = ""


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """How one candidate fared.

    Attributes:
        entrant: Engine and precision.
        verdict: Whether it won, or why not.
        ms: Median milliseconds of a call, by crops at once; empty if it was not timed.
        mb: Resident memory it took for one modality.
        cosine: Least cosine with a golden embedding.
        drop: Points of rank-1 lost in the worst direction, as the bundle's gate measured.
    """

    entrant: Entrant
    verdict: str
    ms: dict[int, Milliseconds] = {}
    mb: float | None = None
    cosine: float | None = None
    drop: float | None = None

    @property
    def ms_per_crop(self) -> float:
        """Geometric mean over the batch sizes."""
        return math.exp(math.fsum(math.log(ms / batch) for batch, ms in self.ms.items()) / len(self.ms))


class Race(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A race and its winner.

    Attributes:
        schema: Version of this file.
        date: When it was run, UTC.
        name: Of the bundle.
        bundle: SHA-256 of its manifest, which has that of every file.
        machine: On what.
        threads: Of each engine.
        rounds: Times each was measured.
        batches: Crops at once.
        rows: One for each candidate.
        winner: Who is to serve; None if nobody may, and then it is not kept.
    """

    schema: Literal[1] = 1
    date: str
    name: str
    bundle: Digest
    machine: Machine
    threads: Count
    rounds: Count
    batches: Annotated[tuple[Count, ...], msgspec.Meta(min_length=1)]
    rows: tuple[Row, ...]
    winner: Entrant | None


class Choice(NamedTuple):
    """What a device is to run, and why, in one line; and the command that would choose better, if nothing chose."""

    entrant: Entrant
    why: str
    remedy: str = ""

    def __str__(self) -> str:
        """All of it."""
        return f"{self.why}: {self.remedy}" if self.remedy else self.why


def machine() -> Machine:
    """This device as it is now."""
    versions = {"cmnas-edge": __version__, "onnxruntime": str(onnxruntime.__version__)}
    with contextlib.suppress(metadata.PackageNotFoundError):
        versions["openvino"] = metadata.version("openvino")
    gpu = ""
    if tensorrt.missing() is None:
        with contextlib.suppress(DeviceError), tensorrt.Workplace() as place:    # who cannot be asked does not run
            gpu = place.device.key
    return Machine(f"{platform.system()}-{platform.machine()}".lower(), _cpu(), len(os.sched_getaffinity(0)), gpu,
                   versions, power_mode())


def bundle_digest(bundle: Bundle) -> str:
    """What tells bundles apart: their manifest's SHA-256."""
    return hashlib.sha256((bundle.path / "manifest.json").read_bytes()).hexdigest()


def race_path(bundle: Bundle, here: Machine, threads: int, cache: Path | None = None) -> Path:
    """Where the race of a bundle on a device is kept."""
    device = hashlib.sha256(msgspec.json.encode(here, order="sorted")).hexdigest()
    return cache_folder(cache) / "races" / f"{bundle_digest(bundle)[:16]}-{device[:16]}-{threads}.json"


def race_command(bundle: Bundle, threads: int) -> str:
    """The command that runs a race, to be pasted; in a service, whose cache is its own user's, where that stands."""
    if os.environ.get("CACHE_DIRECTORY"):   # as systemd gives it to units that name one, like those we print
        return "give the command in the first lines of this service's unit (systemctl cat)"
    return f"cmnas-edge engine race {shlex.quote(str(bundle.path))}" + (f" --threads {threads}" if threads != 1 else "")


def keep(found: Race, path: Path) -> None:
    """Write a race down, whole or not at all.

    Raises:
        DiskFull: There is no room.
        ConfigError: The folder cannot be written to.
    """
    write_together((path, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"))


def kept(bundle: Bundle, here: Machine, threads: int, cache: Path | None = None) -> Race | str:
    """The race of this bundle on this device, or why there is none to go by."""
    path = race_path(bundle, here, threads, cache)
    try:
        if path.stat().st_size > _LARGEST:
            return f"{path} is too large to be one"
        found = msgspec.json.decode(path.read_bytes(), type=Race)
    except FileNotFoundError:
        others = len(list(path.parent.glob(f"{bundle_digest(bundle)[:16]}-*.json")))
        return f"none of this device as it is now is in {path.parent}" + (
            f" ({others} of another device, version, power mode or number of threads)" if others else "")
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"{path} is damaged ({printable(in_words(str(error), Race))})"
    if (found.bundle, found.machine, found.threads) != (bundle_digest(bundle), here, threads):
        return f"{path} is of another bundle, device, version, power mode or number of threads"
    winner = found.winner
    if winner is None or winner.precision not in bundle.precisions or all(row.entrant != winner for row in found.rows):
        return f"{path} names a winner that did not take part"
    return found


def chosen(bundle: Bundle, threads: int, cache: Path | None = None) -> Choice:
    """What a device is to run that leaves it to us: the winner of its race, else what runs everywhere."""
    found = kept(bundle, machine(), threads, cache)
    if isinstance(found, str):
        return Choice(SAFE, f"{SAFE}, which runs everywhere; a race may find a faster engine, and {found}",
                      race_command(bundle, threads))
    assert found.winner is not None     # `kept` refuses a race without
    return Choice(found.winner, f"{found.winner}, the winner of the race of {found.date}")


def table(found: Race) -> list[str]:
    """A race as lines of text."""
    head = ["engine", "precision", *(f"ms at {batch}" for batch in found.batches), "crops/s", "MB", "worst cosine",
            "rank-1 drop", "verdict"]
    lines = [head]
    for row in found.rows:
        timed = [f"{row.ms[batch]:.2f}" for batch in found.batches] if row.ms else ["-"] * len(found.batches)
        lines.append([*row.entrant, *timed, f"{1000 / row.ms_per_crop:.0f}" if row.ms else "-",
                      "-" if row.mb is None else f"{row.mb:.0f}", "-" if row.cosine is None else f"{row.cosine:.6f}",
                      "-" if row.drop is None else f"{row.drop:.2f}", row.verdict])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return ["  ".join([cell.ljust(width) if column < 2 else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(line, widths, strict=False))] + line[-1:])
            for line in lines]


def _cpu() -> str:
    """The processor's model, as far as the kernel says; its numbers, since a virtual machine gives it no true name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    keys = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "Model")
    return " ".join(facts[key] for key in keys if key in facts) or platform.processor() or platform.machine()
