"""Vectors may be kept elsewhere than in the collector's memory; when that is away, searches say so and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmnas_edge.cli import main
from cmnas_edge.collector.gallery import rebuild
from cmnas_edge.collector.matching.index import Index
from cmnas_edge.collector.matching.vectors import F32, Filter, Hit
from cmnas_edge.collector.settings import load
from cmnas_edge.collector.store.elsewhere import elsewhere, owner, server_of
from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.milvus_collection import Server
from cmnas_edge.config import show
from cmnas_edge.errors import ConfigError, LinkDown
from tests.collector.house import House
from tests.collector.people import DIMENSION, FINGERPRINT, People


class Elsewhere:
    """Keeps vectors as a server would, and is away when told so."""

    def __init__(self) -> None:
        self.away, self.held = False, Index(DIMENSION)

    def __len__(self) -> int:
        return len(self.held)

    def adopt(self, held: Index) -> None:
        self.held = held

    def add(self, sighting: int, vector: F32, **given: Any) -> None:
        self.held.add(sighting, vector, **given)

    def delete(self, sightings: Collection[int]) -> int:
        return self.held.delete(sightings)

    def drop_before(self, sighting: int) -> int:
        return self.held.drop_before(sighting)

    def view(self) -> Elsewhere:
        return self

    def search(self, query: F32, k: int, keep: Filter | None = None) -> list[Hit]:
        self._ask()
        return self.held.view().search(query, k, keep)

    def vector(self, sighting: int) -> F32 | None:
        self._ask()
        return self.held.view().vector(sighting)

    def _ask(self) -> None:
        if self.away:
            raise LinkDown("search: http://milvus: expected a Milvus that answers, found: nobody; ask again later")


@pytest.fixture
def there(house: House) -> Elsewhere:
    there = Elsewhere()
    house.gallery.move({FINGERPRINT: there})  # type: ignore[dict-item]
    return there


def search(house: House, sighting: int) -> Any:
    return house.ask("POST", "/v1/search", json={"sighting": sighting})


def test_a_search_while_it_is_away_answers_503_in_a_sentence_and_sightings_are_stored(
        house: House, there: Elsewhere) -> None:
    people = People()
    house.send(*[people.sighting(n % 3, at=100.0 * n, camera="ab"[n % 2]) for n in range(6)])
    house.settle()
    before = search(house, 1).json()["matches"]
    assert before[0]["sighting"]["id"] == 4
    there.away = True
    for asked in ({"sighting": 1}, {"vector": people.vector(1).tolist()}):
        answer = house.ask("POST", "/v1/search", json=asked)
        assert (answer.status_code, answer.json()) == (503, {
            "error": "search: http://milvus: expected a Milvus that answers, found: nobody; ask again later"})
    house.send(people.sighting(1, at=900))
    house.settle()
    assert house.gallery.counts()[0] == 7
    assert house.ask("GET", "/v1/sightings").status_code == 200
    there.away = False
    assert 7 in [match["sighting"]["id"] for match in search(house, 2).json()["matches"]]


def test_what_is_read_again_from_the_journal_is_all_it_keeps(tmp_path: Path) -> None:
    people, there = People(), Elsewhere()
    house = House(tmp_path / "data", hot_window_s=100)
    house.send(*[people.sighting(n, at=10.0 * n) for n in range(5)])
    house.settle()
    house.intake.stop()
    there.held.add(77, np.eye(1, DIMENSION, dtype=np.float32)[0], camera=("gate", "north"), modality="visible",
                   seen_from=0, seen_at=1)
    gallery, _ = rebuild(house.journal, house.gallery.model, since=0, limit=100,
                         elsewhere={FINGERPRINT: there})  # type: ignore[dict-item]
    assert there.held.view().ids().tolist() == [1, 2, 3, 4, 5]
    assert gallery.elsewhere == {FINGERPRINT: there}
    house.journal.close()


def test_erasing_leaves_it_what_is_left(house: House, there: Elsewhere) -> None:
    people = People()
    house.send(*[people.sighting(n, at=10.0 * n, camera="ab"[n % 2]) for n in range(6)])
    house.settle()
    house.intake.erase(Selection(device="gate", camera="b"), "somebody", "why").result(20)
    assert there.held.view().ids().tolist() == [1, 3, 5]
    assert house.gallery.elsewhere == {FINGERPRINT: there}
    house.send(people.sighting(1, at=900))
    house.settle()
    assert len(there) == 4


def settings(folder: Path, *lines: str) -> Path:
    path = folder / "collector.toml"
    path.write_text("\n".join(['data = "data"', *lines]))
    return path


def test_settings_say_where_vectors_are_kept_and_the_token_stays_in_its_file(tmp_path: Path) -> None:
    assert server_of(load(settings(tmp_path))) is None
    lines = ['index = "https://milvus.example:19530"', 'index_token = "milvus.token"', 'index_collection = "north"']
    (tmp_path / "milvus.token").write_text("root:Milvus\n")
    (tmp_path / "milvus.token").chmod(0o644)
    found = load(settings(tmp_path, *lines))
    with pytest.raises(ConfigError, match="expected mode 0600, found 0644"):
        server_of(found)
    (tmp_path / "milvus.token").chmod(0o600)
    assert server_of(found) == Server("https://milvus.example:19530", "root:Milvus", None, "north")
    assert "Milvus" not in show(found)


@pytest.mark.parametrize(("line", "says"), [
    ('index = "http://192.0.2.7:19530"', "vectors would travel there readable; write https://"),
    ('index = "http://localhost.example:19530"', "vectors would travel there readable"),
    ('index = "milvus.example:19530"', "index"), ('index = "https://milvus.example"', "index"),
    ('index_collection = "a-b"', "index_collection")])
def test_an_index_that_cannot_be_or_should_not_be_is_refused(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(settings(tmp_path, line))


def test_a_milvus_on_this_machine_may_be_spoken_to_in_plain_words(tmp_path: Path) -> None:
    for index in ("http://127.0.0.1:19530", "http://localhost:19530", "http://[::1]:19530"):
        assert load(settings(tmp_path, f'index = "{index}"')).index == index
    assert load(settings(tmp_path, 'index = "http://192.0.2.7:19530"', "allow_plain_http_off_loopback = true")).index


def test_a_collector_without_the_package_says_so_at_its_start(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"package pymilvus, found none; run: pip install 'cmnas-edge\[milvus\]'"):
        elsewhere(load(settings(tmp_path, 'index = "http://127.0.0.1:19530"')), {FINGERPRINT: DIMENSION})
    assert elsewhere(load(settings(tmp_path)), {FINGERPRINT: DIMENSION}) == {}


def test_a_look_at_the_settings_says_so_too(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = settings(tmp_path, 'index = "http://127.0.0.1:19530"')
    for found, code in ((None, 78), (object(), 0)):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, found=found: found)
        assert main(["collector", str(path), "--check"]) == code
        assert ("pip install 'cmnas-edge[milvus]'" in capsys.readouterr().err) == bool(code)


def test_what_marks_a_collectors_own_stays_the_same(tmp_path: Path) -> None:
    first = owner(tmp_path)
    assert len(first) == 16
    assert owner(tmp_path) == first
    assert (tmp_path / "index.owner").stat().st_mode & 0o777 == 0o600
