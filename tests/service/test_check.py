"""One command checks either room's settings, and names file, line, key and the nearest right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmnas_edge import cli
from cmnas_edge.service.check import room_of
from tests.tiny_bundle import TINY

CAMERA = """device = "gate"
collector = "http://127.0.0.1:8700"
token = "gate.token"
bundle = "{bundle}"
trust = {{allow_unsigned_bundle = true}}
[[cameras]]
name = "north"
source = {{location = "rtsp://u:hunter2@127.0.0.1/"}}
"""


def checked(path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    path.write_text(text)
    code = cli.main(["check-config", str(path)])
    return code, *capsys.readouterr()


@pytest.fixture
def camera(tmp_path: Path) -> str:
    token = tmp_path / "gate.token"
    token.write_text("cmnas_" + "s" * 40)
    token.chmod(0o600)
    return CAMERA.format(bundle=TINY)


def test_a_cameras_file_is_checked_as_its_daemon_would(
        tmp_path: Path, camera: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = checked(tmp_path / "x.toml", camera, capsys)
    assert code == 0, err
    assert 'name = "north"' in out
    assert "hunter2" not in out


def test_a_collectors_file_is_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = checked(tmp_path / "x.toml", f'data = "data"\nbundle = "{TINY}"\n'
                             "trust = {allow_unsigned_bundle = true}\n", capsys)
    assert code == 0, err
    assert "hot_window_h" in out
    code, _, err = checked(tmp_path / "x.toml", 'data = "data"\nlisten = "127.0.0.1:1"\nhot_windw_h = 1.0\n', capsys)
    assert code == 78
    assert err.endswith("x.toml: line 3: unknown key 'hot_windw_h'; did you mean 'hot_window_h'?\n")


@pytest.mark.parametrize(("old", "new", "said"), [
    ("device", "devise", "x.toml: line 1: unknown key 'devise'; did you mean 'device'?"),
    ("source = {", "source = {silence = 3, ",
     "x.toml: line 8: unknown key 'silence' in [cameras[0].source]; did you mean 'silence_s'?"),
    ('"gate"', '"gate', "x.toml: not valid TOML"),
])
def test_a_typo_is_answered_with_file_line_key_and_the_nearest(
        tmp_path: Path, camera: str, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str) -> None:
    code, _, err = checked(tmp_path / "x.toml", camera.replace(old, new, 1), capsys)
    assert code == 78
    assert said in err
    assert err.count("\n") == 1


def test_what_is_neithers_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = checked(tmp_path / "x.toml", 'bundle = "x"\n', capsys)
    assert code == 78
    assert "expected settings of a device" in err
    assert cli.main(["check-config", str(tmp_path / "none.toml")]) == 78
    assert room_of(tmp_path / "none.toml") == "camera"


def test_a_device_that_never_ends_is_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-config", "/dev/zero"]) == 78
    assert "/dev/zero: expected a settings file, found a device" in capsys.readouterr().err
