"""A race is used by the bundle, device, versions and threads it was run with, and by no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import results
from cmnas_edge.engine.results import SAFE, Entrant, Machine, Race, Row, bundle_digest, chosen, keep, race_path
from cmnas_edge.engine.tensorrt.cache import cache_folder
from cmnas_edge.errors import ConfigError, DeviceError
from tests.tiny_bundle import copy_tiny, reseal, with_variant

HERE = Machine("linux-x86_64", "A Fast One", 2, "", {"cmnas-edge": "1", "onnxruntime": "1.31", "openvino": "2026.4"})
INT8 = Entrant("openvino", "int8")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return with_variant(copy_tiny(tmp_path), "int8")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "machine", lambda: HERE)
    return tmp_path / "cache"


@pytest.fixture
def raced(bundle: Bundle, cache: Path) -> Path:
    return write(bundle, cache)


def write(bundle: Bundle, cache: Path, here: Machine = HERE, threads: int = 1) -> Path:
    rows = (Row(SAFE, "2.00x the time of the fastest", {1: 2.0}, 1.0, 1.0, 0.0), Row(INT8, "wins", {1: 1.0}))
    path = race_path(bundle, here, threads, cache)
    keep(Race(date="2026-11-21", name=bundle.name, bundle=bundle_digest(bundle), machine=here, threads=threads,
              rounds=3, batches=(1,), rows=rows, winner=INT8), path)
    return path


def test_a_race_that_was_kept_is_used_and_says_from_when_it_is(bundle: Bundle, cache: Path) -> None:
    write(bundle, cache)
    assert chosen(bundle, 1, cache) == (INT8, "openvino int8, the winner of the race of 2026-11-21", "")


def test_without_a_race_the_safe_engine_serves_and_one_line_says_what_would_choose(bundle: Bundle, cache: Path) -> None:
    choice = chosen(bundle, 2, cache)
    assert choice.entrant == SAFE == ("onnxruntime", "fp32")
    assert str(choice).endswith(f"none of this device as it is now is in {cache / 'races'}: "
                                f"cmnas-edge engine race {bundle.path} --threads 2")
    assert "\n" not in str(choice)


def test_a_service_is_not_told_a_command_that_would_race_for_another_user(
        bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/cmnas-edge")
    assert str(chosen(bundle, 2, cache)).endswith(
        "/races: give the command in the first lines of this service's unit (systemctl cat)")


@pytest.mark.parametrize("other", [
    msgspec.structs.replace(HERE, cpu="A Slow One"), msgspec.structs.replace(HERE, cores=4),
    msgspec.structs.replace(HERE, gpu="orin"), msgspec.structs.replace(HERE, system="linux-aarch64"),
    msgspec.structs.replace(HERE, versions={**HERE.versions, "openvino": "2027.0.0"}),
    msgspec.structs.replace(HERE, versions={**HERE.versions, "cmnas-edge": "2"}),
    msgspec.structs.replace(HERE, power_mode="15W"),
], ids=["processor", "cores", "gpu", "system", "library", "ours", "power mode"])
def test_a_race_of_another_device_or_version_is_not_used(bundle: Bundle, cache: Path, other: Machine) -> None:
    path = write(bundle, cache, other)
    entrant, why, _ = chosen(bundle, 1, cache)
    assert entrant == SAFE
    assert f"is in {cache / 'races'} (1 of another device, version, power mode or number of threads)" in why
    path.rename(race_path(bundle, HERE, 1, cache))      # nor under the name of ours
    assert chosen(bundle, 1, cache).entrant == SAFE


def test_a_race_of_another_bundle_is_not_used(bundle: Bundle, cache: Path) -> None:
    path = write(bundle, cache)
    reseal(bundle.path, lambda manifest: manifest.update(name="another"))
    changed = Bundle.open(bundle.path)
    assert chosen(changed, 1, cache).entrant == SAFE
    path.rename(race_path(changed, HERE, 1, cache))
    assert "of another bundle" in chosen(changed, 1, cache).why


def test_a_race_with_other_threads_is_not_used(bundle: Bundle, cache: Path) -> None:
    path = write(bundle, cache, threads=2)
    assert chosen(bundle, 2, cache).entrant == INT8
    assert chosen(bundle, 1, cache).entrant == SAFE
    path.rename(race_path(bundle, HERE, 1, cache))
    assert chosen(bundle, 1, cache).entrant == SAFE


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:-40], lambda data: b"\xff" + data, lambda data: b"[" * 100_000,
    lambda data: data + b" " * (1 << 20), lambda data: data.replace(b'"schema": 1', b'"schema": 2'),
    lambda data: data.replace(b'"rounds"', b'"round"'), lambda data: data.replace(b'"openvino",', b'"openvinho",'),
], ids=["empty", "cut", "no text", "deep", "huge", "schema", "key", "engine"])
def test_a_damaged_race_is_as_good_as_none_and_the_line_says_so(
        bundle: Bundle, cache: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write(bundle, cache)
    assert damage(path.read_bytes()) != path.read_bytes()
    path.write_bytes(damage(path.read_bytes()))
    entrant, why, _ = chosen(bundle, 1, cache)
    assert entrant == SAFE
    assert f"{path} is " in why
    assert "\n" not in why


@given(st.integers(0, 1 << 20), st.integers(0, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_byte_of_a_race_is_changed_only_who_took_part_and_may_serve_does(
        bundle: Bundle, cache: Path, raced: Path, place: int, byte: int) -> None:
    whole = raced.read_bytes()
    place %= len(whole)
    raced.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1:])
    assert chosen(bundle, 1, cache).entrant in (SAFE, INT8)
    raced.write_bytes(whole)
    assert chosen(bundle, 1, cache).entrant == INT8


@pytest.mark.parametrize("winner", [["openvino", "bf16"], ["tensorrt", "fp32"], None, ["openvino", "fp32"]])
def test_a_winner_that_did_not_take_part_or_may_not_serve_is_not_used(bundle: Bundle, cache: Path, winner: Any) -> None:
    path = write(bundle, cache)
    path.write_text(json.dumps({**json.loads(path.read_text()), "winner": winner}))
    entrant, why, _ = chosen(bundle, 1, cache)
    assert entrant == SAFE
    assert "names a winner that did not take part" in why


def test_a_forged_race_cannot_bring_in_a_precision_that_never_passed_the_gate(bundle: Bundle, cache: Path) -> None:
    path = write(bundle, cache)
    path.write_bytes(path.read_bytes().replace(b'"int8"', b'"bf16"'))
    assert chosen(bundle, 1, cache).entrant == SAFE


def test_races_with_other_threads_stand_beside_each_other(bundle: Bundle, cache: Path) -> None:
    assert write(bundle, cache, threads=1) != write(bundle, cache, threads=2)
    assert [chosen(bundle, threads, cache).entrant for threads in (1, 2, 3)] == [INT8, INT8, SAFE]


def test_a_gpu_that_does_not_answer_is_no_part_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs() -> None:
        raise DeviceError("the GPU does not answer")

    monkeypatch.setattr(results.tensorrt, "missing", lambda: None)
    monkeypatch.setattr(results.tensorrt, "Workplace", hangs)
    assert results.machine().gpu == ""


def test_a_jetson_in_another_power_mode_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = results.machine()
    monkeypatch.setattr(results, "power_mode", lambda: "MAXN")
    assert results.machine() == msgspec.structs.replace(before, power_mode="MAXN") != before


def test_a_file_that_cannot_be_read_is_as_good_as_none(bundle: Bundle, cache: Path) -> None:
    path = write(bundle, cache)
    path.unlink()
    path.mkdir()
    assert chosen(bundle, 1, cache).entrant == SAFE
    assert "cannot be read" in chosen(bundle, 1, cache).why


def test_a_cache_nobody_may_write_to_is_named(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="folder this user may write to, found"):
        write(bundle, tmp_path / "file")


def test_this_machine_is_the_same_machine_a_moment_later() -> None:
    here = results.machine()
    assert here == results.machine()
    assert {"cmnas-edge", "onnxruntime"} <= here.versions.keys()
    assert here.cpu


def test_a_user_without_a_home_runs_the_safe_engine_and_is_told_where_a_race_could_be_kept(
        bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert chosen(bundle, 1).entrant == SAFE
    assert cache_folder() == Path("/nonexistent/.cache/cmnas-edge")
