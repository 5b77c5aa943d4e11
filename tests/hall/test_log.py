"""Nothing secret passes the log, and a repeated complaint is said once."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge import log

letters = st.characters(codec="ascii", exclude_characters="/@:", categories=["L", "N", "P"])
word = st.text(letters, min_size=3)


@given(user=word, password=word)
def test_no_password_in_a_url_survives_the_scrubber(user: str, password: str) -> None:
    scrubbed = log.scrub(f"cannot open rtsp://{user}:{password}@camera.example/live, trying again")
    assert scrubbed == "cannot open rtsp://***@camera.example/live, trying again"


@pytest.mark.parametrize("url", [
    "rtsp://admin:hun/ter2@10.0.0.9/live", "rtsp://admin:h@un/ter2@10.0.0.9/live", "http://cam/v.cgi?user=admin&pwd=hunter2",
    "rtsp://cam:554/user=admin&password=hunter2&channel=1", "rtsp://cam/user=admin_password=hunter2_channel=1_stream=0",
    "http://cam/snap?loginuse=admin&loginpas=hunter2", "rtspsrc name=source user-id=admin user-pw=hunter2 ! x",
    "http://cam/live?Token=hunter2", "https://cam/a.m3u8?auth=hunter2&x=1"])
def test_no_password_survives_where_cameras_take_it(url: str) -> None:
    said = log.scrub(f"cannot open {url}, trying again")
    assert "ter2" not in said
    assert said.endswith("trying again")


def test_tokens_are_scrubbed() -> None:
    assert log.scrub("Authorization: Bearer abc.def") == "Authorization: Bearer ***"
    assert log.scrub("token cmnas_" + "A1-_" * 10 + " refused") == "token cmnas_*** refused"


def test_text_without_secrets_is_left_alone() -> None:
    text = ("http://127.0.0.1:8700/v1 camera a@b: 3 frames; expected the key 'token', monkey=3 compass = 4 keys=5 "
            'token = "gate.token"')
    assert log.scrub(text) == text


@pytest.mark.parametrize("as_json", [False, True])
def test_a_logged_url_is_scrubbed_in_both_forms(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    log.configure(as_json=as_json)
    logging.getLogger("cmnas.camera").warning("lost %s", "rtsp://root:hunter2@cam/1")
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "rtsp://***@cam/1" in (json.loads(said)["message"] if as_json else said)


def test_a_repeated_message_is_let_through_once_per_interval_and_counted() -> None:
    now = [0.0]
    repeats = log.Repeats(every_s=10, clock=lambda: now[0])
    assert repeats.admit("down") == 0
    now[0] = 9.9
    assert repeats.admit("down") is None
    assert repeats.admit("other") == 0
    now[0] = 10.0
    assert repeats.admit("down") == 1
    now[0] = 20.0
    assert repeats.admit("down") == 0


def test_messages_that_differ_each_time_neither_flood_the_log_nor_fill_the_memory() -> None:
    now = [0.0]
    repeats = log.Repeats(every_s=10, clock=lambda: now[0])
    for hour in range(3):
        assert repeats.admit("down") is not None
        said = [held for number in range(5000) if (held := repeats.admit(f"{hour}: refused {number}")) is not None]
        assert 200 < len(said) < 300
        assert len(repeats._last) < 300
        assert repeats.admit("down") is None
        now[0] += 10
    assert repeats.admit("new") == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_a_room_is_called_the_same_in_both_forms(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    log.configure(as_json=as_json)
    logging.getLogger("cmnas.camera").info("it goes on")
    said = capsys.readouterr().err
    assert (json.loads(said)["room"] if as_json else said.split()[1]) == "camera"
