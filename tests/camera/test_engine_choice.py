"""A camera left to choose takes the winner of its race, or what runs anywhere, and says which and why."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.camera.engines import open_engines
from cmnas_edge.camera.settings import CameraSettings, DeviceSettings, EngineSettings, SourceSettings, load
from cmnas_edge.engine import openvino
from cmnas_edge.engine.results import Entrant, Race, Row, bundle_digest, keep, machine, race_path
from cmnas_edge.errors import ConfigError, DeviceError
from tests.tiny_bundle import copy_tiny, with_variant


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return with_variant(copy_tiny(tmp_path), "int8")


def won(bundle: Bundle, winner: Entrant, threads: int = 1) -> None:
    keep(Race(date="2026-11-21", name=bundle.name, bundle=bundle_digest(bundle), machine=machine(), threads=threads,
              rounds=1, batches=(1,), rows=(Row(winner, "wins", {1: 1.0}),), winner=winner),
         race_path(bundle, machine(), threads))


def serving(bundle: Bundle, engine: EngineSettings) -> set[tuple[str, str]]:
    camera = CameraSettings(name="north", source=SourceSettings(location="walk.avi"))
    settings = DeviceSettings(device="gate", collector="https://middle", token=Path("token"), cameras=(camera,),
                              engine=engine)
    with ExitStack() as opened:
        engines = open_engines(opened, bundle, settings)
        assert set(engines) == {"visible", "infrared"}
        return {(engine.name, engine.precision) for engine in engines.values()}


def test_without_a_race_a_camera_runs_what_runs_anywhere_and_says_what_would_choose(
        bundle: Bundle, said: pytest.LogCaptureFixture) -> None:
    assert serving(bundle, EngineSettings(threads=2)) == {("onnxruntime", "fp32")}
    (line,) = said.messages
    assert line.startswith("engine: onnxruntime fp32, which runs everywhere; ")
    assert line.endswith(f"cmnas-edge engine race {bundle.path} --threads 2")


def test_the_winner_of_the_race_serves(bundle: Bundle, said: pytest.LogCaptureFixture) -> None:
    won(bundle, Entrant("onnxruntime", "int8"))
    assert serving(bundle, EngineSettings()) == {("onnxruntime", "int8")}
    assert said.messages == ["engine: onnxruntime int8, the winner of the race of 2026-11-21"]


def test_a_race_with_other_threads_chooses_nothing(bundle: Bundle) -> None:
    won(bundle, Entrant("onnxruntime", "int8"), threads=2)
    assert serving(bundle, EngineSettings(threads=1)) == {("onnxruntime", "fp32")}


def test_a_winner_that_does_not_open_any_more_gives_way_and_the_log_says_why(
        bundle: Bundle, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    won(bundle, Entrant("openvino", "fp32"))
    monkeypatch.setattr(openvino, "library", lambda: (_ for _ in ()).throw(DeviceError("its libraries are gone")))
    assert serving(bundle, EngineSettings()) == {("onnxruntime", "fp32")}
    assert ("visible: openvino fp32 won the race but cannot be opened (its libraries are gone); "
            "onnxruntime fp32 serves") in said.messages


def test_an_engine_that_was_named_is_taken_at_its_word_whoever_won(
        bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    won(bundle, Entrant("onnxruntime", "int8"))
    assert serving(bundle, EngineSettings(name="onnxruntime")) == {("onnxruntime", "fp32")}
    assert serving(bundle, EngineSettings(name="onnxruntime", precision="int8")) == {("onnxruntime", "int8")}
    monkeypatch.setattr(openvino, "library", lambda: (_ for _ in ()).throw(DeviceError("its libraries are gone")))
    with pytest.raises(DeviceError, match="its libraries are gone"):
        serving(bundle, EngineSettings(name="openvino"))


def test_a_precision_asked_for_while_the_choice_is_left_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text('device = "gate"\ncollector = "https://middle"\ntoken = "gate.token"\n'
                    '[engine]\nprecision = "int8"\n[[cameras]]\nname = "north"\nsource = {location = "a.avi"}\n')
    with pytest.raises(ConfigError, match=r"expected no .engine.precision. with name = .auto.*remove it, or name an"):
        load(path)
