"""Anybody hears in one word whether a collector does its work; who asks on its own machine, why not."""

from __future__ import annotations

import asyncio
import builtins
import http.client
import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cmnas_edge.cli import main
from cmnas_edge.collector import settings as collector_settings
from cmnas_edge.collector import views
from cmnas_edge.collector.store.upkeep import UpkeepView
from cmnas_edge.collector.web.condition import Condition, troubles
from cmnas_edge.collector.web.metrics import METRICS, MOST_CAMERAS, exposition
from cmnas_edge.errors import ConfigError, DiskFull
from cmnas_edge.sighting import Gap
from tests.collector.house import House
from tests.collector.people import SPOOL, People
from tests.collector.process import Process

WELL = views.Health(
    status="ok", message="", version="1", now=5000.0, started_at=1.0, fingerprint="ab" * 32, dimension=16,
    calibrated_on="drawn", thresholds={}, stored_count=70, taken_count=7, hot_count=60, behind_count=3, behind_s=2.5,
    hot_window_h=1.0, identity_count=9, device_count=2, broker="", index="",
    retention=UpkeepView(72.0, 4000.0, None, 11, ""), journal_bytes=4096, free_bytes=8192)


def but(**changed: Any) -> views.Health:
    return msgspec.structs.replace(WELL, **changed)


ANYWHERE = [
    {}, {"client": "192.0.2.7"}, {"headers": {"Host": "balancer.example"}},
    {"headers": {"X-Forwarded-For": "198.51.100.1", "Via": "1.1 balancer"}, "client": "192.0.2.7"},
    {"headers": {"Cookie": "cmnas-session-8700=cmnas_x"}}, {"headers": {"Origin": "https://elsewhere.example"}}]


@pytest.mark.parametrize("given", ANYWHERE, ids=str)
@pytest.mark.parametrize("enrolled", [False, True])
def test_anybody_is_told_one_word_and_nothing_else(house: House, given: dict[str, Any], enrolled: bool) -> None:
    if enrolled:
        house.people.add("anna", "viewer", "")
    for trouble, status, said in (("", 200, "ok\n"), ("/var/lib/secret: no room for anna", 503, "degraded\n")):
        house.intake.full = trouble
        house.api.condition._known = (float("-inf"), house.api.condition._known[1])
        answer = house.ask("GET", "/healthz", **given)
        assert (answer.status_code, answer.text) == (status, said)
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers
        assert house.ask("HEAD", "/healthz", **given).status_code == status
    assert house.ask("POST", "/healthz", **given).status_code in (401, 403, 405)
    assert house.ask("GET", "/v1/health", client="192.0.2.7").status_code in (401, 403)     # and no more than before


def test_it_is_asked_of_as_often_as_one_likes_and_looked_at_once_a_second() -> None:
    now, looks = 10.0, 0

    def health() -> views.Health:
        nonlocal looks
        looks += 1
        return but(status="full", message="no room") if looks == 2 else WELL

    condition = Condition(health, lambda: True, clock=lambda: now)
    assert [condition.ready().well for _ in range(50)] == [True] * 50
    assert looks == 1
    now = 11.0
    assert condition.ready() == (False, ("storing: no room",))
    now = 11.9
    assert not condition.ready().well
    now = 12.0
    assert asyncio.run(condition.serve(SimpleNamespace())).body == b"ok\n"  # type: ignore[arg-type]


def test_who_asks_while_somebody_looks_hears_what_was_so_before_and_does_not_wait() -> None:
    now, looking, over = 10.0, threading.Event(), threading.Event()

    def health() -> views.Health:
        looking.set()
        assert over.wait(20)
        return but(index="away")

    condition = Condition(health, lambda: True, clock=lambda: now)
    first = threading.Thread(target=condition.ready)
    first.start()
    assert looking.wait(20)
    assert condition.ready().well       # a disk that hangs holds up one, not all
    over.set()
    first.join(20)
    assert not condition.ready().well


@pytest.mark.parametrize(("changed", "part"), [
    ({"status": "full", "message": "why"}, "storing"), ({"status": "refusing", "message": "why"}, "devices"),
    ({"behind_s": 61.0}, "matching"), ({"broker": "why"}, "broker"), ({"index": "why"}, "index"),
    ({"retention": UpkeepView(72.0, None, None, 0, "why")}, "retention")])
def test_each_part_in_trouble_is_named_and_only_what_keeps_from_storing_and_finding_degrades(
        changed: dict[str, Any], part: str) -> None:
    assert troubles(WELL) == {}
    assert troubles(but(**changed)).keys() == {part}
    verdict = Condition(lambda: but(**changed), lambda: True).ready()
    assert verdict.well == (part == "retention")
    assert [reason.partition(":")[0] for reason in verdict.reasons] == ([] if verdict.well else [part])


def test_a_collector_that_stores_no_more_or_cannot_even_say_how_it_is_is_not_well() -> None:
    def broken() -> views.Health:
        raise DiskFull("journal: no room")

    assert Condition(broken, lambda: True).ready() == (False, ("storing: journal: no room",))
    ended = Condition(lambda: WELL, lambda: False)
    assert not ended.alive().well
    assert ended.ready() == ended.alive()
    assert Condition(lambda: WELL, lambda: True).alive().well


def scraped(page: bytes) -> Mapping[str, Mapping[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            found[sample.name][tuple(sample.labels.values())] = sample.value
    return found


def test_every_figure_is_read_back_from_the_page_under_its_name(house: House) -> None:
    people = People()
    house.send(*[people.sighting(n, at=1980.0 + n, camera=camera) for n, camera in enumerate(["north", "south"])])
    house.send(Gap(SPOOL, 500, 509, 7))
    house.settle()
    health, cameras = house.api.health(views.Nothing()), house.api.cameras(views.Nothing())
    page = scraped(exposition(lambda: health, lambda: cameras).page())
    assert page["cmnas_collector_taken_total"][()] == 2 == health.taken_count
    assert page["cmnas_collector_identities"][()] == health.identity_count > 0
    assert page["cmnas_collector_camera_heard_seconds"] == {("north", "gate"): 0.0, ("south", "gate"): 0.0}
    assert page["cmnas_collector_camera_lag_seconds"]["north", "gate"] == 18.0
    assert page["cmnas_collector_lost_sightings"] == {("gate",): 7}
    assert "cmnas_collector_retention_seconds" not in page, "this one keeps them without end"
    page = scraped(exposition(lambda: but(index="away"), lambda: cameras).page())
    assert (page["cmnas_collector_ok"][()], page["cmnas_collector_trouble"]["index",]) == (0, 1)
    assert sum(page["cmnas_collector_trouble"].values()) == 1
    plain = {"taken_total": 7, "removed_total": 11, "stored_sightings": 70, "hot_sightings": 60, "identities": 9,
             "behind_sightings": 3, "behind_seconds": 2.5, "oldest_seconds": 1000, "retention_seconds": 72 * 3600,
             "journal_bytes": 4096, "free_bytes": 8192, "devices": 2}
    assert {name: page[f"cmnas_collector_{name}"][()] for name in plain} == plain
    assert page["process_resident_memory_bytes"][()] > 1e6


def test_no_metric_is_missing_from_the_table_and_a_device_cannot_make_the_page_endless() -> None:
    camera = views.Camera(device="gate", camera="", state="live", modality="visible", modalities=[], last_seen_at=1.0,
                          last_received_at=1.0, lag_s=0.0, recorded=False, sighting_count=1, lost_count=0,
                          engine="onnxruntime", precision="fp32")
    many = [msgspec.structs.replace(camera, camera=f"made up {n}") for n in range(MOST_CAMERAS + 50)]
    page = exposition(lambda: WELL, lambda: views.CameraList(many, [], 5.0)).page()
    found = re.findall(r"^# TYPE (cmnas_\w+) (\w+)", page.decode(), re.MULTILINE)
    assert found == [(metric.name, metric.kind) for metric in METRICS]
    assert len(scraped(page)["cmnas_collector_camera_sightings"]) == MOST_CAMERAS


def test_a_running_collector_answers_on_its_machine_without_a_log_in(tmp_path: Path) -> None:
    with Process(tmp_path / "collector", 'health = "127.0.0.1:0"\n') as collector:
        collector.command("person", "add", "anna", "--role", "viewer", "--no-password", "--config",
                          str(collector.config))
        token = collector.enrol()
        collector.start()
        port = int(re.search(r"/readyz at port (\d+)", collector.said)[1])  # type: ignore[index]
        collector.send(token, [People().sighting(1, at=1990.0)])

        def ask(path: str) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

        assert ask("/healthz") == (200, b"ok\n")
        assert ask("/readyz") == (200, b"ok\n")
        assert ask("/v1/health")[0] == 404      # pages and API have a port of their own
        assert scraped(ask("/metrics")[1])["cmnas_collector_taken_total"][()] == 1
        assert collector.stop() == 0


def test_other_machines_ask_there_only_where_the_settings_say_so(tmp_path: Path) -> None:
    path = tmp_path / "collector.toml"
    path.write_text('data = "data"\nhealth = "0.0.0.0:9465"\n')
    with pytest.raises(ConfigError, match=r"health: expected an address of this machine alone"):
        collector_settings.load(path)
    path.write_text('data = "data"\nhealth = "0.0.0.0:9465"\nallow_health_off_loopback = true\n')
    assert collector_settings.load(path).health == "0.0.0.0:9465"


def test_a_look_at_the_settings_says_that_the_package_is_missing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "collector.toml"
    path.write_text('data = "data"\nhealth = "127.0.0.1:9465"\n')
    whole = builtins.__import__

    def without(name: str, *given: Any, **more: Any) -> Any:
        if name == "prometheus_client":
            raise ImportError(name)
        return whole(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["collector", str(path), "--check"]) == 69
    assert "pip install 'cmnas-edge[metrics]'" in capsys.readouterr().err
