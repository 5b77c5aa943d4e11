"""Whoever scrapes a daemon reads its vitals, all of them, and nothing of anybody who was seen."""

from __future__ import annotations

import builtins
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from cmnas_edge.camera.running.metrics import METRICS, exposition
from cmnas_edge.camera.running.vitals import CameraVitals, Vitals
from cmnas_edge.camera.tally import Count
from cmnas_edge.errors import DeviceError
from cmnas_edge.monitoring.spread import Spread, Spreading

COUNTS = {name: row + 1 for row, name in enumerate(get_args(Count))}
NORTH = CameraVitals(
    name="north", state="live", frame_count=1200, down_count=3, frame_age_s=0.25, dropped_counts={"newer": 7},
    reconnect_count=2, time_source="sender", modality="infrared", switch_count=4, people_count=5, shed_count=6)
SOUTH = CameraVitals(name="south", state="lost", frame_count=0, down_count=9)
VITALS = Vitals(
    cameras=(NORTH, SOUTH), counts=COUNTS, stage_s={"infer": 1.5, "send": 0.5},
    embed_s=Spread((0.01, 0.1), (3, 8, 9), 0.7), batch=Spread((1.0, 8.0), (2, 9, 9), 40.0), spool_count=11,
    spool_bytes=4096, spool_oldest_s=33.5, down_s=60.0, engines={"visible": "onnxruntime fp32"}, bundle="ab12",
    clock_offset_s=-1.25)


def scraped(vitals: Vitals, thermal: Path = Path("/nowhere")) -> Mapping[str, Mapping[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(exposition(lambda: vitals, thermal).page().decode()):
        for sample in family.samples:
            found[sample.name][tuple(sample.labels.values())] = sample.value
    return found


def test_every_vital_is_read_back_from_the_page_under_its_name() -> None:
    page = scraped(VITALS)
    assert page["cmnas_camera_state"]["north", "live"] == 1
    assert sum(page["cmnas_camera_state"].values()) == 2, "each camera is in one state"
    assert page["cmnas_camera_state"]["south", "lost"] == 1
    assert page["cmnas_frames_total"] == {("north",): 1200, ("south",): 0}
    assert page["cmnas_frame_age_seconds"] == {("north",): 0.25}, "no age before the first frame"
    assert page["cmnas_camera_time_source"] == {
        (camera, source): float((camera, source) == ("north", "sender"))    # of the other nobody has said anything yet
        for camera in ("north", "south") for source in ("sender", "arrival", "footage")}
    assert page["cmnas_frames_dropped_total"] == {("north", "newer"): 7}
    assert page["cmnas_camera_down_total"] == {("north",): 3, ("south",): 9}
    assert page["cmnas_reconnects_total"]["north",] == 2
    assert {labels for labels, value in page["cmnas_modality"].items() if value} == {
        ("north", "infrared"), ("south", "unknown")}
    assert page["cmnas_modality_switches_total"]["north",] == 4
    assert page["cmnas_people_in_view"]["north",] == 5
    assert page["cmnas_shed_total"]["north",] == 6
    assert page["cmnas_sightings_total"][()] == COUNTS["sightings"]
    assert page["cmnas_records_total"] == {
        (result,): COUNTS[result] for result in ("stored", "duplicate", "refused", "dropped")}
    assert page["cmnas_embed_seconds_bucket"] == {("0.01",): 3, ("0.1",): 8, ("+Inf",): 9}
    assert (page["cmnas_embed_seconds_sum"][()], page["cmnas_embed_seconds_count"][()]) == (0.7, 9)
    assert page["cmnas_batch_crops_bucket"]["8.0",] == 9
    assert page["cmnas_stage_seconds_total"] == {("infer",): 1.5, ("send",): 0.5}
    assert page["cmnas_engine_failures_total"][()] == COUNTS["engine_failures"]
    assert (page["cmnas_spool_records"][()], page["cmnas_spool_bytes"][()]) == (11, 4096)
    assert page["cmnas_spool_oldest_seconds"][()] == 33.5
    assert page["cmnas_sent_bytes_total"] == {
        (kind,): COUNTS[f"{kind}_bytes"] for kind in ("embedding", "header", "unexplained")}
    assert page["cmnas_requests_total"][()] == COUNTS["requests"]
    assert page["cmnas_link_failures_total"][()] == COUNTS["link_failures"]
    assert page["cmnas_collector_silent_seconds"][()] == 60
    assert page["cmnas_clock_offset_seconds"][()] == -1.25
    assert next(iter(page["cmnas_bundle_info"]))[:3] == ("ab12", "onnxruntime fp32", "visible")
    assert page["process_resident_memory_bytes"][()] > 1e6


def test_no_metric_is_missing_from_the_table_or_beyond_it() -> None:
    page = exposition(lambda: VITALS).page().decode()
    found = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE cmnas_")}
    assert found == {metric.name for metric in METRICS}
    for metric in METRICS:
        assert f"# TYPE {metric.name} {metric.kind}\n" in page


def test_labels_name_cameras_and_states_and_never_a_person() -> None:
    allowed = {"camera", "state", "source", "reason", "modality", "result", "stage", "kind", "zone", "bundle", "engine",
               "version"}
    assert {label for metric in METRICS for label in metric.labels} <= allowed


def test_what_is_not_known_is_left_out_and_what_does_not_wait_is_zero() -> None:
    page = scraped(replace(VITALS, spool_oldest_s=None, down_s=None, clock_offset_s=None))
    assert page["cmnas_clock_offset_seconds"] == {}
    assert page["cmnas_spool_oldest_seconds"][()] == page["cmnas_collector_silent_seconds"][()] == 0


def test_a_cameras_name_cannot_break_the_page() -> None:
    page = scraped(replace(VITALS, cameras=(replace(NORTH, name='a"b\\c\nd'),)))
    assert page["cmnas_frames_total"] == {('a"b\\c\nd',): 1200}


def test_temperatures_are_the_kernels_and_a_zone_that_sleeps_is_left_out(tmp_path: Path) -> None:
    for row, (name, text) in enumerate([("cpu", "51250\n"), ("gpu", "asleep"), ("cpu", "40000")]):
        zone = tmp_path / f"thermal_zone{row}"
        zone.mkdir()
        (zone / "type").write_text(name + "\n")
        (zone / "temp").write_text(text)
    assert scraped(VITALS, tmp_path)["cmnas_temperature_celsius"] == {("cpu",): 51.25, ("thermal_zone2",): 40.0}


def test_without_the_package_one_sentence_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "prometheus_client":
            raise ImportError(name)
        return real(name, *rest)    # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DeviceError, match=r"pip install 'cmnas-edge\[metrics\]'"):
        exposition(lambda: VITALS)


@given(st.lists(st.floats(0, 10), max_size=50))
def test_a_spread_counts_each_value_below_every_bound_it_does_not_exceed(values: list[float]) -> None:
    spreading = Spreading((0.5, 1.0, 5.0))
    for value in values:
        spreading.add(value)
    found = spreading.look()
    assert found.counts == (*(sum(value <= bound for value in values) for bound in found.bounds), len(values))
    assert found.total == pytest.approx(sum(values))


def test_bounds_that_do_not_rise_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="expected bounds that rise"):
        Spreading((1.0, 1.0))
