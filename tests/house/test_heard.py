"""Every test of the suite fails if a secret is logged in it (`tests.heard`); here that net itself is tried."""

from __future__ import annotations

import base64
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cmnas_edge.embedding import pack, unit
from tests import heard

VECTOR = unit(np.random.default_rng(3).normal(size=(1, 64)).astype(np.float32))
PACKED = pack(VECTOR, "fp16")[0]
_log = logging.getLogger("cmnas.camera")


@pytest.mark.parametrize(("said", "kind"), [
    ("token cmnas_" + "a" * 43, "a device's token"),
    ("Authorization: Bearer abcdefgh12345678", "a bearer token"),
    ("rtsp://10.0.0.7/live?password=hunter2", "a password"),
    ("rtsp://admin:secret@10.0.0.7/live: lost", "credentials in a URL"),
    ("-----BEGIN PRIVATE KEY-----", "a private key"),
    (f"vector {VECTOR[0].tolist()}", "a vector's numbers"),
    (f"vector {VECTOR[0]}", "a vector's numbers"),
    (f"vector {PACKED!r}", "a vector's bytes"),
    (f"vector {PACKED.hex()}", "a vector in hexadecimal"),
    (f"vector {base64.b64encode(PACKED).decode()}", "a vector in base64"),
])
def test_each_kind_of_secret_is_found(said: str, kind: str) -> None:
    assert kind in [found.partition(":")[0] for found in heard.secrets_in(said)]


@pytest.mark.parametrize("said", [
    "12:00:01 camera    north visible live: 10.0 frames/s, lag 0.02 s, 3 in view; 12 sightings, 12 stored, 0 refused",
    f"bundle {'ab' * 32} signed", "rtsp://***@10.0.0.7: lost", "cmnas_***", "Bearer ***",
    "/somewhere/pytest-of-somebody/pytest-0/test_a_rather_long_name_of_a_test0/gate.toml: line 3: unknown key 'x'",
    "2026-11-21 18:00:00 5 of 12 tracklets, 3 views", "expected 1 2 3 4, found 1 2 3"])
def test_what_the_house_says_every_day_is_no_secret(said: str) -> None:
    assert heard.secrets_in(said) == []


def test_records_are_heard_as_they_are_written() -> None:
    with heard.listening() as found:
        # Made and handed to nobody: a handler that another test left behind may write it to standard error as it is.
        _log.makeRecord(_log.name, logging.WARNING, __file__, 1, "rtsp://u:%s@10.0.0.7", ("p4ss",), None)
    assert sum("rtsp://***@10.0.0.7" in text for text in found.text()) == 2, "as a line, and as JSON"
    assert not any("p4ss" in text for text in found.text())


def run_to_a_file(words: list[str], folder: Path) -> None:
    with (folder / "log").open("wb") as file:
        subprocess.run(words, check=True, stderr=file)


def read_line_by_line(words: list[str], folder: Path) -> None:
    with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert list(process.stderr)


@pytest.mark.parametrize("run", [
    lambda words, _: subprocess.run(words, check=True, capture_output=True, text=True),
    lambda words, _: subprocess.run(words, check=True, stderr=subprocess.PIPE),
    lambda words, _: subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT),
    read_line_by_line, run_to_a_file], ids=["both", "errors", "together", "lines", "file"])
def test_a_process_is_heard_however_it_is_read(run: Callable[[list[str], Path], object], tmp_path: Path) -> None:
    with heard.listening() as found:
        run([sys.executable, "-c", "import sys; print('Bearer abcdefgh12345678', file=sys.stderr)"], tmp_path)
    assert any("abcdefgh12345678" in text for text in found.text())


def test_bytes_are_known_again_in_every_form() -> None:
    for text in (PACKED.hex(), repr(b"xy" + PACKED), base64.b64encode(b"z" + PACKED).decode(),
                 base64.b64encode(PACKED + b"q").decode()):
        assert any(form in text for form in heard.forms(PACKED[4:28]))


INNER = '''
import os, subprocess, sys
SAY = "import sys; print('Bearer ' + 'abcdefgh12345678', file=sys.stderr)"
LOG = "open('{}', 'w').write('Bearer ' + 'abcdefgh12345678')"
GRANDCHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait()"

def test_a_child_that_inherits():
    subprocess.run([sys.executable, "-c", SAY], check=True)

def test_a_grandchild_that_inherits():
    os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", GRANDCHILD, SAY])

def test_here():
    os.write(2, b"Bearer " + b"abcdefgh12345678")

def test_read_by_the_test(capfd):
    subprocess.run([sys.executable, "-c", SAY], check=True)
    assert capfd.readouterr().err

def test_a_log_of_a_grandchild(tmp_path):
    path = tmp_path / "deep" / "gate.log"
    path.parent.mkdir()
    subprocess.run([sys.executable, "-c", GRANDCHILD, LOG.format(path)], check=True)

def test_nothing(tmp_path, capfd):
    (tmp_path / "gate.log").write_text("all is well")
    subprocess.run([sys.executable, "-c", "import sys; print('all is well', file=sys.stderr)"], check=True)
    assert capfd.readouterr().err

def test_a_log_in_a_folder_that_tests_share(tmp_path_factory):
    (tmp_path_factory.mktemp("shared") / "gate.log").write_text("Bearer " + "abcdefgh12345678")
'''
HEARD = ["test_a_child_that_inherits", "test_a_grandchild_that_inherits", "test_a_log_of_a_grandchild", "test_here",
         "test_read_by_the_test"]


@pytest.mark.parametrize("shares", [False, True])
def test_whatever_reaches_standard_error_or_a_log_by_whatever_way_fails_the_test(shares: bool, tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(INNER)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "tests.conftest", "-p", "no:cacheprovider", "--basetemp",
         str(tmp_path / "base"), "--rootdir", str(tmp_path), "-c", "/dev/null", str(tmp_path / "test_inner.py"),
         "-k", "a_folder_that_tests_share" if shares else "not a_folder_that_tests_share"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    ends = {(word, name) for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "PASSED"))
            for word, name in [(line.split()[0], line.split()[1].rpartition("::")[2])]}
    named = {name for word, name in ends if word != "PASSED"}
    assert named == ({"test_a_log_in_a_folder_that_tests_share"} if shares else set(HEARD)), ran.stdout
    assert shares or ("PASSED", "test_nothing") in ends
    shutil.rmtree(tmp_path / "base")    # or this test would be heard saying what those said
