"""What left a device, split by what the protocol explains: sightings, what carries them, and the rest.

The claim *only embeddings leave* is measured, not asserted. Bytes are judged as they were written,
before TLS: decoded as HTTP (`http`) or MQTT (`mqtt`), and inside it field by field as sightings.
What is left over is *unexplained*: a picture hidden in an unknown field, an overlong string, a
header or behind the last request stays so, and shows.

What no count can show is a picture encoded *as* the numbers of a vector: vector bytes are
bytes. That residual channel has a known width, the length of a packed embedding per sighting.
"""

from __future__ import annotations

from typing import NamedTuple

from cmnas_edge.outgoing.batch import explained
from cmnas_edge.outgoing.vocabulary import Vocabulary

__all__ = ["NOTHING", "Sent", "Vocabulary", "payload"]


class Sent(NamedTuple):
    """Bytes of one stretch of a connection.

    Attributes:
        embedding: Fields of sightings: vectors, with their times, names and numbers.
        header: What carries them, in the one form a daemon has reason to send.
        unexplained: Everything else.
    """

    embedding: int
    header: int
    unexplained: int

    def __add__(self, other: tuple[object, ...]) -> Sent:
        """Both stretches together."""
        assert isinstance(other, Sent)
        return Sent(self.embedding + other.embedding, self.header + other.header,
                    self.unexplained + other.unexplained)


NOTHING = Sent(0, 0, 0)


def payload(body: bytes, words: Vocabulary | None = None) -> Sent:
    """Split a batch, or as much as there is of one; with a vocabulary, words beyond it explain nothing."""
    known = explained(body, words)
    return Sent(known, 0, len(body) - known)
