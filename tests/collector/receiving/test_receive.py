"""A device is believed for its token only, and told of each record what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from cmnas_edge import wire
from cmnas_edge.collector.receiving import body as body_module
from cmnas_edge.collector.store.journal import Arrival, Journal
from cmnas_edge.embedding import pack, unpack
from cmnas_edge.errors import DiskFull
from cmnas_edge.sealing import Opener, Sealer
from cmnas_edge.sighting import Gap, Outcome
from tests.collector.house import House
from tests.collector.people import DIMENSION, FINGERPRINT, SPOOL, People

people = People()


def test_a_batch_is_answered_record_by_record(house: House) -> None:
    new, foreign = people.sighting(1, at=10), people.sighting(2, at=20)
    stranger = structs.replace(people.sighting(3, at=30), device="yard")
    other_bundle = structs.replace(foreign, fingerprint=bytes(32))
    gap = Gap(SPOOL, 1000, 1005, 4)
    outcomes = house.send(new, stranger, other_bundle, new, gap)
    assert [o.result for o in outcomes] == ["stored", "refused", "duplicate", "stored"]   # one stays on its camera
    assert [o.sequence for o in outcomes[1:]] == [stranger.sequence, new.sequence, 1005]
    assert "device: expected 'gate'" in outcomes[1].reason
    answer = house.post(wire.encode_batch([other_bundle]))
    assert (answer.status_code, "give both the same bundle" in answer.text) == (409, True)
    assert house.send(new) == [Outcome(SPOOL, new.sequence, "duplicate")]


def test_the_answer_comes_after_the_commit(house: House, tmp_path: Path) -> None:
    (outcome,) = house.send(people.sighting(1, at=10))
    reader = sqlite3.connect(f"file:{tmp_path}/data/journal.sqlite?mode=ro", uri=True)
    try:
        assert reader.execute("SELECT sequence FROM sighting").fetchall() == [(outcome.sequence,)]
        assert reader.execute("SELECT device, vector NOT NULL FROM sighting").fetchall() == [("gate", 1)]
    finally:
        reader.close()


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer nobody", "Basic Z2F0ZTp4", "Bearer " + "x" * 600,
                                    "Bearer \x7f\x80"])
def test_without_the_token_of_an_enrolled_device_nothing_is_read_or_stored(house: House, header: str) -> None:
    house.token()
    body = wire.encode_batch([people.sighting(1, at=10)])
    answer = house.post(body, headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "enrol this device" in answer.text
    assert house.journal.count() == 0


def test_a_rotated_token_ends_the_old_one_at_once(house: House) -> None:
    old = house.token()
    house.devices.enrol("gate", rotate=True)
    body = wire.encode_batch([people.sighting(1, at=10)])
    assert house.post(body, headers={"Authorization": f"Bearer {old}"}).status_code == 401


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_too_long_is_refused_unread(house: House, declared: bool) -> None:
    body = bytes(wire.MAX_BATCH_BYTES + 1)

    async def pieces():  # type: ignore[no-untyped-def]
        for at in range(0, len(body), 65536):
            yield body[at:at + 65536]

    headers = {"Authorization": f"Bearer {house.token()}"}
    answer = house.ask("POST", "/v1/sightings", content=body if declared else pieces(), headers=headers)
    assert answer.status_code == 413
    assert f"at most {wire.MAX_BATCH_BYTES} bytes" in answer.text


@pytest.mark.parametrize("url", ["/v1/sightings", "/v1/search"])
def test_a_body_that_never_comes_is_given_up(house: House, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "BODY_S", 0.05)

    async def pieces():  # type: ignore[no-untyped-def]
        yield b"{"
        await asyncio.Event().wait()

    headers = {"Authorization": f"Bearer {house.token()}", "Content-Type": "application/json"}
    assert house.ask("POST", url, content=pieces(), headers=headers).status_code == 408


@pytest.mark.prove
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400) | st.tuples(st.integers(0, 500), st.integers(0, 255), st.booleans()))
def test_no_body_whatever_is_answered_with_an_error_of_ours(
        house: House, drawn: bytes | tuple[int, int, bool]) -> None:
    if isinstance(drawn, bytes):
        body = drawn
    else:
        at, value, cut = drawn
        whole = wire.encode_batch([people.sighting(1, at=10, sequence=1)], [Gap(SPOOL, 5, 6, 1)])
        at %= len(whole)
        body = whole[:at] if cut else whole[:at] + bytes([value]) + whole[at + 1:]
    answer = house.post(body)
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        wire.decode_answer(answer.content)


def test_a_batch_from_a_later_version_is_refused_with_the_reason_and_stores_the_rest(house: House) -> None:
    known = wire.encode_sighting(people.sighting(1, at=10))
    newer = wire.encode_sighting(people.sighting(2, at=20)) + b"\xa2\x01\x03new"    # field 20
    outcomes = wire.decode_answer(house.post(wire.encode_batch([newer, known])).content)
    assert [o.result for o in outcomes] == ["refused", "stored"]
    assert "unknown field 20" in outcomes[0].reason
    answer = house.post(wire.encode_batch([known]) + b"\x1a\x00")                   # field 3 of a batch
    assert (answer.status_code, "field 3" in answer.text) == (400, True)


def test_a_time_that_cannot_be_is_refused_and_recorded_footage_is_not(house: House) -> None:
    house.now = 10_000
    outcomes = house.send(people.sighting(1, at=house.now + 590),
                          people.sighting(3, at=house.now - 3700, lasting=3601), people.sighting(4, at=1, lasting=100))
    assert [o.result for o in outcomes] == ["stored", "refused", "stored"]
    assert "seen_from: expected at most 3600 s before seen_at" in outcomes[1].reason


def test_a_time_to_come_is_left_on_the_camera_in_the_same_words_each_time_and_stored_once_it_is_here(
        house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.now = 10_000
    now, ahead, further = (people.sighting(n, at=at) for n, at in ((1, 10_590), (2, 10_601), (3, 99_999)))
    assert [(o.sequence, o.result) for o in house.send(ahead, now, further)] == [(now.sequence, "stored")]
    assert "gate: cannot take 2 of 3 records for now, which it keeps: seen_at: expected at most 600 s" in caplog.text
    answers = {(answer.status_code, answer.text) for answer in (house.post(wire.encode_batch([one]))
                                                                for one in (ahead, further))}
    ((status, said),) = answers
    assert status == 409
    assert "set both clocks by one source (NTP)" in said
    house.now += 1000
    assert [(o.sequence, o.result) for o in house.send(ahead, further)] == [(ahead.sequence, "stored")]


def test_a_time_to_come_that_is_wrong_in_another_way_too_is_refused_for_good(house: House) -> None:
    (outcome,) = house.send(people.sighting(1, at=house.now + 601, lasting=3601))
    assert (outcome.result, outcome.reason.partition(":")[0]) == ("refused", "seen_from")


def test_a_loss_that_cannot_be_is_refused(house: House) -> None:
    outcomes = house.send(Gap(SPOOL, 1, 2**62, 2**62), Gap(SPOOL, 1, 2**62, 3), Gap(SPOOL, 5, 6, 3))
    assert [o.result for o in outcomes] == ["refused", "stored", "refused"]


def test_a_device_can_invent_only_so_many_cameras(tmp_path: Path) -> None:
    house = House(tmp_path / "data", hot_window_s=100.0)
    results = [outcome.result for start in (0, 35) for outcome in house.send(
        *[people.sighting(1, at=1000, camera=f"c{n}") for n in range(start, start + 35)])]
    assert results == ["stored"] * 64 + ["refused"] * 6
    (refused,) = house.send(people.sighting(1, at=1000, camera="one more"))
    assert "camera: expected one of the 64" in refused.reason
    assert house.send(people.sighting(1, at=1000, camera="c1"))[0].result == "stored"
    assert house.send(people.sighting(1, at=1000, device="yard"), device="yard")[0].result == "stored"
    house.settle()
    assert len(house.gallery.cameras(house.now).cameras) == 65
    house.close()
    again = House(tmp_path / "data", hot_window_s=100.0)      # and a restart forgets none
    assert again.send(people.sighting(1, at=1000, camera="one more"))[0].result == "refused"
    again.now += 101
    assert again.send(people.sighting(1, at=1000, camera="one more"))[0].result == "stored"
    again.settle()
    again.settle()
    assert [c.camera for c in again.gallery.cameras(again.now).cameras] == ["one more"]
    again.close()


def test_a_full_disk_is_answered_503_and_the_same_batch_later_is_stored(tmp_path: Path) -> None:
    stored, full = 0, Journal(tmp_path / "data", limit_mib=1)
    with contextlib.suppress(DiskFull):
        while True:
            full.append([Arrival("gate", [people.sighting(1, at=10) for _ in range(64)], -1e9)])
            stored += 64
    full.close()
    house = House(tmp_path / "data", limit_mib=1)
    batch = wire.encode_batch([people.sighting(1, at=10) for _ in range(64)])
    answer = house.post(batch)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert house.ask("GET", "/v1/health").json()["status"] == "full"
    assert "no room for more sightings" in house.ask("GET", "/v1/health").json()["message"]
    house.close()
    house = House(tmp_path / "data")
    assert house.journal.count() == stored
    assert {o.result for o in wire.decode_answer(house.post(batch).content)} == {"stored"}
    assert house.ask("GET", "/v1/health").json()["status"] == "ok"
    house.close()


def test_a_damaged_list_of_devices_is_503_and_never_a_crash(house: House, tmp_path: Path) -> None:
    house.token()
    (tmp_path / "data" / "devices.json").write_text("{")
    answer = house.post(b"")
    assert answer.status_code == 503
    assert "{" not in answer.text


def test_devices_that_send_at_the_same_time_share_commits(house: House) -> None:
    gate, commits, append = threading.Event(), [], house.journal.append

    def slow(arrivals, links=()):  # type: ignore[no-untyped-def]
        if arrivals:
            gate.wait(10)
            commits.append(len(arrivals))
        return append(arrivals, links)

    house.journal.append = slow  # type: ignore[method-assign]
    futures = [house.intake.offer(Arrival(f"d{number}", [people.sighting(number, at=10)], 5.0))
               for number in range(10)]
    gate.set()
    assert all(len(future.result(10)) == 1 for future in futures)
    assert sum(commits) == 10
    assert len(commits) <= 2


def test_sealed_vectors_are_opened_to_be_stored_and_those_of_a_key_not_here_stay_on_the_camera(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = [X25519PrivateKey.generate() for _ in range(3)]
    old, new, lost = (Sealer(key.public_key().public_bytes_raw()) for key in keys)
    house = House(tmp_path / "data", opener=Opener(keys[:2]))
    seen = [people.sighting(number, at=10 + number) for number in range(4)]
    bodies = [wire.encode_sighting(one, sealer) for one, sealer in zip(seen, (old, new, lost, None), strict=True)]
    outcomes = wire.decode_answer(house.post(wire.encode_batch(bodies)).content)
    # Nothing is said of the third, so nothing frees it.
    assert [(o.sequence, o.result) for o in outcomes] == [(seen[row].sequence, "stored") for row in (0, 1, 3)]
    assert "cannot take 1 of 4 records for now, which it keeps: seal: expected one this collector has" in caplog.text
    assert "gate: sends vectors open; set seal_to" in caplog.text
    answer = house.post(wire.encode_batch(bodies[2:3]))
    assert (answer.status_code, "seal_keys" in answer.text) == (409, True)
    stored = [vector for _, vector in house.journal.sightings(FINGERPRINT, DIMENSION, since=0, most=10)]
    np.testing.assert_array_equal(stored, unpack(pack(np.stack([seen[row].vector for row in (0, 1, 3)]), "fp16"),
                                                 "fp16", DIMENSION))
    house.close()
    again = House(tmp_path / "data", opener=Opener(keys))
    assert [o.result for o in wire.decode_answer(again.post(wire.encode_batch(bodies)).content)] == [
        "duplicate", "duplicate", "stored", "duplicate"]
    again.close()


def test_a_collector_told_so_refuses_open_vectors(tmp_path: Path) -> None:
    key = X25519PrivateKey.generate()
    house = House(tmp_path / "data", opener=Opener([key]), only_sealed=True)
    one = people.sighting(1, at=10)
    assert [(o.result, "set seal_to" in o.reason) for o in house.send(one)] == [("refused", True)]
    body = wire.encode_batch([wire.encode_sighting(one, Sealer(key.public_key().public_bytes_raw()))])
    assert [o.result for o in wire.decode_answer(house.post(body).content)] == ["stored"]
    house.close()


def test_no_vector_and_no_key_stands_in_a_log_or_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = X25519PrivateKey.generate()
    house = House(tmp_path / "data", opener=Opener([key]))
    one = people.sighting(1, at=10)
    body = bytearray(wire.encode_sighting(one, Sealer(key.public_key().public_bytes_raw())))
    body[body.index(b"north")] ^= 1     # "oorth": the seal no longer holds
    answer = house.post(wire.encode_batch([bytes(body)]))
    assert wire.decode_answer(answer.content)[0].reason.startswith("seal: expected one unbroken")
    said = caplog.text + answer.text
    for secret in (key.private_bytes_raw(), pack(one.vector[None], "fp16")[0], np.array(one.vector).tobytes()):
        assert secret.hex() not in said
        assert str(secret)[2:40] not in said
    assert f"{one.vector[0]:.4f}" not in said
    house.close()
