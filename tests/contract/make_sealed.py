"""Writes the batch of `make_batch` as this release's cameras send it sealed, for every later release to open.

Run once per release, never again for an old one::

    python -m tests.contract.make_sealed tests/contract/0.1.0/sealed.bin
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import structs

from cmnas_edge.sealing import Sealer
from cmnas_edge.wire import address, encode_batch, encode_sighting
from tests.contract.make_batch import SPOOL, gaps, sightings

KEY = X25519PrivateKey.from_private_bytes(b"not a secret: it opens this only")


def sealed() -> bytes:
    """The same three sightings, sealed before they had a number, and the same loss."""
    sealer = Sealer(KEY.public_key().public_bytes_raw())
    bodies = []
    for one in sightings():
        spoolless = {**structs.asdict(one), "spool": "", "sequence": 0}
        bodies.append(address(encode_sighting(type(one)(**spoolless), sealer), SPOOL, one.sequence))
    return encode_batch(bodies, gaps())


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(sealed())
