"""A million batches from nobody in particular: each is judged or refused in a sentence, and nothing grows.

Mutations know the wire format's grain (tags, lengths, varints), for noise alone is refused at its first byte.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cmnas_edge import wire
from cmnas_edge.outgoing.batch import explained
from cmnas_edge.sealing import Opener, Sealer
from cmnas_edge.sighting import Gap, Refusal, Sighting
from tests.collector.people import DIMENSION, FINGERPRINT, SPOOL, People
from tests.proof import PROVING

INPUTS = 1_000_000 if PROVING else 15_000
_SLOWEST_S = 1.0        # of processor time: a usual input takes some 0.0001, and one that hangs never ends
_GROWTH_KB = 20_000
KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))
Mutation = Callable[[bytearray, random.Random], None]


def seeds() -> list[bytes]:
    people, sealer = People(), Sealer(KEY.public_key().public_bytes_raw())
    seen = [people.sighting(number, at=10.0 * number) for number in range(1, 5)]
    gap = Gap(SPOOL, 1, 9, 4)
    return [wire.encode_batch(seen, [gap]), wire.encode_batch(seen[:1]), wire.encode_batch([], [gap, gap]),
            wire.encode_batch([wire.encode_sighting(one, sealer) for one in seen[:2]]), b""]


def flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1):]


def drop(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at:at + rng.randrange(1, 40)]


def repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at:at + rng.randrange(1, 200)] * rng.randrange(1, 4)


def number(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at + rng.randrange(2)] = rng.choice((b"\xff" * 9 + b"\x01", b"\x80" * 11, b"\xff\xff\xff\xff\x0f", b"\x00",
                                                 b"\x7f", bytes([rng.randrange(256)])))


def tag(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = bytes([rng.randrange(32) << 3 | rng.randrange(8)]) + rng.randbytes(rng.randrange(12))


def noise(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at + rng.randrange(64)] = rng.randbytes(rng.randrange(64))


MUTATIONS: tuple[Mutation, ...] = (flip, flip, cut, drop, repeat, number, tag, noise)


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4


@pytest.mark.prove
def test_whatever_arrives_is_judged_or_refused_in_a_sentence_and_nothing_grows(
        record_property: Callable[[str, object], None]) -> None:
    record_property("examples", INPUTS)
    rng, known = random.Random(20_261_121), seeds()
    opener, outcomes, slowest, before = Opener([KEY]), {"judged": 0, "refused": 0, "sightings": 0}, 0.0, 0
    for count in range(INPUTS):
        if count == INPUTS // 10:
            before = resident_kb()      # caches and arenas are there by now
        data = bytearray(rng.choice(known))
        for _ in range(rng.randrange(1, 6)):
            rng.choice(MUTATIONS)(data, rng)
        began = time.process_time()
        try:
            items = wire.decode_batch(bytes(data), dimension=DIMENSION, device="gate", fingerprint=FINGERPRINT,
                                      transform=0, opener=opener)
        except wire.WireError as error:
            outcomes["refused"] += str(error).isprintable() and "expected" in str(error)
        else:
            outcomes["judged"] += 1
            for item in items:
                assert isinstance(item, Sighting | Gap | Refusal)
                assert not isinstance(item, Refusal) or item.reason.isprintable()
                outcomes["sightings"] += isinstance(item, Sighting)
        slowest = max(slowest, time.process_time() - began)
        if count % 16 == 0:
            assert 0 <= explained(bytes(data)) <= len(data)
    assert outcomes["judged"] + outcomes["refused"] == INPUTS
    # Mutants that are all refused at once would show nothing.
    assert min(outcomes.values()) > INPUTS // 20, outcomes
    assert slowest < _SLOWEST_S
    assert resident_kb() - before < _GROWTH_KB
