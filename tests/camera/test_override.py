"""What a file or a message says of a camera's modality: who is believed, and what nonsense does."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.camera.override import Ordered, OrderFile, Orders
from cmnas_edge.camera.settings import SpectrumSettings
from cmnas_edge.camera.spectrum import Spectrum, SpectrumState
from tests.camera.clock import Clock
from tests.camera.footage import grey, room


def test_a_file_is_obeyed_within_a_second_and_a_missing_one_orders_nothing(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "north"
    ordered = OrderFile(path, clock)
    assert ordered() == "auto"
    for text in ("infrared\n", " visible ", "auto", "infrared"):
        path.write_text(text)
        clock.now += 1
        assert ordered() == text.strip()
    path.unlink()
    clock.now += 1
    assert ordered() == "auto"


def test_a_file_is_looked_at_once_a_second(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "north"
    path.write_text("visible")
    ordered = OrderFile(path, clock)
    assert ordered() == "visible"
    path.write_text("infrared")
    clock.now += 0.9
    assert ordered() == "visible"
    clock.now += 0.1
    assert ordered() == "infrared"


@pytest.mark.parametrize("nonsense", [b"night", b"", b"\xff\xfe", b"visible" * 100, b"Infrared!"])
def test_nonsense_in_a_file_is_said_once_and_changes_nothing(
        tmp_path: Path, said: pytest.LogCaptureFixture, nonsense: bytes) -> None:
    clock, path = Clock(), tmp_path / "north"
    path.write_text("infrared")
    ordered = OrderFile(path, clock)
    assert ordered() == "infrared"
    path.write_bytes(nonsense)
    for _ in range(10):
        clock.now += 1
        assert ordered() == "infrared"
    assert len(said.records) == 1
    assert f"{path}: expected one of auto, visible, infrared, found" in said.text
    assert "it stays infrared until that is corrected" in said.text
    path.write_text("visible")
    clock.now += 1
    assert ordered() == "visible"
    path.write_bytes(nonsense)
    for _ in range(2):
        clock.now += 1
        ordered()
    assert len(said.records) == 2


def test_a_file_caught_half_written_is_no_nonsense(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    clock, path = Clock(), tmp_path / "north"
    ordered = OrderFile(path, clock)
    for text, order in (("visible", "visible"), ("infr", "visible"), ("infrared", "infrared"), ("", "infrared"),
                        ("auto", "auto")):
        path.write_text(text)
        clock.now += 1
        assert ordered() == order
    assert said.records == []


@pytest.mark.parametrize("kind", ["folder", "pipe", "unreadable"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, said: pytest.LogCaptureFixture, kind: str) -> None:
    clock, path = Clock(), tmp_path / "north"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)   # leads nowhere but to itself
    ordered = OrderFile(path, clock)
    for _ in range(5):
        clock.now += 1
        assert ordered() == "auto"
    assert len(said.records) == 1


def test_messages_are_believed_of_this_devices_cameras_only_and_nonsense_is_said_once(
        said: pytest.LogCaptureFixture) -> None:
    orders = Orders(["north", "south"])
    orders.tell("north", b"infrared")
    assert (orders.of("north"), orders.of("south")) == ("infrared", "auto")
    for text in (b"night", b"\x00" * 1000, b"night"):
        orders.tell("north", text)
        orders.tell("east", b"visible")
        orders.tell("west", b"visible")
    assert (orders.of("north"), orders.of("east")) == ("infrared", "auto")
    assert len(said.records) == 2   # one for north, one for whatever is not here
    orders.tell("north", b"")       # a retained message that was cleared
    assert orders.of("north") == "auto"


@given(st.lists(st.sampled_from(["auto", "visible", "infrared"]), min_size=3, max_size=3))
def test_the_settings_come_before_the_file_the_file_before_a_message_and_that_before_the_picture(
        said_by: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "north"
        config, in_file, message = said_by
        path.write_text(in_file)
        settings = SpectrumSettings(modality=config, modality_file=path)  # type: ignore[arg-type]
        orders = Orders(["north"])
        orders.tell("north", message.encode())
        spectrum = Spectrum(settings, Ordered("north", settings, orders))
        grey_picture = grey(room())
        for frame in range(20):
            state = spectrum.update(grey_picture, frame / 10)
    assert state.modality == next((word for word in said_by if word != "auto"), "infrared")


def test_who_orders_what_is_logged_when_it_changes(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    orders = Orders(["north"])
    ordered = Ordered("north", SpectrumSettings(), orders)
    with said.at_level(logging.INFO, "cmnas.camera"):
        for text in (b"auto", b"infrared", b"infrared", b"auto", b"auto"):
            orders.tell("north", text)
            ordered()
    assert [record.getMessage() for record in said.records] == [
        "camera north: infrared from now on, as a message says",
        "camera north: nobody orders its modality any more; its pictures decide"]


def test_an_order_switches_at_once_and_its_end_leaves_it_to_the_picture() -> None:
    orders = Orders(["north"])
    spectrum = Spectrum(SpectrumSettings(dwell_s=2.0), Ordered("north", SpectrumSettings(), orders))
    pictures = {"colour": room(), "grey": grey(room())}
    states: list[SpectrumState] = []

    def show(scene: str, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            states.append(spectrum.update(np.asarray(pictures[scene]), len(states) / 10))

    show("colour", 3)
    orders.tell("north", b"infrared")
    show("colour", 3)
    assert states[30] == ("infrared", True)
    assert set(states[31:]) == {("infrared", False)}
    orders.tell("north", b"")
    show("colour", 5)
    assert [state.modality for state in states[60:80]] == [None] * 20
    assert states[-1].modality == "visible"
    assert [row for row, state in enumerate(states) if state.switched] == [4, 30, 80]
