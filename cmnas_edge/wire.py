"""The sighting on the wire: `sighting.proto` encoded, and decoded without trust.

One definition of what is legal (`cmnas_edge.sighting`) serves two questions: may this
record be stored (`decode_batch`), and how many of these bytes are accounted for
(`cmnas_edge.outgoing`). A field counts only if it is in the schema, stands there once, is encoded
as short as it can be, and holds a value a camera could have meant; everything else is a fault
of that record, never of the others in its batch.

What stays open: a sender that means harm can choose the bits of a legal unit vector, of
times and of numbers. That channel is bounded by `MAX_SIGHTING_BYTES`; it cannot be closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.message import DecodeError

from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.answer import MAX_REASON, decode_answer, encode_answer
from cmnas_edge.embedding import Packing, pack
from cmnas_edge.fields import WireError, split, varint
from cmnas_edge.sealing import Opener, Seal, Sealer
from cmnas_edge.sighting import (
    ENGINE_NUMBERS,
    ENGINES,
    F32,
    FINGERPRINT_BYTES,
    MAX_SEQUENCE,
    MODALITIES,
    MODALITY_NUMBERS,
    PACKING_NUMBERS,
    PACKINGS,
    PRECISION_NUMBERS,
    PRECISIONS,
    EngineName,
    Gap,
    Outcome,
    Precision,
    Refusal,
    Result,
    Sighting,
    faults,
    gap_faults,
    is_name,
    is_spool,
    read_vectors,
)

__all__ = ["MAX_BATCH_BYTES", "MAX_GAPS", "MAX_REASON", "MAX_SIGHTINGS", "MAX_SIGHTING_BYTES", "EngineName",
           "Gap", "Outcome", "Precision", "Refusal", "Result", "Sighting", "WireError", "address",
           "decode_answer", "decode_batch", "encode_answer", "encode_batch", "encode_sighting",
           "is_name", "seen_at"]

MAX_SIGHTING_BYTES = 8192       # the largest legal one is about half of it; a test adds it up
MAX_SIGHTINGS = 64              # in a batch
MAX_GAPS = 17
MAX_BATCH_BYTES = MAX_SIGHTINGS * (MAX_SIGHTING_BYTES + 4) + MAX_GAPS * 64


def encode_sighting(sighting: Sighting, sealer: Sealer | None = None) -> bytes:
    """Encode one record; without spool and sequence if it has none yet.

    Args:
        sighting: What to say.
        sealer: Seals its vector to the collector's key; None leaves it open.
    """
    message = pb.Sighting(
        device=sighting.device, camera=sighting.camera, spool=sighting.spool, sequence=sighting.sequence,
        seen_from=sighting.seen_from, seen_at=sighting.seen_at, modality=MODALITY_NUMBERS[sighting.modality],
        tracklet=sighting.tracklet, view_count=sighting.view_count, quality=sighting.quality,
        box_width=sighting.box_width, box_height=sighting.box_height, fingerprint=sighting.fingerprint,
        engine=ENGINE_NUMBERS[sighting.engine], precision=PRECISION_NUMBERS[sighting.precision],
        transform=sighting.transform, packing=PACKING_NUMBERS[sighting.packing])
    vector = pack(sighting.vector[None], sighting.packing)[0]
    if sealer is not None:
        seal, vector = sealer.seal(vector, _beside(message))
        message.seal.key, message.seal.encapsulated, message.seal.number = seal
    message.vector = vector
    return bytes(message.SerializeToString(deterministic=True))


def seen_at(body: bytes) -> float | None:
    """Say when the person of an encoded record was last seen, epoch seconds; None if that cannot be read."""
    try:
        return float(pb.Sighting.FromString(body).seen_at)
    except DecodeError:
        return None


def address(body: bytes, spool: str, sequence: int) -> bytes:
    """Put spool and sequence in front of an encoded record that has none.

    A spool numbers records it cannot read. The two stand first, so that even a record whose
    rest is damaged can be answered by name.
    """
    return bytes(pb.Sighting(spool=spool, sequence=sequence).SerializeToString(deterministic=True)) + body


def encode_batch(sightings: Iterable[Sighting | bytes], gaps: Iterable[Gap] = ()) -> bytes:
    """Encode what one request carries; records may be encoded already."""
    parts = []
    for item in sightings:
        body = item if isinstance(item, bytes) else encode_sighting(item)
        parts.append(b"\x0a" + varint(len(body)) + body)  # field 1, length-delimited
    for gap in gaps:
        body = pb.Gap(spool=gap.spool, first=gap.first, last=gap.last, count=gap.count).SerializeToString()
        parts.append(b"\x12" + varint(len(body)) + body)
    return b"".join(parts)


def decode_batch(data: bytes, *, dimension: int | Mapping[bytes, int] | None, device: str | None,
                 fingerprint: bytes | None = None, transform: int | None = None, opener: Opener | None = None,
                 only_sealed: bool = False) -> list[Sighting | Gap | Refusal]:
    """Decode a batch, trusting nothing in it.

    Args:
        data: The body of a request.
        dimension: Entries a vector must have, or those of each bundle that is accepted, by fingerprint; None takes any
            up to `MAX_DIMENSION`.
        device: Who the token says is sending; a record that names another is refused.
        fingerprint: The one bundle that is accepted; None takes any, or those that ``dimension`` names. A record of
            another is not taken, but not for good either: a collector may accept that bundle again.
        transform: The one site key whose vectors are, 0 for none; None takes any. A record of another is not
            taken, but not for good either: whoever collects for that key may want it.
        opener: Has the keys that vectors may be sealed to. A record sealed to another is not taken, but not
            for good either: whoever has that key may find it again.
        only_sealed: Refuse a vector that came open.

    Returns:
        One item per record, in the order sent.

    Raises:
        WireError: The bytes are no batch, or hold more than a batch may.
    """
    if len(data) > MAX_BATCH_BYTES:
        raise WireError(f"batch: expected at most {MAX_BATCH_BYTES} bytes, found {len(data)}; send fewer")
    accepted = dimension if isinstance(dimension, Mapping) else {} if fingerprint is None else {fingerprint: dimension}
    entries = None if isinstance(dimension, Mapping) else dimension
    items: list[pb.Sighting | Gap | Refusal] = []
    counts = {1: 0, 2: 0}
    for number, body in split(data):
        if number not in counts or isinstance(body, int):
            raise WireError(f"batch: expected sightings (1) and gaps (2), found field {number}; "
                            "this collector does not know it")
        counts[number] += 1
        items.append(_decode_gap(body) if number == 2
                     else _decode_one(body, accepted, entries, device, transform, opener, only_sealed))
    if counts[1] > MAX_SIGHTINGS or counts[2] > MAX_GAPS:
        raise WireError(f"batch: expected at most {MAX_SIGHTINGS} sightings and {MAX_GAPS} gaps, "
                        f"found {counts[1]} and {counts[2]}; send fewer")
    return _with_vectors(items, accepted, entries)


def _decode_one(body: bytes, accepted: Mapping[bytes, int | None], dimension: int | None, device: str | None,
                transform: int | None, opener: Opener | None, only_sealed: bool) -> pb.Sighting | Refusal:
    """Return a record that is legal but for its vector, which is open but not looked at yet."""
    if len(body) > MAX_SIGHTING_BYTES:
        return Refusal(*_named(body), f"expected at most {MAX_SIGHTING_BYTES} bytes, found {len(body)}")
    message = pb.Sighting()
    if reason := _misread(message, body):
        return Refusal(*_named(body), reason)
    if not message.HasField("seal") and only_sealed:
        return Refusal(*_named(body), "vector: expected it sealed, found it open; set seal_to in [link] of that camera")
    wrong = faults(message, accepted.get(message.fingerprint, dimension), device, accepted or None, transform)
    not_now = [wrong.pop(name) for name in ("fingerprint", "transform") if name in wrong and _may_change(name, message)]
    for reason in wrong.values():
        return Refusal(*_named(body), reason)
    for reason in not_now:
        return Refusal(*_named(body), reason, for_good=False)
    if message.HasField("seal"):
        if opener is None or not opener.has(message.seal.key):
            return Refusal(*_named(body), "seal: expected one this collector has the key to, found another "
                           f"({message.seal.key.hex()}); give it that key, in seal_keys", for_good=False)
        if (plain := _opened(message, opener)) is None:
            return Refusal(*_named(body), "seal: expected one unbroken, found that the record was changed after it was "
                           "sealed; look at the camera's disk")
        message.vector = plain
    return message


def _may_change(name: str, message: pb.Sighting) -> bool:
    """Whether a collector may accept it another time: another bundle or key, but no bytes that name none."""
    return name == "transform" or len(message.fingerprint) == FINGERPRINT_BYTES


def _with_vectors(items: Sequence[pb.Sighting | Gap | Refusal], accepted: Mapping[bytes, int | None],
                  dimension: int | None) -> list[Sighting | Gap | Refusal]:
    """Look at the vectors of a batch, those of one packing and bundle together."""
    read: dict[int, F32 | str] = {}
    alike: dict[tuple[int, int | None], list[int]] = {}
    for place, item in enumerate(items):
        if isinstance(item, pb.Sighting):
            alike.setdefault((item.packing, accepted.get(item.fingerprint, dimension)), []).append(place)
    for (number, wanted), places in alike.items():
        vectors = read_vectors([items[place].vector for place in places], PACKINGS[number], wanted)  # type: ignore[union-attr]
        read.update(zip(places, vectors, strict=True))
    return [_read(item, PACKINGS[item.packing], read[place]) if isinstance(item, pb.Sighting) else item
            for place, item in enumerate(items)]


def _read(message: pb.Sighting, packing: Packing, vector: F32 | str) -> Sighting | Refusal:
    if isinstance(vector, str):
        return Refusal(message.spool, message.sequence, f"vector: {vector}")
    return Sighting(
        device=message.device, camera=message.camera, spool=message.spool, sequence=message.sequence,
        seen_from=message.seen_from, seen_at=message.seen_at, modality=MODALITIES[message.modality],
        tracklet=message.tracklet, view_count=message.view_count, quality=message.quality,
        box_width=message.box_width, box_height=message.box_height, fingerprint=message.fingerprint,
        engine=ENGINES[message.engine], precision=PRECISIONS[message.precision], transform=message.transform,
        sealed=message.HasField("seal"), packing=packing, vector=vector)


def _beside(message: pb.Sighting) -> bytes:
    """What a seal binds the vector to: all of the record that is known when it is made."""
    rest = pb.Sighting()
    rest.CopyFrom(message)
    for field in ("spool", "sequence", "vector", "seal"):
        rest.ClearField(field)
    return bytes(rest.SerializeToString(deterministic=True))


def _opened(message: pb.Sighting, opener: Opener) -> bytes | None:
    seal = Seal(message.seal.key, message.seal.encapsulated, message.seal.number)
    return opener.open(seal, message.vector, _beside(message))


def _decode_gap(body: bytes) -> Gap | Refusal:
    message = pb.Gap()
    reason = _misread(message, body) or next(iter(gap_faults(message).values()), "")
    if reason:
        spool = message.spool if is_spool(message.spool) else ""
        return Refusal(spool, message.last, reason)
    return Gap(message.spool, message.first, message.last, message.count)


def _misread(message: pb.Sighting | pb.Gap, body: bytes) -> str:
    """Parse into ``message``; say what in the bytes the schema has no place for."""
    try:
        message.ParseFromString(body)
    except DecodeError:
        return f"expected a record of {message.DESCRIPTOR.full_name}, found {len(body)} bytes that are none"
    message.DiscardUnknownFields()
    # The shortest encoding of what was understood; anything beyond it was not.
    if (excess := len(body) - message.ByteSize()) == 0:
        return ""
    known = {field.number for field in message.DESCRIPTOR.fields}
    foreign = sorted({number for number, _ in split(body)} - known)
    what = f"unknown field {foreign[0]}" if foreign else "a field twice, padded, or spelt-out zeros"
    return f"expected only fields of {message.DESCRIPTOR.full_name}, found {what} ({excess} bytes)"


def _named(body: bytes) -> tuple[str, int]:
    """Spool and sequence of a record, however damaged what follows them is."""
    spool, sequence = "", 0
    try:
        for number, value in split(body):
            if number == 3 and isinstance(value, bytes):
                text = value.decode("ascii", "replace")
                spool = text if is_spool(text) else ""
            elif number == 4 and isinstance(value, int):
                sequence = value if value <= MAX_SEQUENCE else 0
    except WireError:
        pass  # damaged from here on
    return spool, sequence
