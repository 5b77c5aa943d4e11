"""A camera that seals its vectors keeps none of them readable on its disk, and the collector gets them whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.embedding import pack
from cmnas_edge.errors import ConfigError, LinkDown
from cmnas_edge.sealing import Opener
from tests.camera.fakes import Clip, Projector, film
from tests.camera.test_daemon import MIB, World

KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw().hex()


def left_on_disk(world: World, seal_to: str) -> bytes:
    """Run with nobody to send to; return every byte the spool left."""
    world.collector.up = False
    with pytest.raises(LinkDown):
        world.run(Projector(north=[lambda: Clip(film(60))]), world.camera("north"), drain_s=0.0,
                  link=LinkSettings(wait_s=0.05, seal_to=seal_to))
    world.collector.up = True
    return b"".join(path.read_bytes() for path in sorted(world.folder.glob("spool.db*")))


def deliver(world: World) -> None:
    settings = world.settings(world.camera("north"), link=LinkSettings(wait_s=0.05, seal_to=PUBLIC))
    with Spool(settings.spool.path, 8 * MIB) as spool:
        world.daemon(spool, Projector(north=[lambda: Clip(iter(()))]), settings).run()


@pytest.mark.parametrize("seal_to", [PUBLIC, ""], ids=["sealed", "open"])
def test_a_stolen_disk_shows_vectors_only_where_nothing_seals_them(tmp_path: Path, seal_to: str) -> None:
    world = World(tmp_path)
    world.collector.opener = Opener([KEY])
    disk = left_on_disk(world, seal_to)
    deliver(world)
    stored = world.collector.stored
    assert [(s.sequence, s.sealed) for s in stored] == [(row, bool(seal_to)) for row in (1, 2, 3)]
    assert [pack(s.vector[None], "fp16")[0] in disk for s in stored] == [not seal_to] * 3


def test_what_waited_open_and_what_is_sealed_leave_by_the_same_way(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.collector.opener = Opener([KEY])
    left_on_disk(world, "")
    left_on_disk(world, PUBLIC)
    deliver(world)
    assert [(s.sequence, s.sealed) for s in world.collector.stored] == [
        (row, row > 3) for row in range(1, 7)]


def test_a_key_that_is_none_ends_the_daemon_before_it_watches(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(ConfigError, match="seal_to: expected the 64 hexadecimal digits"):
        world.run(Projector(north=[lambda: Clip(film(5))]), world.camera("north"), link=LinkSettings(seal_to="0" * 64))
