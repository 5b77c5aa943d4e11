"""What an operator writes is taken as meant or refused with a sentence that says where."""

from __future__ import annotations

import ast
import inspect
import os
from pathlib import Path

import msgspec
import pytest

from cmnas_edge import config
from cmnas_edge.camera import settings as module
from cmnas_edge.camera.settings import DeviceSettings, load
from cmnas_edge.errors import ConfigError

SMALLEST = """
device = "gate"
collector = "https://collector.example:8700"
token = "gate.token"

[[cameras]]
name = "north"
source = {location = "rtsp://admin:hunter2@10.0.0.7/live"}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "gate.toml"
    path.write_text(text)
    return path


def test_the_smallest_file_is_the_one_the_module_shows_and_everything_else_has_a_default(tmp_path: Path) -> None:
    shown = inspect.cleandoc((module.__doc__ or "").partition("::")[2])
    for text in (SMALLEST, shown):
        settings = load(write(tmp_path, text))
        assert settings.cameras[0].name == "north"
        assert settings.spool.path == tmp_path / "spool.db"
        assert settings.token == tmp_path / "gate.token"


def test_recordings_are_found_beside_the_settings_and_urls_left_as_they_are(tmp_path: Path) -> None:
    text = SMALLEST + """
[[cameras]]
name = "clip"
source = {location = "footage/a.avi"}
[[cameras]]
name = "usb"
source = {location = "/dev/video0"}
"""
    north, clip, usb = load(write(tmp_path, text)).cameras
    assert north.source.location == "rtsp://admin:hunter2@10.0.0.7/live"
    assert clip.source.location == str(tmp_path / "footage/a.avi")
    assert usb.source.location == "/dev/video0"


def test_shown_settings_can_be_read_back_and_hold_no_password(tmp_path: Path) -> None:
    settings = load(write(tmp_path, SMALLEST))
    shown = config.show(settings)
    assert "hunter2" not in shown
    again = load(write(tmp_path, shown))
    assert config.show(again) == shown


@pytest.mark.parametrize(("text", "says"), [
    (SMALLEST.replace("device", "devise"), r"gate\.toml: line 2: unknown key 'devise'; did you mean 'device'"),
    (SMALLEST + "detector = {kindd = 'onnx'}\n", "unknown key 'kindd'.*did you mean 'kind'"),
    (SMALLEST.replace('"north"', '"../etc"'), "line 7"),
    (SMALLEST.replace("[[cameras]]", "[[camera]]"), "unknown key 'camera'"),
    (SMALLEST.partition("[[")[0], "cameras"),
    (SMALLEST.partition("[[")[0] + "cameras = []\n", "length >= 1"),
    (SMALLEST + SMALLEST.partition("\n\n")[2], "found two called 'north'"),
    (SMALLEST + "spectrum = {visible_above = 2.0}\n", "infrared_below not above spectrum.visible_above"),
    (SMALLEST + "track = {low_score = 0.9}\n", "low_score not above track.high_score"),
    (SMALLEST + "select = {min_aspect = 9.0}\n", "min_aspect not above"),
    (SMALLEST + "ignore = [[[0, 0], [1, 1]]]\n", "polygons of at least 3 points"),
    (SMALLEST + "ignore = [[[0, 0], [640, 0], [640, 480]]]\n", r"shares of the frame \(0 to 1\)"),
    (SMALLEST.replace("rtsp://admin:hunter2@10.0.0.7/live", ""), "expected a file, folder or URL"),
    (SMALLEST.replace("live\"", "live\", kind = \"video\""), "source.kind: expected \"url\""),
    (SMALLEST.replace("rtsp://admin:hunter2@10.0.0.7/live", "~nobodyx/a.avi"),
     "line 8: source.location: expected a path, found '~nobodyx/a.avi', whose user does not exist"),
    (SMALLEST.replace("rtsp://admin:hunter2@10.0.0.7/live", "a\\u0000.avi"), "line 8: source.location: expected a"),
    (SMALLEST.replace('"gate"', '"gate\\n"'), "line 2"),
    (SMALLEST.replace("live\"", "live\", starts_at = 1700000000000.0"), "starts_at"),  # milliseconds
    (SMALLEST.replace("live\"", "live\", starts_at = -1.0"), "starts_at"),
    (SMALLEST.replace("live\"", "live\", fps = 1e-300"), "fps"),
    (SMALLEST + "[spool]\nmib = 1\n", "mib"),
    (SMALLEST + "[link]\nbatch = 65\n", "batch"),
    (SMALLEST + "select = {view_count = 17}\n", "expected a whole number <= 16, found 17 at cameras"),
    ('data = "/var/lib/x"\nlisten = "127.0.0.1:1"\n',
     "expected settings of a device .*found a collector's .*; name a device's file"),
    ('data = "/var/lib/x"\n' + SMALLEST, "line 1: unknown key 'data'"),
    (SMALLEST + "[link]\ntimeout_s = 0\n", "timeout_s"),
    ("device = \n", "not valid TOML"),
])
def test_what_cannot_be_meant_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        load(write(tmp_path, text))
    assert str(raised.value).startswith(str(tmp_path / "gate.toml"))
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(("text", "line", "says"), [
    (SMALLEST + SMALLEST.partition("\n\n")[2], 10, "found two called 'north'"),
    (SMALLEST + "[cameras.spectrum]\ndwell_s = 1.0\ninfrared_below = 50.0\n", 11, "spectrum.infrared_below not above"),
    (SMALLEST + "track = {low_score = 0.9}\n", 9, "camera 'north': expected track.low_score"),
    (SMALLEST + "ignore = [\n[[0, 0], [1, 1]]]\n", 9, "polygons"),
    (SMALLEST + "[engine]\nthreads = 1\nprecision = 'fp16'\n", 11, "engine.precision"),
    ("engine.batch_wait_s = 9.0\n" + SMALLEST, 1, "at most half of 'engine.budget_s'"),
    (SMALLEST.replace("\n\n[", "\nhealth = 'here'\n\n["), 5, "health: expected a numeric address and a port"),
    (SMALLEST.replace("\n\n[", "\nhealth = '0.0.0.0:9464'\n\n["), 5, "health: expected an address of this machine"),
])
def test_what_contradicts_itself_is_refused_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        load(write(tmp_path, text))
    assert str(raised.value).startswith(f"{tmp_path}/gate.toml: line {line}: ")


@pytest.mark.parametrize(("text", "line", "says"), [
    ("trace = 'gate.token'\n", 1, "expected 'trace' to name another file than 'token', found .*gate.token for both"),
    ("report = 'gate.toml'\n", 1, "expected 'report' to name another file than the settings file itself"),
    ("report = 'a/../gate.toml'\n", 1, "than the settings file itself"),
    ("spool.path = 'gate.token'\n", 1, "expected 'spool.path' to name another file than 'token'"),
    ("token = 'gate.toml'\n", 1, "expected 'token' to name another file than the settings file itself"),
    ("site_key = 'gate.token'\n", 1, "expected 'site_key' to name another file than 'token'"),
    ("link.sent_log = 'ca.pem'\nlink.certificate_authority = 'ca.pem'\n", 1, "than 'link.certificate_authority'"),
    ("link.sent_log = 'a'\nlink.sent_log_tls_keys = 'a'\n", 2, "than 'link.sent_log'"),
    ("report = 'a'\ntrace = 'a'\n", 1, "expected 'report' to name another file than 'trace'"),
    ("trace = 'word'\n", 10, "expected 'spectrum.modality_file' to name another file than 'trace'"),
    ("trace = 'clip.avi'\n", 13, "expected 'source.location' to name another file than 'trace'"),
    ("trace = 'link'\n", 1, "expected 'trace' to name another file than 'token', found .*link for both"),
    ("spool.path = '/dev/null'\n", 1, "expected 'spool.path' to name a file, or nothing yet, found a device"),
    ("trace = '/dev/full'\n", 1, "expected 'trace' to name a file, or nothing yet, found a device"),
    ("report = 'pipe'\n", 1, "expected 'report' to name a file, or nothing yet, found a device, pipe or socket"),
    ("link.sent_log = '/dev/null'\n", 1, "expected 'link.sent_log' to name a file"),
    ("trace = '.'\n", 1, "found a folder"),
])
def test_a_file_that_is_written_is_nobody_elses_and_no_device(
        tmp_path: Path, text: str, line: int, says: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("gate.token")
    (tmp_path / "gate.token").write_text("secret")
    plain = SMALLEST.replace('token = "gate.token"\n', "") if text.startswith("token") else SMALLEST
    both = """spectrum = {modality_file = "word"}
[[cameras]]
name = "south"
source = {location = "clip.avi"}
"""
    with pytest.raises(ConfigError, match=says) as raised:
        load(write(tmp_path, text + plain + both))
    assert str(raised.value).startswith(f"{tmp_path}/gate.toml: line {line}: ")
    assert (tmp_path / "gate.token").read_text() == "secret"


def test_what_is_only_read_may_serve_twice(tmp_path: Path) -> None:
    twice = """spectrum = {modality_file = "word"}
[[cameras]]
name = "south"
source = {location = "clip.avi"}
detector = {kind = "boxes", path = "boxes.jsonl"}
[[cameras]]
name = "west"
source = {location = "clip.avi"}
detector = {kind = "boxes", path = "boxes.jsonl"}
spectrum = {modality_file = "word"}
[link]
certificate = "gate.pem"
certificate_key = "gate.pem"
"""
    assert len(load(write(tmp_path, SMALLEST + twice)).cameras) == 3


def test_other_machines_may_ask_how_it_is_if_the_settings_say_so_in_words(tmp_path: Path) -> None:
    open_to_all = "health = '0.0.0.0:9464'\nallow_health_off_loopback = true\n" + SMALLEST
    assert load(write(tmp_path, open_to_all)).health == "0.0.0.0:9464"


def test_every_number_has_a_finite_end() -> None:
    def ends(kind: msgspec.inspect.Type, where: str) -> None:
        match kind:
            case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
                assert where == "cameras.ignore" or (kind.ge is not None and kind.le is not None), where
                assert kind.le is None or kind.le < 2**33, where
            case msgspec.inspect.StructType():
                for field in kind.fields:
                    ends(field.type, f"{where}.{field.name}".lstrip("."))
            case msgspec.inspect.UnionType():
                for one in kind.types:
                    ends(one, where)
            case msgspec.inspect.VarTupleType():
                ends(kind.item_type, where)
            case msgspec.inspect.TupleType():
                for one in kind.item_types:
                    ends(one, where)

    ends(msgspec.inspect.type_info(DeviceSettings), "")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: expected a settings file, found none"):
        load(tmp_path / "none.toml")


def test_every_setting_is_documented_where_it_is_defined() -> None:
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            doc = ast.get_docstring(node) or ""
            fields = {f.encode_name for f in msgspec.structs.fields(getattr(module, node.name))}
            documented = {line.split(":")[0].strip() for line in doc.partition("Attributes:")[2].splitlines()
                          if ": " in line and line.startswith("    ") and not line.startswith("     ")}
            assert documented == fields, node.name


def test_every_settings_struct_refuses_unknown_keys_and_cannot_change() -> None:
    def structs(kind: type[msgspec.Struct]) -> None:
        assert kind.__struct_config__.frozen
        assert kind.__struct_config__.forbid_unknown_fields
        for field in msgspec.structs.fields(kind):
            if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                structs(field.type)

    structs(DeviceSettings)
    structs(module.CameraSettings)


@pytest.mark.parametrize(("until", "found"), [
    ("2026-12-03T06:00:00", ("a date and time with the offset from UTC, as 2026-12-01T06:00:00Z, found "
                             "'2026-12-03T06:00:00' at")),
    ("'tomorrow'", "a date and time with the offset from UTC, as 2026-12-01T06:00:00Z, found 'tomorrow' at"),
    ("2026-12-03", "a date and time, found a date alone at"), ("06:00:00", "a date and time, found a time alone at"),
    ("5", "a date and time, found a whole number at")])
def test_a_time_that_is_none_is_refused_in_the_words_of_who_writes_toml(tmp_path: Path, until: str,
                                                                        found: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(write(tmp_path, f'also = "old"\nalso_until = {until}\n{SMALLEST}'))
    assert f"gate.toml: line 2: expected {found} also_until; correct it" in str(refused.value)


def test_a_list_where_a_path_is_wanted_is_refused_in_the_words_of_who_writes_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected text, found a list at also; correct it"):
        load(write(tmp_path, f'also = ["old"]\nalso_until = 2999-01-01T00:00:00Z\n{SMALLEST}'))
