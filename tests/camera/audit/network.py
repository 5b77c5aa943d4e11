"""What an audit is tried on: a real recording, a collector that is a process, and a device that hides a picture."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cmnas_edge import cli

__all__ = ["MARKER", "audit", "crop", "needs_recording", "needs_tshark", "recorded"]

MARKER = "127.0.0.9"        # speaks once at the end of a recording, so that everything before is in it
_WORD = b"the end of the recording"


def _missing() -> str:
    for tool in ("tshark", "tcpdump", "editcap"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    tried = subprocess.run(["tcpdump", "-i", "lo", "-d"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"nothing can be recorded here: {(tried.stderr.strip().splitlines() or ['tcpdump fails'])[-1]}"
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except OSError as error:
        return f"nothing can be recorded here: {error.strerror}"
    return ""


needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
needs_recording = pytest.mark.skipif(bool(_missing()), reason=_missing() or "recording")


@contextmanager
def recorded(path: Path, what: str, interface: str = "lo", end: Callable[[], object] | None = None) -> Iterator[None]:
    """Record what matches a filter, from before the first packet inside to after the last."""
    # At once, and with room: a slot for each packet takes as much as the largest.
    words = ["tcpdump", "-i", interface, "-U", "--immediate-mode", "-B", "16384", "-s", "65600", "-Z", "root", "-w",
             str(path), f"({what}) or (udp and src host {MARKER})" if interface == "lo" else what]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = next((line for line in process.stderr if "listening on" in line), "")
        assert said, process.stderr.read()
        try:
            yield
            deadline = time.monotonic() + 30
            wanted = {_word(cpu) for cpu in os.sched_getaffinity(0)} if end is None else {_WORD}
            while not all(word in path.read_bytes() for word in wanted):
                assert time.monotonic() < deadline, process.poll()
                (end or _mark)()
                time.sleep(0.02)
        finally:
            process.terminate()
            said = process.stderr.read()
        assert "\n0 packets dropped by kernel" in said, said


def _mark() -> None:
    """Speak from every processor: loopback keeps a queue for each, and order only within it."""
    cpus = os.sched_getaffinity(0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((MARKER, 0))
            for cpu in cpus:
                os.sched_setaffinity(0, {cpu})
                sender.sendto(_word(cpu), (MARKER, 9))
    finally:
        os.sched_setaffinity(0, cpus)


def _word(cpu: int) -> bytes:
    return b"%s on %d." % (_WORD, cpu)


def mark_by(interface: str) -> None:
    """Send the word as a frame of nobody's."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        sender.send(bytes.fromhex("ffffffffffff 0200000000ee 88b5") + _WORD.ljust(46))


def audit(config: Path, capture: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Run the command; gives what it found, and as ``said`` its sentence where that is not all."""
    code = cli.main(["audit", str(config), str(capture), "--json", *words])
    told = capsys.readouterr()
    assert told.out, told.err
    found = json.loads(told.out)
    assert found["is_accounted_for"] == (not found["findings"]) == (not told.err)
    assert code == (0 if found["is_accounted_for"] else 65)
    return {**found, "said": told.err}


def row(found: dict[str, Any], destination: str, what: str) -> dict[str, Any]:
    """The one row of a destination that is so."""
    rows = [row for row in found["rows"] if row["destination"] == destination and row["what"].startswith(what)]
    assert len(rows) == 1, found["rows"]
    return dict(rows[0])


def settings(folder: Path, *lines: str, cameras: Sequence[str] = ("clip.avi",)) -> Path:
    """What an operator wrote, as far as an audit reads it."""
    path = folder / "gate.toml"
    path.write_text("\n".join([
        'device = "gate"', 'collector = "http://127.0.0.1:1"', 'token = "gate.token"', *lines,
        *(f'[[cameras]]\nname = "camera{number}"\nsource = {{location = "{location}"}}'
          for number, location in enumerate(cameras))]) + "\n")
    return path


def crop() -> bytes:
    """A person's picture, as somebody would want to have it."""
    image = np.random.default_rng(0).integers(0, 255, (128, 64, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())
