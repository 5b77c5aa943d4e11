"""Eight hours of a camera at many times their speed, while its collector comes and goes: does anything grow?

    python -m benchmarks.soak       # eight simulated hours in about 18 minutes; also `make soak`
    python -m benchmarks.soak --hours 0.5 --minutes 5 --cycles 12 --leak file   # found? or memory, thread, spool, lag
    PYTHONTRACEMALLOC=1 python -m benchmarks.soak --hours 2 --minutes 6 --cycles 12   # what Python holds, too; slower

The daemon is the real one with its own threads: drawn people walk before two fake cameras, are followed (where
they are is given), embedded by the real network, spooled to a real disk and sent over HTTP to a real collector
in a process of its own. Of every cycle that collector is away for a third, ended in good order or killed in turns; the
cameras are lost and found again every two simulated minutes. Only the frames' time is accelerated.

What is looked at is the median over each cycle, since a cycle has everything once; the first quarter of
the cycles is warming up. ``trend`` says of each figure whether it grows, with an interval of 99 %.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.least import at_least
from benchmarks.records import RESULTS, keep
from benchmarks.soak_figures import picture, verdicts
from benchmarks.soak_leaks import LEAKS, plant
from cmnas_edge import bundle, log
from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.daemon import Daemon
from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.running.settled import settled
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.ways import open_transport
from cmnas_edge.camera.settings import (
    CameraSettings,
    DetectorSettings,
    DeviceSettings,
    LinkSettings,
    SourceSettings,
    SpectrumSettings,
    SpoolSettings,
)
from cmnas_edge.camera.tally import Tally
from cmnas_edge.demo.stage import run_to_end
from cmnas_edge.engine import open_engine
from cmnas_edge.errors import SourceLost
from cmnas_edge.synthetic.crops import draw_set

CAMERAS = ("entrance", "hall")
_FPS = 2.0
_LOOP_S = 120
_WALKS = ((10, 70), (130, 190))     # frames of a loop in which somebody is there
_CROP = (96, 40)
_AWAY = 0.3         # of a cycle
_SIZE = (320, 180)
_ENDING = (signal.SIGTERM, signal.SIGKILL)


def main() -> None:
    """Run it, print what grows, and append to ``results/soak.jsonl``; a real run draws ``results/soak.png``, too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0, help="simulated (default: 8)")
    parser.add_argument("--minutes", type=float, default=18.0, help="that it takes (default: 18)")
    parser.add_argument("--cycles", type=int, default=24, help="of the collector, at least 12 (default: 24)")
    parser.add_argument("--leak", choices=LEAKS, help="plant one, to see it found")
    parser.add_argument("--port", type=int, default=8793, help="of the collector, on loopback (default: 8793)")
    parser.add_argument("--device", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    at_least(parser, args, 12, "cycles")
    at_least(parser, args, 0.01, "hours", "minutes")
    at_least(parser, args, 1, "port")
    if args.device:
        _device(args.device, args.hours, args.minutes, args.leak, args.port)
        return
    with tempfile.TemporaryDirectory() as folder:
        samples, ended = _run(Path(folder), args)
    if not samples:
        sys.exit("soak: expected a daemon that runs, found one that said nothing; see its log above")
    found = verdicts(samples, args.cycles)
    for name, row in found.items():
        print(f"{name:<10} {row['first']:>9.4g} -> {row['last']:>9.4g}   {row['slope_per_h']:+.3g} per simulated hour "
              f"(99 %: {row['low']:+.3g} to {row['high']:+.3g})  {row['verdict']}")
    last = samples[-1]
    print(f"{last['simulated_s'] / 3600:.2f} simulated hours in {last['at']:.0f} s, {last['frames']} frames, "
          f"{last['sightings']} sightings; at the end {ended}")
    keep("soak", {"leak": args.leak, "simulated_h": round(last["simulated_s"] / 3600, 2), "seconds": round(last["at"]),
                  "frames": last["frames"], "sightings": last["sightings"], "source_failures": last["source_failures"],
                  "link_failures": last["link_failures"], "cycles": args.cycles, "figures": found, "end": ended})
    if args.leak is None and not tracemalloc.is_tracing():
        picture(samples, args.cycles, RESULTS / "soak.png")


def _run(folder: Path, args: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """One daemon's samples, one a second, and what is stored, lost and waiting at the very end."""
    settings = folder / "collector.toml"
    settings.write_text(f'data = "data"\nlisten = "127.0.0.1:{args.port}"\n')
    run_to_end("collector", "enrol", "soak", "--config", str(settings), "--out", str(folder / "token"))
    words = [sys.executable, "-m", "benchmarks.soak", "--device", str(folder), "--port", str(args.port),
             "--hours", str(args.hours), "--minutes", str(args.minutes)]
    collector = _collector(settings)
    device = subprocess.Popen(words + (["--leak", args.leak] if args.leak else []), stdout=subprocess.PIPE, text=True)
    assert device.stdout is not None
    cycle_s = 60 * args.minutes / args.cycles
    samples: list[dict[str, Any]] = []
    away, ended_count = False, 0
    try:
        for line in device.stdout:
            sample = json.loads(line)
            if "end" in sample:
                return samples, _accounts(folder, sample["end"])
            # Away in the first part of a cycle, so that at its end what waited has been sent.
            should = sample["at"] % cycle_s < _AWAY * cycle_s and sample["at"] < 60 * args.minutes
            if should and not away:
                collector.send_signal(_ENDING[ended_count % 2])
                collector.wait(30)
                ended_count += 1
            elif away and not should:
                collector = _collector(settings)
            away = should
            samples.append({**sample, "away": away})
        return samples, {}
    finally:
        for process in (device, collector):
            process.kill()
            process.wait()


def _collector(settings: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "cmnas_edge.cli", "collector", str(settings)],
                            stderr=subprocess.DEVNULL)


def _accounts(folder: Path, end: dict[str, int]) -> dict[str, int]:
    """What the daemon says it made, beside what the collector's journal holds."""
    import sqlite3  # noqa: PLC0415 - only here

    reader = sqlite3.connect(f"file:{folder}/data/journal.sqlite?mode=ro", uri=True)
    try:
        stored, numbers = reader.execute("SELECT count(*), count(DISTINCT sequence) FROM sighting").fetchone()
        lost = reader.execute("SELECT coalesce(sum(count), 0) FROM gap").fetchone()[0]
    finally:
        reader.close()
    return {**end, "in_journal": stored, "twice": stored - numbers, "in_gaps": lost}


class Footage:
    """A fake live camera: drawn footage again and again, the newest frame at any time; lost after each turn."""

    recorded = False
    fps = None

    def __init__(self, pictures: Sequence[bytes], speed: float, began: float, starts_at: float) -> None:
        """Show JPEGs, ``speed`` times as fast as they were filmed."""
        self._pictures, self._speed, self._began, self._starts_at = pictures, speed, began, starts_at
        self.dropped_count = 0
        self._next = self._left = -1
        self._closed = threading.Event()

    def __enter__(self) -> Footage:
        self._next = int(self._simulated_s() * _FPS) + 1
        self._left = len(self._pictures)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        newest = int(self._simulated_s() * _FPS)
        self.dropped_count += max(0, newest - self._next)
        index = max(self._next, newest)
        if self._left <= 0:
            raise SourceLost("footage: expected another frame, found its end")
        if self._closed.wait(max(0.0, self._began + index / _FPS / self._speed - time.monotonic())):
            raise StopIteration
        self._left -= index - self._next + 1
        self._next = index + 1
        image = cv2.imdecode(np.frombuffer(self._pictures[index % len(self._pictures)], np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        return Frame(np.asarray(image, np.uint8), index % len(self._pictures), self._starts_at + index / _FPS,
                     time.monotonic())

    def _simulated_s(self) -> float:
        return (time.monotonic() - self._began) * self._speed

    def close(self) -> None:
        """End."""
        self._closed.set()


def _device(folder: Path, hours: float, minutes: float, leak: str | None, port: int) -> None:
    """The daemon's process: watches, and prints a sample a second."""
    log.configure(level=logging.WARNING)
    cv2.setNumThreads(1)
    model = bundle.Bundle.open(bundle.default_path())
    films = {name: _drawn(folder / f"{name}.jsonl", who) for who, name in enumerate(CAMERAS)}
    speed = 60 * hours / minutes
    settings = DeviceSettings(
        device="soak", collector=f"http://127.0.0.1:{port}", token=folder / "token", status_s=60.0, drain_s=60.0,
        spool=SpoolSettings(path=folder / "spool.db"), link=LinkSettings(timeout_s=5.0, max_backoff_s=2.0),
        cameras=tuple(CameraSettings(
            name=name, source=SourceSettings(location=name),
            detector=DetectorSettings(kind="boxes", path=folder / f"{name}.jsonl"),
            spectrum=SpectrumSettings(modality="visible")) for name in CAMERAS))
    tally = Tally()
    transport = open_transport(settings, tally)
    began, starts_at = time.monotonic(), time.time() - 3600 * hours - 600
    with (Spool(settings.spool.path, settings.spool.mib << 20) as spool,
          open_engine(model, "visible", max_batch=settings.engine.max_batch) as engine):
        daemon = Daemon(settings, {"visible": engine}, fingerprint=model.fingerprint,
                        crop_size=(model.height, model.width),
                        preprocessing=model.manifest.preprocessing, spool=spool, transport=transport, tally=tally,
                        open_from=lambda source: Footage(films[source.location], speed, began, starts_at),
                        backoff=lambda: Backoff(0.05, 0.2))
        plant(leak, spool, transport, tally)
        over = threading.Event()
        sampling = threading.Thread(target=_sample, args=(settings.spool.path, spool, tally, began, speed, 60 * minutes,
                                                          daemon, over))
        sampling.start()
        try:
            with settled():     # as the command does
                daemon.run()
        finally:
            over.set()
            sampling.join()
        end = {name: tally[name] for name in ("sightings", "stored", "duplicate", "refused", "dropped")}
        print(json.dumps({"end": {**end, "waiting": len(spool)}}), flush=True)
    transport.close()


def _drawn(boxes: Path, seed: int) -> list[bytes]:
    """Two people who cross a scene one after the other, as JPEGs; notes where they are."""
    people = draw_set(range(2 * seed, 2 * seed + 2), (1,), 1, *_CROP).images
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(60, 180, (9, 16, 3), np.uint8), _SIZE, interpolation=cv2.INTER_CUBIC)
    pictures = []
    with boxes.open("w", encoding="utf-8") as lines:
        for frame in range(int(_LOOP_S * _FPS)):
            image = scene.copy()
            for person, (first, last) in zip(people, _WALKS, strict=True):
                if first <= frame < last:
                    x, y = 20 + 4 * (frame - first), 50
                    image[y:y + _CROP[0], x:x + _CROP[1]] = person
                    lines.write(json.dumps({"frame": frame, "box": [x, y, x + _CROP[1], y + _CROP[0]],
                                            "score": 0.9}) + "\n")
            pictures.append(cv2.imencode(".jpg", image)[1].tobytes())
    return pictures


def _sample(path: Path, spool: Spool, tally: Tally, began: float, speed: float, lasts_s: float, daemon: Daemon,
            over: threading.Event) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    asked = False
    while not over.wait(1.0):
        at = time.monotonic() - began
        files = [path, path.with_name(path.name + "-wal")]
        print(json.dumps({
            "at": round(at, 2), "simulated_s": round(at * speed, 1),
            "rss_mib": int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * page / 2**20,
            "blocks": sys.getallocatedblocks(), "files": len([*Path("/proc/self/fd").iterdir()]),
            "threads": threading.active_count(),
            "spool_kib": sum(p.stat().st_size for p in files if p.exists()) / 1024, "waiting": len(spool),
            "lag_s": tally.last_lag_s, "frames": tally["frames"], "sightings": tally["sightings"],
            "source_failures": tally["source_failures"], "link_failures": tally["link_failures"],
            **({"python_mib": tracemalloc.get_traced_memory()[0] / 2**20} if tracemalloc.is_tracing() else {})}),
            flush=True)
        if at > lasts_s and not asked:
            asked = True
            daemon.stop()


if __name__ == "__main__":
    main()
