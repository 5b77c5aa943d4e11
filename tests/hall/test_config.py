"""A settings file is read whole or refused in one sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from cmnas_edge import config
from cmnas_edge.errors import ConfigError


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A camera's picture source."""

    video: Path | None = None
    silence_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    light: Literal["day", "night", "both"] | None = None


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One camera."""

    name: str
    source: Source = Source()


class Radio(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="by", tag="radio"):
    """One of two ways to send."""

    band: Literal["low", "high"] = "low"


class Cable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="by", tag="cable"):
    """The other one."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file."""

    device: str
    cameras: list[Camera] = []
    lines: tuple[Radio | Cable, ...] = ()
    url: str = "http://127.0.0.1"


def write(folder: Path, text: str) -> Path:
    path = folder / "camera.toml"
    path.write_text(text, "utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(write(folder, text), Settings)
    return str(caught.value)


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    path = write(tmp_path, 'device = "d"\n[[cameras]]\nname = "a"\nsource = { video = "clips/x.mp4" }\n')
    assert config.load(path, Settings).cameras[0].source.video == tmp_path / "clips" / "x.mp4"


def test_a_typo_is_refused_with_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    said = refusal(tmp_path, 'device = "d"\n\n[[cameras]]\nname = "a"\n[[cameras]]\nname = "b"\n'
                             "[cameras.source]\nsilence = 3.0\n")
    assert said.endswith("camera.toml: line 8: unknown key 'silence' in [cameras[1].source]; "
                         "did you mean 'silence_s'?")


def test_a_key_like_no_other_is_answered_with_those_that_are_known(tmp_path: Path) -> None:
    assert "known here: cameras, device, lines, url" in refusal(tmp_path, 'device = "d"\nxyzzy = 1\n')


def test_a_value_of_the_wrong_kind_is_refused_where_it_stands(tmp_path: Path) -> None:
    said = refusal(tmp_path, 'device = "d"\n[[cameras]]\nname = "a"\nsource = { silence_s = "long" }\n')
    assert ": line 4: expected a number, found text at cameras[0].source.silence_s; correct it" in said


@pytest.mark.parametrize(("text", "said"), [
    ("[[cameras]]\nname = 'a'\nsource = { light = 'nigth' }", (": line 4: expected day, night or both at "
     "cameras[0].source.light, found 'nigth'; did you mean 'night'?")),
    ("[[cameras]]\nname = 'a'\nsource = { light = 3 }", ("expected day, night or both at cameras[0].source.light, "
     "found 3; correct it")),
    ("[[lines]]\nby = 'cabel'", (": line 3: expected radio or cable at lines[0].by, found 'cabel'; did you mean "
     "'cable'?")),
    ("[[lines]]\nby = 'cable'\n[[lines]]\nby = 'radio'\nband = 'mid'", (": line 6: expected low or high at "
     "lines[1].band, found 'mid'; correct it")),
    ("[[lines]]\nband = 'mid'", "expected the key 'by', found none at lines[0]; correct it"),
    ("[[cameras]]\nname = 'a'\nsource = { silence_s = 1e9 }", ("expected a number <= 60.0, found 1000000000.0 at "
     "cameras[0].source.silence_s; correct it")),
])
def test_a_wrong_word_or_number_is_answered_with_those_that_may_stand_there(tmp_path: Path, text: str, said: str
                                                                            ) -> None:
    assert refusal(tmp_path, f"device = 'd'\n{text}\n").endswith(said)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    assert "expected the key 'device', found none" in refusal(tmp_path, "")


@pytest.mark.parametrize(("text", "expected"), [
    ("device = ", "not valid TOML"),
    ("device = 'a'\ndevice = 'b'", "not valid TOML"),
    ("device = " + "[" * 20_000, "nested without end"),
    ("device = 'a'\n[[cameras]]\nname = 'b'\nsource = { video = '~nosuchuser/x' }", "whose user does not exist here"),
    ('device = "a"\n[[cameras]]\nname = "b"\nsource = { video = "a\\u0000b" }', "expected a path"),
    ("device = 'a'\n[[cameras]]\nname = 'b'\nsource = { video = '' }", "expected a path, found ''"),
])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(tmp_path, text)


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbfdevice = 'd'\n")
    assert config.load(path, Settings).device == "d"


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="expected UTF-8"):
        config.load(path, Settings)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a settings file, found none"):
        config.load(tmp_path / "none.toml", Settings)


def test_what_has_no_end_or_is_no_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(ConfigError, match=f"^{path}: expected a settings file, found a device, pipe or socket"):
            config.load(path, Settings)


def test_a_file_larger_than_any_settings_is_refused_and_not_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "gate"\n')
    os.truncate(path, 1 << 40)    # holes, which no memory would hold
    with pytest.raises(ConfigError, match=r"expected a settings file of at most 1 MiB, found more"):
        config.load(path, Settings)
    assert config.place(path, "name") == str(path)


def test_a_table_of_an_unknown_name_is_named_with_its_line(tmp_path: Path) -> None:
    for text, said in (('[[Cameras]]\nname = "a"\n', "line 2: unknown key 'Cameras'; did you mean 'cameras'?"),
                       ('[linc]\nx = 1\n', "line 2: unknown key 'linc'"),
                       ('linc.x = 1\n', "line 2: unknown key 'linc'")):
        with pytest.raises(ConfigError, match=re.escape(said)):
            config.load(write(tmp_path, f'device = "d"\n{text}'), Settings)


def test_a_value_without_end_is_not_quoted_to_its_end(tmp_path: Path) -> None:
    long = "x" * 9000
    for text in (f'[[cameras]]\nname = "a"\nsource.light = "{long}"\n', f'{long} = 1\n', f'cameras = "{long}"\n'):
        with pytest.raises(ConfigError) as raised:
            config.load(write(tmp_path, f'device = "d"\n{text}'), Settings)
        assert len(str(raised.value)) < 400 + len(str(tmp_path))
    with pytest.raises(ConfigError) as raised:
        config.address("x" * 9000, "health")
    assert len(str(raised.value)) < 300


def test_what_is_shown_can_be_loaded_again(tmp_path: Path) -> None:
    text = 'device = "d"\n[[cameras]]\nname = "a b"\nsource = { silence_s = 2 }\n'
    first = config.load(write(tmp_path, text), Settings)
    assert config.load(write(tmp_path, config.show(first)), Settings) == first


def test_credentials_in_a_url_are_not_shown(tmp_path: Path) -> None:
    shown = config.show(Settings(device="d", url="rtsp://root:pass@10.0.0.1/live"))
    assert "pass" not in shown
    assert "rtsp://***@10.0.0.1/live" in shown


def test_settings_that_systemd_hands_over_mean_paths_beside_the_file_itself(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").mkdir()
    text = 'device = "d"\n[[cameras]]\nname = "a"\nsource = { video = "x.mp4" }\n'
    path = write(tmp_path / "credentials", text)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(path.parent))
    assert config.load(tmp_path / "camera.toml", Settings).cameras[0].source.video == tmp_path / "x.mp4"
