"""How much of a batch the schema of sightings accounts for, field by field."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.fields import WireError, split, varint
from cmnas_edge.outgoing.vocabulary import Vocabulary, Word
from cmnas_edge.sighting import PACKINGS, faults, gap_faults, read_vectors

__all__ = ["explained"]

_SIGHTING, _GAP = 1, 2      # fields of a batch
_WORDS: Final[tuple[Word, ...]] = ("device", "camera", "spool", "fingerprint")


def explained(body: bytes, words: Vocabulary | None = None) -> int:
    """Count the bytes of a batch, or of as much as there is of one, that the schema accounts for.

    Unknown or repeated fields, text or vectors that are not legal, padded numbers and bytes
    that cannot be read are not accounted for, so ``len(body) - explained(body)`` is
    what a picture hidden in a batch adds.

    Args:
        body: As it was written.
        words: What may be said; a field whose word is none of them is not accounted for either.
    """
    total = 0
    try:
        for number, record in split(body):
            if isinstance(record, int) or number not in (_SIGHTING, _GAP):
                continue
            size = _of_record(pb.Sighting() if number == _SIGHTING else pb.Gap(), record, words)
            total += 1 + len(varint(len(record))) + size if size else 0
    except WireError:
        pass  # what follows cannot be read; what came before stands
    return total


def _of_record(message: pb.Sighting | pb.Gap, record: bytes, words: Vocabulary | None) -> int:
    try:
        message.ParseFromString(record)
    except DecodeError:
        return 0
    message.DiscardUnknownFields()
    for field in _all_faults(message) if isinstance(message, pb.Sighting) else gap_faults(message):
        message.ClearField(field)
    if words is not None:
        for word in _WORDS:
            said = getattr(message, word, "")   # a gap names its spool alone
            if said and not words.takes(word, said if isinstance(said, bytes) else said.encode()):
                message.ClearField(word)
    return message.ByteSize()


def _all_faults(message: pb.Sighting) -> dict[str, str]:
    wrong = faults(message)
    if message.packing in PACKINGS and not message.HasField("seal"):
        (vector,) = read_vectors([message.vector], PACKINGS[message.packing], None)
        if isinstance(vector, str):
            wrong["vector"] = vector
    return wrong
