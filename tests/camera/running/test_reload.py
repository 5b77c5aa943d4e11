"""Settings read again take effect where they can; where they cannot, the old ones stay and that is said."""

from __future__ import annotations

import copy
from pathlib import Path

import msgspec
from msgspec.structs import replace

from cmnas_edge.camera.running.reload import LIVE, compare
from cmnas_edge.camera.settings import CameraSettings, DeviceSettings, EngineSettings, LinkSettings, SourceSettings

OLD = DeviceSettings(device="gate", collector="http://127.0.0.1:8700", token=Path("/a"), cameras=tuple(
    CameraSettings(name=name, source=SourceSettings(location=f"rtsp://u:hunter2@10.0.0.7/{name}"))
    for name in ("north", "south")))


def every_key(kind: type[msgspec.Struct], prefix: str = "") -> set[str]:
    found = set()
    for field in msgspec.structs.fields(kind):
        inner = CameraSettings if prefix + field.name == "cameras" else field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found |= every_key(inner, f"{prefix}{field.name}.")
        else:
            found.add(prefix + field.name)
    return found


def test_every_live_setting_is_one_there_is() -> None:
    assert every_key(DeviceSettings) >= LIVE


def test_nothing_new_is_said_to_be_nothing() -> None:
    change = compare(OLD, copy.deepcopy(OLD))
    assert change.settings == OLD
    assert str(change) == "nothing has changed"


def test_what_can_change_changes_and_what_cannot_stays() -> None:
    north = replace(OLD.cameras[0], select=replace(OLD.cameras[0].select, min_height=99),
                    source=replace(OLD.cameras[0].source, location="rtsp://u:hunter2@10.0.0.8/"))
    new = replace(OLD, status_s=5.0, token=Path("/b"), engine=EngineSettings(threads=4),
                  link=LinkSettings(batch=8, seal_to="0" * 64), cameras=(north, OLD.cameras[1]))
    change = compare(OLD, new)
    assert (change.settings.status_s, change.settings.token, change.settings.link.batch) == (5.0, Path("/b"), 8)
    assert change.settings.cameras[0].select.min_height == 99
    assert change.settings == replace(OLD, status_s=5.0, token=Path("/b"), link=LinkSettings(batch=8), cameras=(
        replace(OLD.cameras[0], select=north.select), OLD.cameras[1]))
    assert set(change.live) == {"token", "link.batch", "status_s", "camera 'north' select.min_height"}
    assert set(change.kept) == {"engine.threads", "link.seal_to", "camera 'north' source.location"}
    said = str(change)
    assert said.startswith("now in effect: ")
    assert "; as before until a new start: " in said
    assert "hunter2" not in said


def test_a_camera_more_or_less_needs_a_new_start_and_the_others_are_adjusted() -> None:
    south = replace(OLD.cameras[1], select=replace(OLD.cameras[1].select, period_s=3.0))
    change = compare(OLD, replace(OLD, cameras=(south,)))
    assert [camera.name for camera in change.settings.cameras] == ["north", "south"]
    assert change.settings.cameras[1].select.period_s == 3.0
    assert change.kept == ["which cameras there are"]


def test_the_order_of_cameras_means_nothing() -> None:
    assert str(compare(OLD, replace(OLD, cameras=OLD.cameras[::-1]))).endswith("nothing has changed")
