"""How many cameras does a core carry: in one daemon, or in a daemon each? And what becomes of 200 people in view?

    python -m benchmarks.cameras                    # both questions, six minutes of a quiet machine
    python -m benchmarks.cameras --only carried     # one of them

Carried: recordings of four drawn people at 640x360 (MJPEG), played at their own pace, 5 and 10 frames a second, found
by what moves, all on one core. What a camera costs is processor time, which other work on the machine hardly touches;
the count that follows from it is then put to the test: does every frame get looked at within one frame's time?

Crowd: a live camera (MJPEG over HTTP, 1920x1080) with 200 people in view, whose boxes are given, before an engine that
was slowed until it takes a quarter of what is due: how late is what reaches the disk, and who is left out?
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.least import at_least
from benchmarks.pipeline import footage
from benchmarks.records import keep
from cmnas_edge import bundle
from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.camera.daemon import Daemon
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.ways import open_transport
from cmnas_edge.camera.settings import DeviceSettings, load
from cmnas_edge.camera.tally import Tally
from cmnas_edge.demo.stage import Api, Stage, run_to_end
from cmnas_edge.engine import Engine, open_engine
from cmnas_edge.synthetic.crops import draw_set

__all__ = ["main"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
_PORT = 8792
_RATES = (5, 10)
_TOGETHER = 8           # cameras that the cost of one is measured with
_WARM_S = 5.0           # for starting, and for learning the background
_ROOM = 0.8            # of a core: what the count that is put to the test asks for
_CROWD, _ACROSS = 200, 20
_PERSON = (100, 50)
_CROWD_FPS = 5
_PERIOD_S = 4.0
_OVERLOAD = 4.0
_BUDGET_S = 2.0


def main() -> None:
    """Measure, print, and append to ``results/cameras.jsonl``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("carried", "crowd"), help="one of the two questions")
    parser.add_argument("--seconds", type=int, default=25, help="that each run is measured (default: 25)")
    args = parser.parse_args()
    at_least(parser, args, 1, "seconds")
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "crowd":
            keep("cameras", {"question": "carried by one core", **carried(Path(folder), args.seconds)})
        if args.only != "carried":
            keep("cameras", {"question": "200 people in view", **crowd(Path(folder), args.seconds)})


def carried(folder: Path, seconds: int) -> dict[str, Any]:
    """What a camera costs in one daemon and in one of its own, and whether the count that follows holds."""
    rows: dict[str, Any] = {}
    for fps in _RATES:
        row: dict[str, Any] = {}
        for name, shares in (("one daemon", [_TOGETHER]), ("a daemon each", [1] * _TOGETHER)):
            found = fleet(folder / f"{fps}-{name}".replace(" ", "-"), shares, fps, seconds)
            row[name] = {"ms_per_camera_second": round(1000 * found["processor_s"] / _TOGETHER, 1),
                         "mb_per_camera": round(found["mb"] / _TOGETHER, 1)}
        together, each = row["one daemon"], row["a daemon each"]
        count = max(1, int(_ROOM * 1000 / together["ms_per_camera_second"]))
        held = fleet(folder / f"{fps}-held", [count], fps, seconds)
        row |= {"cheaper": round(each["ms_per_camera_second"] / together["ms_per_camera_second"], 2),
                "smaller": round(each["mb_per_camera"] / together["mb_per_camera"], 2), "tried": count,
                "lag_p99_s": round(float(np.quantile(held["lag_s"], 0.99)), 3),
                "frames_per_second": round(held["frames_per_second"] / count, 2)}
        print(f"{fps} frames/s: {together['ms_per_camera_second']} ms of processor per camera and second in one daemon "
              f"({together['mb_per_camera']} MB), {each['ms_per_camera_second']} ms in a daemon each "
              f"({each['mb_per_camera']} MB): {row['cheaper']}x, {row['smaller']}x; {count} on a core: lag p99 "
              f"{row['lag_p99_s']} s, {row['frames_per_second']} frames/s each", flush=True)
        rows[f"{fps} frames/s"] = row
    return rows


def fleet(folder: Path, shares: Sequence[int], fps: int, seconds: int) -> dict[str, Any]:
    """Run daemons with so many cameras each on one core.

    Returns:
        Processor seconds per second and megabytes of all daemons together; a sample of lags, frames per second.
    """
    folder.mkdir()
    video, _ = footage(folder.parent, 4, int(_WARM_S) + seconds + 30)
    with Stage(folder / "logs") as stage:
        _collector(stage, folder, [f"d{row}" for row in range(len(shares))])
        whole = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(whole)[:1])    # daemons inherit it
        for row, count in enumerate(shares):
            source = f"source = {{ location = {json.dumps(str(video))}, max_fps = {fps} }}"
            cameras = "".join(f'[[cameras]]\nname = "c{number}"\n{source}\n' for number in range(count))
            path = _settings(folder, f"d{row}", f'report = "d{row}.json"\nstatus_s = 3600\n{cameras}')
            stage.start(f"d{row}", "camera", str(path))
        os.sched_setaffinity(0, whole)
        daemons = [psutil.Process(stage.pid(f"d{row}")) for row in range(len(shares))]
        time.sleep(_WARM_S + 2 * len(shares))     # imports of one after another
        before, began = _processor_s(daemons), time.monotonic()
        time.sleep(seconds)
        spent = (_processor_s(daemons) - before) / (time.monotonic() - began)
        memory = sum(daemon.memory_full_info().pss for daemon in daemons) / 1e6
        while stage.running([f"d{row}" for row in range(len(shares))]):
            time.sleep(0.2)
    reports = [json.loads((folder / f"d{row}.json").read_text()) for row in range(len(shares))]
    # A recording begins when its camera does, so what is late at first are the others' beginnings.
    lags = [lag for report in reports for lag in report["lag_s"][len(report["lag_s"]) // 2:]]
    return {"processor_s": spent, "mb": memory, "lag_s": lags,
            "frames_per_second": sum(report["frames"] / report["seconds"] for report in reports)}


def _processor_s(daemons: Sequence[psutil.Process]) -> float:
    return sum(sum(daemon.cpu_times()[:2]) for daemon in daemons)


def _collector(stage: Stage, folder: Path, devices: Sequence[str]) -> None:
    path = folder / "collector.toml"
    path.write_text(f'data = "data"\nlisten = "127.0.0.1:{_PORT}"\nbundle = {json.dumps(str(bundle.default_path()))}\n')
    for device in devices:
        run_to_end("collector", "enrol", device, "--config", str(path), "--out", str(folder / f"{device}.token"))
    stage.start("collector", "collector", str(path))
    stage.wait_for(Api(_PORT), "collector")


def _settings(folder: Path, device: str, more: str) -> Path:
    path = folder / f"{device}.toml"
    spool = f'[spool]\npath = "{device}.db"\n'
    top, _, tables = more.partition("[[")
    path.write_text(f'device = "{device}"\ncollector = "http://127.0.0.1:{_PORT}"\ntoken = "{device}.token"\n{top}'
                    f"{spool}[[{tables}")
    return path


class _Slowed:
    """An engine that does all its work several times over."""

    def __init__(self, engine: Engine, times: int) -> None:
        self._engine, self.times = engine, times
        self.name, self.precision, self.max_batch = engine.name, engine.precision, engine.max_batch

    def embed(self, crops: U8) -> F32:
        for _ in range(self.times - 1):
            self._engine.embed(crops)
        return self._engine.embed(crops)

    def close(self) -> None:
        self._engine.close()


def crowd(folder: Path, seconds: int) -> dict[str, Any]:
    """Two hundred people before a live camera and an engine that takes a quarter of what is due."""
    folder = folder / "crowd"
    folder.mkdir()
    boxes = folder / "boxes.jsonl"
    warm_s = 3 * _PERIOD_S
    pictures = _people(boxes, int((warm_s + seconds + 20) * _CROWD_FPS))
    ours, theirs = multiprocessing.Pipe()
    serving = multiprocessing.Process(target=_serve, args=(pictures, theirs), daemon=True)
    serving.start()
    url = f"http://127.0.0.1:{ours.recv()}/"
    view_count = 4
    path = _settings(
        folder, "crowd",
        f'drain_s = 60.0\nreport = "report.json"\n[[cameras]]\nname = "square"\nsource = {{ location = "{url}" }}\n'
        f'detector = {{ kind = "boxes", path = {json.dumps(str(boxes))} }}\nspectrum = {{ modality = "visible" }}\n'
        f"select = {{ period_s = {_PERIOD_S}, view_count = {view_count}, view_gap_s = 0.2, min_sharpness = 0.0 }}\n"
        f"[engine]\nbudget_s = {_BUDGET_S}\n")
    with Stage(folder / "logs") as stage, ExitStack() as opened:
        _collector(stage, folder, ["crowd"])
        settings = load(path)
        model = bundle.Bundle.open(bundle.default_path())
        engine = open_engine(model, "visible", threads=1, max_batch=settings.engine.max_batch)
        due = _CROWD * view_count / _PERIOD_S
        slowed = _Slowed(engine, max(1, round(_OVERLOAD * _rate(engine, model) / due)))
        sound = due / _rate(slowed, model)
        tally = Tally()
        spool = opened.enter_context(Spool(settings.spool.path, settings.spool.mib << 20))
        transport = open_transport(settings, tally)
        opened.callback(transport.close)
        told: Counter[int] = Counter()
        daemon = _Watched(settings, {"visible": slowed}, told, model, spool, transport, tally)
        running = threading.Thread(target=daemon.run)
        running.start()
        time.sleep(warm_s + seconds)
        counts, delays = tally.snapshot(), tally.snapshot()["delay_s"]
        tracked = dict(told)
        daemon.stop()
        running.join()
        ours.send(None)
        serving.join()
    assert isinstance(delays, list)
    p50, p99 = np.quantile(delays, (0.5, 0.99))
    spread = Counter(tracked.values())
    print(f"{_CROWD} people, {sound:.1f} times what the engine takes: delay from frame to disk median {p50:.2f} s, p99 "
          f"{p99:.2f} s (budget {_BUDGET_S:g} s); {counts['sightings']} told, {counts['shed']} shed; "
          f"{len(tracked)} people told of, {min(tracked.values())} to {max(tracked.values())} times each", flush=True)
    return {"overload": round(sound, 2), "engine_slowed": slowed.times, "budget_s": _BUDGET_S,
            "delay_median_s": round(float(p50), 3), "delay_p99_s": round(float(p99), 3),
            "delays": len(delays), "sightings": counts["sightings"], "shed": counts["shed"],
            "frames": counts["frames"], "frames_dropped": counts["frames_dropped"], "people_told": len(tracked),
            "times_told": {str(times): people for times, people in sorted(spread.items())}}


class _Watched(Daemon):
    """A daemon of which it is noted whom it told of."""

    def __init__(self, settings: DeviceSettings, engines: dict[Any, Any], told: Counter[int], model: bundle.Bundle,
                 spool: Spool, transport: Any, tally: Tally) -> None:
        put = spool.put

        def noted(bodies: Sequence[bytes]) -> Any:
            told.update(pb.Sighting.FromString(body).tracklet for body in bodies)
            return put(bodies)

        spool.put = noted  # type: ignore[method-assign]
        super().__init__(settings, engines, fingerprint=model.fingerprint, crop_size=(model.height, model.width),
                         preprocessing=model.manifest.preprocessing, spool=spool, transport=transport, tally=tally)


def _rate(engine: Any, model: bundle.Bundle) -> float:
    """Crops a second, in full batches; the median of some."""
    crops = np.random.default_rng(0).integers(0, 256, (engine.max_batch, model.height, model.width, 3), np.uint8)
    spent = []
    for _ in range(8):
        began = time.perf_counter()
        engine.embed(crops)
        spent.append(time.perf_counter() - began)
    return len(crops) / float(np.median(spent))


def _people(path: Path, frames: int) -> list[bytes]:
    """Encoded pictures of a crowd, to be shown again and again, and the boxes of so many frames."""
    crops = draw_set(range(_CROWD), (1,), 1, *_PERSON).images
    scene = cv2.resize(np.random.default_rng(0).integers(60, 180, (9, 16, 3), np.uint8), (1920, 1080),
                       interpolation=cv2.INTER_CUBIC)
    corners = [(40 + 94 * (who % _ACROSS), 6 + 107 * (who // _ACROSS)) for who in range(_CROWD)]
    for (x, y), crop in zip(corners, crops, strict=True):
        scene[y:y + _PERSON[0], x:x + _PERSON[1]] = crop
    picture = cv2.imencode(".jpg", scene)[1].tobytes()
    with path.open("w", encoding="utf-8") as lines:
        for frame in range(frames):
            for x, y in corners:
                lines.write(json.dumps({"frame": frame, "box": [x, y, x + _PERSON[1], y + _PERSON[0]], "score": 0.9})
                            + "\n")
    return [picture]


def _serve(pictures: Sequence[bytes], pipe: Connection) -> None:
    """A camera as many are: pictures one after another, over HTTP, until told to end."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            began = time.monotonic()
            for row in range(1 << 30):
                picture = pictures[row % len(pictures)]
                try:
                    self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n"
                                     % (len(picture), picture))
                except OSError:
                    return
                time.sleep(max(0.0, began + (row + 1) / _CROWD_FPS - time.monotonic()))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_port)
    pipe.recv()


if __name__ == "__main__":
    main()
