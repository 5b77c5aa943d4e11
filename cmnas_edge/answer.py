"""What the collector says of each record of a batch, encoded and decoded."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError

from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.fields import WireError
from cmnas_edge.sighting import Outcome, Result

__all__ = ["MAX_REASON", "decode_answer", "encode_answer"]

MAX_REASON = 300
_RESULT_NUMBERS: dict[Result, pb.Result] = {
    "stored": pb.RESULT_STORED, "duplicate": pb.RESULT_DUPLICATE, "refused": pb.RESULT_REFUSED}
_RESULTS: dict[int, Result] = {number: word for word, number in _RESULT_NUMBERS.items()}


def encode_answer(outcomes: Iterable[Outcome]) -> bytes:
    """Encode what became of each record; long reasons are cut."""
    answer = pb.Answer()
    for o in outcomes:
        answer.outcomes.add(spool=o.spool, sequence=o.sequence, result=_RESULT_NUMBERS[o.result],
                            reason=o.reason[:MAX_REASON])
    return bytes(answer.SerializeToString())


def decode_answer(data: bytes) -> list[Outcome]:
    """Decode a collector's answer. A result this version does not know is left out: it frees nothing.

    Raises:
        WireError: The bytes are no answer.
    """
    try:
        answer = pb.Answer.FromString(data)
    except DecodeError:
        raise WireError(f"answer: expected the collector's, found {len(data)} other bytes") from None
    return [Outcome(o.spool, o.sequence, _RESULTS[o.result],
                    "".join(c if c.isprintable() else " " for c in o.reason[:MAX_REASON]))
            for o in answer.outcomes if o.result in _RESULTS]
