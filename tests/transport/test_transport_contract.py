"""Both ways to the collector keep the same promises: stored once, in order, or declared lost; freed by it alone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmnas_edge.camera.sending.spool import MIN_BYTES
from cmnas_edge.errors import LinkDown
from cmnas_edge.wire import address, decode_answer, encode_batch
from tests.proof import KILLS, PROVING
from tests.transport.broker import needs_mosquitto
from tests.transport.ways import FREEZE, THAW, WAYS, Camera, HttpWay, MqttWay

BOTH = ["http", pytest.param("mqtt", marks=needs_mosquitto)]
PARTS = [("http", "collector"), *(pytest.param("mqtt", part, marks=needs_mosquitto) for part in MqttWay.middles)]


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], HttpWay]]:
    """The ways, each with a real collector that runs from first use to the end of this file."""
    made: dict[str, HttpWay] = {}

    def way(name: str) -> HttpWay:
        if name not in made:
            made[name] = WAYS[name](tmp_path_factory.mktemp(name))
            made[name].start()
        return made[name]

    yield way
    for one in made.values():
        one.close()


@pytest.fixture
def camera(ways: Callable[[str], HttpWay], tmp_path: Path) -> Iterator[Callable[..., Camera]]:
    made: list[Camera] = []

    def make(name: str, **changes: object) -> Camera:
        made.append(Camera(ways(name), tmp_path, **changes))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wait_until(true: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("name", BOTH)
def test_every_record_is_stored_once_in_order_and_with_its_vector(camera: Callable[..., Camera], name: str) -> None:
    device = camera(name)
    device.see(150)
    device.deliver()
    device.assert_all_stored()
    assert device.tally["stored"] == 150
    assert device.tally["requests"] == 3
    sent, embedding, header, unexplained = (
        device.tally[name] for name in ("sent_bytes", "embedding_bytes", "header_bytes", "unexplained_bytes"))
    assert embedding > sum(map(len, device.seen))
    assert (unexplained, embedding + header) == (0, sent)
    assert 0 < header < 1500, "three requests and what opens a connection"


@pytest.mark.parametrize("name", BOTH)
def test_what_is_sent_twice_is_stored_once(camera: Callable[..., Camera], name: str) -> None:
    device = camera(name)
    device.see(20)
    body = encode_batch([address(data, device.spool.name, number) for number, data in device.spool.peek(20)])
    answers = [decode_answer(device.transport.post(body).body) for _ in range(2)]
    assert [{outcome.result for outcome in answer} for answer in answers] == [{"stored"}, {"duplicate"}]
    device.deliver()
    device.assert_all_stored()
    assert device.tally["duplicate"] == 20


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_killed_in_the_middle_of_a_batch_nothing_is_freed_lost_or_stored_twice(
        camera: Callable[..., Camera], name: str, part: str) -> None:
    # Behind a broker nothing says that the collector died: its answer just does not come.
    device = camera(name, timeout_s=2.0 if (name, part) == ("mqtt", "collector") else 20.0)
    device.see(64)
    device.deliver()
    device.see(64)
    # The collector stands still: the batch has left the camera, and the broker has said that it took it.
    device.way.collector.signal(FREEZE)
    before = device.tally["sent_bytes"]
    sending = threading.Thread(target=device.link.step, daemon=True)
    sending.start()
    wait_until(lambda: device.tally["sent_bytes"] - before > 64 * 90)
    if name == "mqtt":
        wait_until(lambda: device.transport.taken)  # type: ignore[attr-defined]
    assert len(device.spool) == 64
    device.way.kill(part)
    if part != "collector":
        device.way.collector.signal(THAW)
        wait_until(lambda: device.way.broker_trouble() != "")
    sending.join(20)
    assert not sending.is_alive()
    assert len(device.spool) == 64
    assert device.link.down_s is not None
    device.way.restart(part)
    assert device.way.broker_trouble() == ""
    device.see(10)
    device.deliver()
    device.assert_all_stored()


@pytest.mark.parametrize("name", BOTH)
def test_a_collector_restarted_in_good_order_is_found_again(camera: Callable[..., Camera], name: str) -> None:
    device = camera(name, timeout_s=2.0)
    device.see(10)
    device.deliver()
    assert device.way.collector.stop() == 0
    device.see(10)
    assert device.link.step() > 0
    assert len(device.spool) == 10
    device.way.restart("collector")
    device.deliver()
    device.assert_all_stored()
    # It waited for no camera that keeps its connection; and of a restart between two batches none is told.
    failures = device.tally["link_failures"]
    assert device.way.collector.stop() == 0
    assert "graceful shutdown exceeded" not in device.way.collector.said
    device.way.restart("collector")
    device.see(10)
    assert device.link.step() == 0.0
    assert device.tally["link_failures"] == failures
    device.assert_all_stored()


@pytest.mark.parametrize("name", BOTH)
def test_an_expired_certificate_at_the_other_end_stops_everything_and_frees_nothing(
        camera: Callable[..., Camera], name: str, said: pytest.LogCaptureFixture) -> None:
    device = camera(name)
    device.see(10)
    device.deliver()
    device.way.expire()
    device.see(10)
    for _ in range(3):
        with pytest.raises(LinkDown, match=r"a certificate that is not trusted \(certificate has expired\)"):
            device.transport.post(b"")
    assert device.link.step() > 0
    assert "certificate has expired" in said.text
    assert len(device.spool) == 10
    device.way.renew()
    device.deliver()
    device.assert_all_stored()


@pytest.mark.parametrize("name", BOTH)
def test_a_device_that_is_no_longer_let_in_keeps_everything_until_it_is(
        camera: Callable[..., Camera], name: str, said: pytest.LogCaptureFixture) -> None:
    device = camera(name)
    device.see(10)
    device.deliver()
    device.way.turn_away()
    device.see(10)
    for _ in range(3):
        device.link.hurry()
        assert device.link.step() > 0
    assert len(device.spool) == 10
    assert "does not know this device's token" in said.text or "lets this certificate in" in said.text
    device.way.admit()      # a new token, or a new certificate, in the same files; nothing is restarted
    device.deliver()
    device.assert_all_stored()


@pytest.mark.parametrize("name", BOTH)
def test_what_the_spool_had_to_drop_is_declared_with_its_range(camera: Callable[..., Camera], name: str) -> None:
    device = camera(name, limit=MIN_BYTES)
    for _ in range(26):
        device.see(64)
    assert device.spool.dropped_count > 0
    device.deliver()
    stored = dict(device.way.journal(device.spool.name))
    gaps = device.way.gaps(device.spool.name)
    lost = {number for first, last, _ in gaps for number in range(first, last + 1)}
    assert sum(count for *_, count in gaps) == len(lost) == device.spool.dropped_count
    assert set(stored) | lost == set(range(1, len(device.seen) + 1))
    assert not set(stored) & lost
    assert list(stored) == sorted(stored)
    assert all(device.seen[number - 1] == vector for number, vector in stored.items())


@needs_mosquitto
def test_a_certificate_of_this_device_that_expired_is_said_and_another_is_taken_without_a_restart(
        camera: Callable[..., Camera], said: pytest.LogCaptureFixture) -> None:
    device = camera("mqtt")
    assert isinstance(device.way, MqttWay)
    device.way.outlive()
    device.see(5)
    assert device.link.step() > 0
    assert "gate.pem expired on 20" in said.text
    assert len(device.spool) == 5
    device.way.admit()
    device.deliver()
    device.assert_all_stored()


@pytest.mark.prove
@pytest.mark.timeout(120 + 40 * KILLS)
@pytest.mark.parametrize(("name", "part"), PARTS)
def test_killed_at_any_moment_nothing_is_lost_or_stored_twice(
        camera: Callable[..., Camera], name: str, part: str) -> None:
    device, rng = camera(name, timeout_s=2.0, batch=8), random.Random(KILLS)
    for _ in range(KILLS if PROVING else 1):    # beside the kill in the middle of a batch, above
        device.see(rng.randint(20, 80))
        killing = threading.Timer(rng.uniform(0.0, 0.2), device.way.kill, (part,))
        killing.start()
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            time.sleep(min(device.link.step(), 0.05))
        killing.join()
        freed = set(range(1, len(device.seen) + 1)) - {number for number, _ in device.spool.peek(10**6)}
        assert freed <= {number for number, _ in device.way.journal(device.spool.name)}
        device.way.restart(part)
    device.deliver(within_s=900.0)
    device.assert_all_stored()
