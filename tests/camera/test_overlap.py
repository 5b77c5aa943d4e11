"""A device that tells of everybody by two bundles for a while: one tracklet, two vectors, and an end on time."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from cmnas_edge import cli, sealing
from cmnas_edge.bundle import CALIBRATION, Bundle
from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.daemon import Daemon
from cmnas_edge.camera.embedder import Embedder
from cmnas_edge.camera.overlap import Overlap, is_over
from cmnas_edge.camera.people.select import Cut
from cmnas_edge.camera.running.reload import compare
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.settings import EngineSettings, load
from cmnas_edge.errors import ConfigError
from cmnas_edge.preprocess import DEFINITION
from cmnas_edge.site_key import SiteKey
from tests.camera.fakes import (
    DIMENSION,
    F32,
    FINGERPRINT,
    HEIGHT,
    U8,
    WIDTH,
    Clip,
    ColourEngine,
    Projector,
    StrictCollector,
    film,
)
from tests.camera.test_commands import Device, check, collector, device, footage, served  # noqa: F401  fixtures
from tests.camera.test_daemon import MIB, World
from tests.tiny_bundle import TINY, copy_tiny, reseal

SECOND = hashlib.sha256(b"the second").digest()
TALL = Cut(2 * HEIGHT, WIDTH, DEFINITION)


class TallEngine(ColourEngine):
    """Embeds crops of another size, into vectors of another length."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def embed(self, crops: U8) -> F32:
        """Of four bands."""
        assert crops.shape[1:] == (TALL.height, TALL.width, 3)
        self.batches.append(len(crops))
        bands = crops.reshape(len(crops), 4, -1, 3).astype(np.float32).mean(2).reshape(len(crops), -1)
        found: F32 = bands / np.linalg.norm(bands, axis=1, keepdims=True)
        return found

    def close(self) -> None:
        """Note it."""
        self.closed = True


class Site(World):
    """A device with a second bundle, whose clock stands still at 0 until somebody moves it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.now, self.second = 0.0, TallEngine()
        self.collector = StrictCollector(dimension={FINGERPRINT: DIMENSION, SECOND: 12},    # type: ignore[arg-type]
                                         fingerprint=None)  # type: ignore[arg-type]
        self.also = Overlap(
            Embedder("gate", SECOND, {"visible": self.second, "infrared": self.second}, "fp16",     # type: ignore[dict-item]
                     self.tally, second=True),
            fingerprint=SECOND, engines={"visible": "onnxruntime fp32"}, cut=TALL,
            until=datetime.fromtimestamp(100, timezone.utc), close=self.second.close, clock=lambda: self.now)
        self.bundles: list[str] = []

    def watch(self, frames: int = 120) -> Counter[tuple[int, bytes]]:
        """Look at so many frames of one person; return how many sightings each tracklet has by each bundle."""
        settings = self.settings(self.camera("north"), engine=EngineSettings(max_batch=4, batch_wait_s=0.0))
        with Spool(settings.spool.path, 8 * MIB) as spool:
            daemon = Daemon(settings, self.engines, fingerprint=FINGERPRINT, crop_size=(HEIGHT, WIDTH),
                            preprocessing=DEFINITION, spool=spool, transport=self.collector, tally=self.tally,
                            also=self.also, open_from=Projector(north=[lambda: Clip(film(frames))]),
                            backoff=lambda: Backoff(0.001, 0.002))
            vitals = daemon._checkup()
            self.bundles += [vitals.bundle, vitals.also_bundle]
            daemon.run()
            vitals = daemon._checkup()
            self.bundles += [vitals.bundle, vitals.also_bundle]
        return Counter((one.tracklet, one.fingerprint) for one in self.collector.stored)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_everybody_is_told_of_by_both_under_one_number_by_the_one_that_goes_first(site: Site) -> None:
    told = site.watch()
    ((tracklet, count),) = {(number, times) for (number, _), times in told.items()}
    assert set(told) == {(tracklet, FINGERPRINT), (tracklet, SECOND)}
    by = {name: [one for one in site.collector.stored if one.fingerprint == name] for name in (SECOND, FINGERPRINT)}
    for second, first in zip(by[SECOND], by[FINGERPRINT], strict=True):
        assert second.sequence < first.sequence
        assert (len(second.vector), len(first.vector)) == (12, DIMENSION)
        for name in ("tracklet", "camera", "seen_from", "seen_at", "modality", "view_count", "quality", "box_height"):
            assert getattr(second, name) == getattr(first, name)
    assert site.tally["crops"] == 2 * sum(site.second.batches)     # what it costs is counted
    assert site.tally["sightings"] == 2 * count
    assert site.bundles == 2 * [FINGERPRINT.hex(), SECOND.hex()]
    assert not site.second.closed


def test_at_its_end_the_second_is_told_of_no_more_and_its_engine_let_go(
        site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cmnas.camera")
    embed = site.second.embed

    def embed_and_wait(crops: U8) -> F32:
        site.now = 100.0 if len(site.second.batches) == 1 else 0.0      # within the second turn
        return embed(crops)

    site.second.embed = embed_and_wait  # type: ignore[method-assign]
    told = site.watch()
    assert sorted(told.values()) == [2, 6]
    assert site.collector.stored[-1].fingerprint == FINGERPRINT
    assert site.second.closed
    assert site.bundles[2:] == [FINGERPRINT.hex(), ""]
    assert caplog.text.count(f"the overlap is over: nobody is told of by bundle {SECOND.hex()[:16]} any more") == 1


def test_one_that_is_over_ends_though_nobody_comes(site: Site) -> None:
    site.now = 100.0
    assert site.also.look()
    assert site.also.records([]) == []
    assert site.second.closed


def test_its_end_can_be_moved_while_it_lasts_and_not_after(site: Site) -> None:
    site.also.adjust(datetime.fromtimestamp(200, timezone.utc))
    site.now = 150.0
    assert not site.also.look()
    site.also.adjust(None)
    assert site.also.look()
    site.also.adjust(datetime.fromtimestamp(300, timezone.utc))
    assert site.also.look()


def test_a_device_that_reads_its_settings_again_moves_the_end_and_cuts_once_from_then_on(site: Site) -> None:
    settings = site.settings(site.camera("north"), also=site.folder / "second",
                             also_until=datetime.fromtimestamp(100, timezone.utc))
    wanted = structs.replace(settings, also_until=datetime.fromtimestamp(-5, timezone.utc))
    with Spool(settings.spool.path, 8 * MIB) as spool:
        daemon = Daemon(settings, site.engines, fingerprint=FINGERPRINT, crop_size=(HEIGHT, WIDTH),
                        preprocessing=DEFINITION, spool=spool, transport=site.collector, tally=site.tally,
                        also=site.also, open_from=Projector(north=[lambda: Clip(film(1))]),
                        reread=lambda: (wanted, lambda _: site.collector))
        (camera,) = daemon._cameras
        assert camera.pipeline._selector.also == TALL
        assert daemon._adjust() == "now in effect: also_until"
        turns = iter([[], None])
        daemon._backlog.take = lambda _: next(turns)    # type: ignore[assignment, method-assign]
        daemon._embed()     # nobody comes
        assert site.second.closed
        assert camera.pipeline._selector.also is None
        wanted = structs.replace(settings, also_until=datetime.fromtimestamp(500, timezone.utc))
        assert daemon._adjust() == "nothing changes; as before until a new start: also_until"


def second_of(folder: Path) -> Path:
    """The tiny bundle again, as another one: it claims another fingerprint."""
    path = copy_tiny(folder)
    names = Bundle.open(path).fingerprint_hex
    text = (path / CALIBRATION).read_text("utf-8").replace(names, SECOND.hex())
    (path / CALIBRATION).write_text(text, "utf-8")
    reseal(path, lambda manifest: manifest.update(fingerprint=SECOND.hex()))
    return path


def test_a_device_sends_by_both_until_the_time_its_settings_state(
        device: Device, collector: StrictCollector, served: object, capsys: pytest.CaptureFixture[str]) -> None:    # noqa: F811
    first = Bundle.open(TINY)
    collector._dimension = {first.fingerprint: first.dimension, SECOND: first.dimension}  # type: ignore[assignment]
    collector._fingerprint = None   # type: ignore[assignment]
    device.lines |= {"also": f'"{second_of(device.folder)}"', "also_until": "2999-01-01T00:00:00Z"}
    code, err = check(device, capsys)
    assert code == 0, err
    assert Counter(one.fingerprint for one in collector.stored).keys() == {first.fingerprint, SECOND}
    assert cli.main(["camera", str(device.config()), "--check"]) == 0
    out = capsys.readouterr().out
    assert f"also bundle {SECOND.hex()[:16]}, at the same cost once more; engines agree" in out
    assert 'also_until = "2999-01-01T00:00:00Z"' in out
    collector.sightings.clear()
    device.lines["also_until"] = "2026-01-01T00:00:00+01:00"
    code, err = check(device, capsys)
    assert code == 0, err
    assert {one.fingerprint for one in collector.stored} == {first.fingerprint}
    assert "take also and also_until out" in err
    assert cli.main(["check-config", str(device.config())]) == 0
    assert "is used no more since 2026-01-01 00:00:00+01:00" in capsys.readouterr().out


def test_vectors_of_both_are_turned_by_the_sites_key_and_sealed(
        device: Device, collector: StrictCollector, served: object, capsys: pytest.CaptureFixture[str]) -> None:    # noqa: F811
    first, key, seal = Bundle.open(TINY), SiteKey.make(device.folder / "site.key"), device.folder / "seal.pem"
    seal.touch(0o600)
    seal.write_bytes(sealing.new_key())
    collector._dimension = {first.fingerprint: first.dimension, SECOND: first.dimension}  # type: ignore[assignment]
    collector._fingerprint, collector.opener = None, sealing.Opener.read([seal])     # type: ignore[assignment]
    device.lines |= {"also": f'"{second_of(device.folder)}"', "also_until": "2999-01-01T00:00:00Z",
                     "site_key": '"site.key"',
                     "link": f'{{wait_s = 0.01, seal_to = "{sealing.public_key(seal)}"}}'}
    code, err = check(device, capsys)
    assert code == 0, err
    assert {(one.fingerprint, one.transform, one.sealed) for one in collector.stored} == {
        (fingerprint, key.transform, True) for fingerprint in (first.fingerprint, SECOND)}


@pytest.mark.parametrize(("lines", "code", "says"), [
    ({"also": '"tiny"'}, 78, "expected 'also' and 'also_until' together"),
    ({"also_until": "2999-01-01T00:00:00Z"}, 78, "expected 'also' and 'also_until' together"),
    ({"also": '"tiny"', "also_until": "2999-01-01T00:00:00"}, 78, "offset from UTC"),
    ({"also": '"none"', "also_until": "2999-01-01T00:00:00Z"}, 65, "none"),
    ({"also": f'"{TINY}"', "also_until": "2999-01-01T00:00:00Z"}, 78, "expected a bundle of another fingerprint")])
def test_a_second_bundle_that_cannot_be_meant_is_refused_before_anything_begins(
        device: Device, capsys: pytest.CaptureFixture[str], lines: dict[str, str], code: int, says: str) -> None:   # noqa: F811
    second_of(device.folder)
    device.lines |= lines
    assert cli.main(["camera", str(device.config()), "--check"]) == code
    assert says in capsys.readouterr().err


def test_its_end_is_read_again_and_its_bundle_is_not(device: Device) -> None:   # noqa: F811
    second_of(device.folder)
    device.lines |= {"also": '"tiny"', "also_until": "2999-01-01T00:00:00Z"}
    before = load(device.config())
    device.lines |= {"also_until": "2998-01-01T00:00:00Z", "also": '"other"'}
    change = compare(before, load(device.config()))
    assert (change.live, change.kept) == (["also_until"], ["also"])
    assert is_over(change.settings.also_until, datetime(2998, 1, 1, tzinfo=timezone.utc).timestamp())
    device.lines["also_until"] = '"soon"'
    with pytest.raises(ConfigError, match="also_until"):
        load(device.config())
