"""One collector compares vectors that one site key has turned, and says so of any other."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from msgspec import structs

from cmnas_edge import cli
from cmnas_edge.sighting import Sighting, key_id
from cmnas_edge.site_key import SiteKey
from cmnas_edge.wire import decode_answer, encode_batch
from tests.collector.house import House
from tests.collector.people import DIMENSION, People
from tests.collector.process import Process

OLD, NEW = SiteKey(bytes(32)), SiteKey(bytes(range(32)))


def turned(sighting: Sighting, key: SiteKey) -> Sighting:
    rotation = key.rotation(DIMENSION)
    return structs.replace(sighting, transform=key.transform, vector=rotation.turn(sighting.vector[None])[0])


def test_turned_vectors_stay_on_the_camera_and_both_sides_say_whose_key_is_asked_for(
        house: House, caplog: pytest.LogCaptureFixture) -> None:
    people = People()
    plain, other = people.sighting(1, at=10), turned(people.sighting(2, at=20), NEW)
    says = (f"transform: expected site key none, found {key_id(NEW.transform)}; vectors of two keys cannot be "
            "compared: give every camera the same key, and the collector its site_key_id")
    assert [(o.sequence, o.result) for o in house.send(plain, other)] == [(plain.sequence, "stored")]
    assert f"gate: cannot take 1 of 2 records for now, which it keeps: {says}" in caplog.text
    answer = house.post(encode_batch([other]))
    assert (answer.status_code, answer.text) == (409, f"{says}\n")
    assert house.journal.count() == 1


def test_a_collector_with_a_key_takes_no_mix_and_loses_nothing_of_it(tmp_path: Path) -> None:
    people = People()
    batch = [turned(people.sighting(1, at=10), NEW), people.sighting(2, at=20), turned(people.sighting(3, at=30), OLD)]
    stored = []
    for key in (NEW.transform, OLD.transform, 0):   # as if the number were changed, and changed back
        house = House(tmp_path / "data", transform=key)
        stored.append([o.sequence for o in house.send(*batch) if o.result == "stored"])
        house.close()
    assert stored == [[batch[row].sequence] for row in (0, 2, 1)]


def test_what_is_wrong_in_another_way_too_is_refused_for_good(house: House) -> None:
    other = structs.replace(turned(People().sighting(1, at=10), NEW), device="yard")
    assert [(o.result, o.reason.partition(":")[0]) for o in house.send(other)] == [("refused", "device")]


def test_one_key_finds_who_is_the_same_and_a_new_one_forgets_everybody(tmp_path: Path) -> None:
    people, found = People(), []
    for at, key in ((100.0, OLD), (200.0, OLD), (300.0, NEW), (400.0, NEW)):
        house = House(tmp_path / "data", transform=key.transform)   # begun again each time, on the same journal
        try:
            (outcome,) = house.send(turned(people.sighting(1, at=at, camera=f"camera {at:.0f}"), key))
            assert outcome.result == "stored"
        finally:
            house.close()
        house = House(tmp_path / "data", transform=key.transform)
        found.append(sorted(len(identity.cameras) for identity in house.gallery.identities().identities))
        house.close()
    assert found == [[1], [2], [1, 2], [2, 2]]


@pytest.mark.parametrize("text", ["0123", "g" * 16, "A" * 16, "0" * 17, "0x" + "0" * 14, "0" * 16])
def test_a_number_that_no_key_has_is_one_sentence(
        text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "collector.toml"
    path.write_text(f'data = "data"\nsite_key_id = "{text}"\n')
    assert cli.main(["collector", str(path), "--check"]) == 78
    said = capsys.readouterr().err
    assert (f"line 2: expected the 16 hexadecimal digits that 'cmnas-edge key show' prints, never all of them 0, or "
            f"nothing where cameras have no key, found '{text}' at site_key_id; correct it") in said
    assert len(said.splitlines()) == 1


def test_the_settings_of_a_collector_say_whose_vectors_it_takes(tmp_path: Path) -> None:
    people = People()
    batch = [people.sighting(1, at=10), turned(people.sighting(2, at=20), NEW)]
    with Process(tmp_path / "collector", f'site_key_id = "{key_id(NEW.transform)}"\n') as process:
        token = process.enrol()
        process.start()
        answer = httpx.post(f"{process.url}/v1/sightings", content=encode_batch(batch), timeout=20,
                            headers={"Authorization": f"Bearer {token}"})
    outcomes = decode_answer(answer.content)
    assert [(outcome.sequence, outcome.result) for outcome in outcomes] == [(batch[1].sequence, "stored")]
