"""A sighting: one person in front of one camera for a while. What may be said of it, and no more.

`sighting.proto` is the form of it on the wire; the limits here are what makes that schema a
closed one. `faults` and `read_vectors` are the one definition of what is legal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.embedding import Modality, Packing, packed_size, unpack

__all__ = ["MAX_DIMENSION", "MAX_SEQUENCE", "EngineName", "Gap", "Outcome", "Precision", "Refusal", "Result",
           "Sighting", "faults", "gap_faults", "is_name", "is_spool", "key_id", "read_vectors"]

F32 = npt.NDArray[np.float32]
EngineName = Literal["onnxruntime", "openvino", "tensorrt"]
# bf16 is a way to run the float32 graph; each of the others is a graph of its own.
Precision = Literal["fp32", "bf16", "fp16", "int8", "int8_fp16"]
Result = Literal["stored", "duplicate", "refused"]

MAX_DIMENSION = 2048            # ResNet-50's embedding
MAX_SEQUENCE = 2**63 - 1        # what SQLite counts to
FINGERPRINT_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
NAME_WORDS = "1 to 64 letters, digits, spaces or any of ._- with a letter or digit first"
_SPOOL = re.compile(r"[0-9a-f]{16}")
_LAST_SECOND = 2.0**33          # the year 2242
_MAX_BOX = 65535
# Of a seal, as `cmnas_edge.sealing` makes it.
_SEAL_KEY_BYTES, _ENCAPSULATED_BYTES, _SEAL_ADDED_BYTES, _MAX_NUMBER = 4, 32, 16, 2**32 - 1
# One entry of a float32 unit vector is off by 2**-24 of itself; the norm by less than this.
_FLOAT32_SLACK = 1e-6

# The words of this house and the numbers of sighting.proto.
MODALITY_NUMBERS: dict[Modality, pb.Modality] = {
    "visible": pb.MODALITY_VISIBLE, "infrared": pb.MODALITY_INFRARED}
PACKING_NUMBERS: dict[Packing, pb.Packing] = {"fp16": pb.PACKING_FP16, "int8": pb.PACKING_INT8}
ENGINE_NUMBERS: dict[EngineName, pb.Engine] = {
    "onnxruntime": pb.ENGINE_ONNXRUNTIME, "openvino": pb.ENGINE_OPENVINO, "tensorrt": pb.ENGINE_TENSORRT}
PRECISION_NUMBERS: dict[Precision, pb.Precision] = {
    "fp32": pb.PRECISION_FP32, "bf16": pb.PRECISION_BF16, "fp16": pb.PRECISION_FP16, "int8": pb.PRECISION_INT8,
    "int8_fp16": pb.PRECISION_INT8_FP16}
MODALITIES: dict[int, Modality] = {number: word for word, number in MODALITY_NUMBERS.items()}
PACKINGS: dict[int, Packing] = {number: word for word, number in PACKING_NUMBERS.items()}
ENGINES: dict[int, EngineName] = {number: word for word, number in ENGINE_NUMBERS.items()}
PRECISIONS: dict[int, Precision] = {number: word for word, number in PRECISION_NUMBERS.items()}


class Sighting(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One person in front of one camera for a while.

    ``vector`` is float32 of shape ``(d,)``, unit length; decoded, it is what the packing
    left of it. ``spool`` and ``sequence`` are empty until the record is addressed.
    """

    device: str
    camera: str
    seen_from: float
    seen_at: float
    modality: Modality
    tracklet: int
    view_count: int
    quality: float
    box_width: int
    box_height: int
    fingerprint: bytes
    engine: EngineName
    precision: Precision
    packing: Packing
    vector: F32
    transform: int = 0
    sealed: bool = False                # as it came; the vector here is open
    spool: str = ""
    sequence: int = 0

    def __repr__(self) -> str:
        """Say which record it is; its vector is biometric, and belongs in no log."""
        return f"Sighting({self.device!r}, {self.camera!r}, {self.spool!r}, {self.sequence}, {self.modality!r})"


class Gap(msgspec.Struct, frozen=True):
    """Records ``first`` to ``last`` of a spool, ``count`` of them lost on the camera."""

    spool: str
    first: int
    last: int
    count: int


class Refusal(msgspec.Struct, frozen=True):
    """A record of a batch that is not taken, and why. Spool and sequence as far as readable.

    ``for_good`` is false for one that may be taken later, by a collector with other keys or another time.
    """

    spool: str
    sequence: int
    reason: str
    for_good: bool = True


class Outcome(msgspec.Struct, frozen=True):
    """What became of one record. A gap's outcome carries its ``last`` as sequence."""

    spool: str
    sequence: int
    result: Result
    reason: str = ""


def is_name(text: str) -> bool:
    """Say whether a device or camera may be called this: `NAME_WORDS`, all of them ASCII."""
    return _NAME.fullmatch(text) is not None


def is_spool(text: str) -> bool:
    """Say whether this is a spool's name: 16 hexadecimal digits."""
    return _SPOOL.fullmatch(text) is not None


def key_id(transform: int) -> str:
    """Write the number of a site key as people read it: 16 hexadecimal digits; "none" for 0."""
    return f"{transform:016x}" if transform else "none"


def faults(m: pb.Sighting, dimension: int | None = None, device: str | None = None,
           fingerprints: Collection[bytes] | None = None, transform: int | None = None) -> dict[str, str]:
    """Say of each field that is not legal why: what was expected, what was found.

    What an open vector holds is left to `read_vectors`, which looks at those of many records at once.

    Args:
        m: A record as parsed.
        dimension: Entries its vector must have; None takes any up to `MAX_DIMENSION`.
        device: The name it must carry; None takes any.
        fingerprints: The bundles of which it must come from one; None takes any.
        transform: The site key that must have turned its vector, 0 for none; None takes any.
    """
    # A collector asks this of every record it takes: nothing is worded that is legal.
    wrong: dict[str, str] = {}
    if not is_name(m.device):
        wrong["device"] = f"device: expected a name, found {_shown(m.device)}"
    if device is not None and m.device != device:
        wrong["device"] = f"device: expected {device!r}, whose token this is, found {_shown(m.device)}"
    if not is_name(m.camera):
        wrong["camera"] = f"camera: expected a name, found {_shown(m.camera)}"
    if not is_spool(m.spool):
        wrong["spool"] = f"spool: expected 16 hexadecimal digits, found {_shown(m.spool)}"
    if not 0 < m.sequence <= MAX_SEQUENCE:
        wrong["sequence"] = f"sequence: expected a number from 1, found {m.sequence}"
    if not 0 <= m.seen_from <= m.seen_at:
        wrong["seen_from"] = f"seen_from: expected a time not after seen_at, found {m.seen_from}"
    if not 0 < m.seen_at < _LAST_SECOND:
        wrong["seen_at"] = f"seen_at: expected epoch seconds, found {m.seen_at}"
    if m.modality not in MODALITIES:
        wrong["modality"] = f"modality: expected visible or infrared, found {m.modality}"
    if not m.view_count > 0:
        wrong["view_count"] = f"view_count: expected at least 1, found {m.view_count}"
    if not 0 <= m.quality <= 1:
        wrong["quality"] = f"quality: expected 0 to 1, found {m.quality}"
    for side, size in (("box_width", m.box_width), ("box_height", m.box_height)):
        if not 0 < size <= _MAX_BOX:
            wrong[side] = f"{side}: expected 1 to {_MAX_BOX}, found {size}"
    if len(m.fingerprint) != FINGERPRINT_BYTES:
        wrong["fingerprint"] = f"fingerprint: expected 32 bytes, found {len(m.fingerprint)}"
    elif fingerprints is not None and m.fingerprint not in fingerprints:
        wrong["fingerprint"] = (f"fingerprint: expected bundle {' or '.join(one.hex()[:12] for one in fingerprints)}, "
                                f"found {m.fingerprint.hex()[:12]}; its vectors cannot be compared: give both the same "
                                "bundle (docs/rollout.md)")
    if transform is not None and m.transform != transform:
        wrong["transform"] = (f"transform: expected site key {key_id(transform)}, found {key_id(m.transform)}; vectors "
                              "of two keys cannot be compared: give every camera the same key, and the collector its "
                              "site_key_id")
    for name, number, known in (("engine", m.engine, ENGINES), ("precision", m.precision, PRECISIONS),
                                 ("packing", m.packing, PACKINGS)):
        if number not in known:
            wrong[name] = f"{name}: expected a known {name}, found {number}"
    if m.HasField("seal") and (reason := _seal_fault(m.seal)):
        wrong["seal"] = f"seal: {reason}"
    if m.packing not in PACKINGS:
        wrong["vector"] = "vector: expected a known packing, found bytes nobody can read"
    elif m.HasField("seal") and (reason := _size_fault(len(m.vector) - _SEAL_ADDED_BYTES, PACKINGS[m.packing],
                                                       dimension)):
        wrong["vector"] = f"vector: {reason}, sealed"
    return wrong


def read_vectors(packed: Sequence[bytes], packing: Packing, dimension: int | None) -> list[F32 | str]:
    """Unpack unit vectors of strangers, all of them at once; of what is none say why.

    A unit vector packed and unpacked is off unit length by no more than rounding moves it:
    fp16 rounds an entry by ``2**-11`` of itself, or ``2**-25`` near zero; int8 by half a
    step of its scale.

    Args:
        packed: One byte string per vector.
        packing: Of all of them.
        dimension: Entries they must have; None takes any up to `MAX_DIMENSION`.

    Returns:
        Per byte string a vector of shape ``(d,)``, float32, with memory of its own; or what was expected and found.
    """
    read: list[F32 | str] = [_size_fault(len(data), packing, dimension) for data in packed]
    for size in {len(data) for data, reason in zip(packed, read, strict=True) if not reason}:
        places = [place for place, data in enumerate(packed) if len(data) == size]
        wanted = _width(size, packing)
        with np.errstate(over="ignore", invalid="ignore"):
            rows = unpack([packed[place] for place in places], packing, wanted)
            entries = rows.astype(np.float64)
            norms = np.sqrt(np.einsum("nd,nd->n", entries, entries))    # also infinite or NaN
        if packing == "fp16":
            slack = np.full(len(places), 2.0**-11 + math.sqrt(wanted) * 2.0**-25)
            spread = np.ones(len(places), np.bool_)
        else:
            bytewise = np.frombuffer(b"".join(packed[place] for place in places), np.uint8).reshape(-1, size)
            with np.errstate(invalid="ignore"):     # a NaN of the kind that signals
                steps = np.ascontiguousarray(bytewise[:, :4]).view("<f4")[:, 0].astype(np.float64)
            reach = np.abs(bytewise[:, 4:].view(np.int8).astype(np.int16)).max(1)
            spread = (reach == 127) & (steps > 0) & (steps <= 1.001 / 127)
            slack = math.sqrt(wanted) * steps / 2
        whole = np.abs(norms - 1) <= slack + _FLOAT32_SLACK     # not of NaN
        for place, row, norm, is_spread, is_whole in zip(places, rows, norms, spread, whole, strict=True):
            if not is_spread:
                read[place] = "expected int8 codes that reach 127 at a scale of at most 1/127, found others"
            elif not is_whole:
                read[place] = f"expected unit length, found {norm:.4g}"
            else:
                read[place] = row.copy()    # whoever keeps one of them does not keep the others
    return read


def _width(size: int, packing: Packing) -> int:
    return size // 2 if packing == "fp16" else size - 4


def _size_fault(size: int, packing: Packing, dimension: int | None) -> str:
    wanted = _width(size, packing) if dimension is None else dimension
    if not 0 < wanted <= MAX_DIMENSION or size != packed_size(packing, wanted):
        return f"expected {packing} of {dimension or f'1 to {MAX_DIMENSION}'} dimensions, found {size} bytes"
    return ""


def _seal_fault(seal: pb.Seal) -> str:
    if (len(seal.key), len(seal.encapsulated)) != (_SEAL_KEY_BYTES, _ENCAPSULATED_BYTES):
        return (f"expected a key of {_SEAL_KEY_BYTES} bytes and {_ENCAPSULATED_BYTES} encapsulated, found "
                f"{len(seal.key)} and {len(seal.encapsulated)}")
    if seal.number > _MAX_NUMBER:
        return f"expected a number of at most {_MAX_NUMBER}, found {seal.number}"
    return ""


def gap_faults(m: pb.Gap) -> dict[str, str]:
    """As `faults`, for a gap."""
    wrong: dict[str, str] = {}
    if not is_spool(m.spool):
        wrong["spool"] = f"spool: expected 16 hexadecimal digits, found {_shown(m.spool)}"
    if not 0 < m.first <= m.last <= MAX_SEQUENCE:
        wrong["first"] = wrong["last"] = f"gap: expected first to last, found {m.first} to {m.last}"
    elif not 0 < m.count <= m.last - m.first + 1:
        wrong["count"] = f"count: expected 1 to {m.last - m.first + 1}, found {m.count}"
    return wrong


def _shown(text: str) -> str:
    """What a stranger sent, fit for one line of a log."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")
