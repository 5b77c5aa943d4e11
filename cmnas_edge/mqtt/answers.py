"""What became of a batch, as a message: the body is HTTP's, status and patience are user properties."""

from __future__ import annotations

from typing import NamedTuple

from cmnas_edge.mqtt.connection import Message

__all__ = ["Answered", "read_answer", "written_answer"]

_STATUS, _RETRY = "status", "retry-after"


class Answered(NamedTuple):
    """What HTTP would have answered.

    Attributes:
        status: Three digits.
        body: Of the answer.
        retry_s: How long the other end asks to be left alone.
    """

    status: int
    body: bytes
    retry_s: int = 0


def written_answer(topic: str, correlation: bytes, answered: Answered) -> Message:
    """Write it to a device's topic, for the batch of that correlation."""
    properties = {_STATUS: str(answered.status)}
    if answered.retry_s:
        properties[_RETRY] = str(answered.retry_s)
    return Message(topic, answered.body, correlation, properties)


def read_answer(message: Message) -> Answered | None:
    """Read it back; None if it is none. Patience that is no number of up to six digits is none."""
    status, after = (message.properties.get(name, "") for name in (_STATUS, _RETRY))
    if not (status.isascii() and status.isdecimal() and len(status) == 3):
        return None
    return Answered(int(status), message.body, int(after) if after.isdecimal() and len(after) < 7 else 0)
