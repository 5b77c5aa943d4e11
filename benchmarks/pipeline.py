"""Where does a camera's time go, per frame and stage, with 1, 4 and 16 people in view? And does it keep up?

    python -m benchmarks.pipeline                       # stages, on one core
    python -m benchmarks.pipeline --detector X.onnx     # and: four cameras at 10 frames/s with YOLOX, on two cores

The daemon is the real one, started as a process and pinned; a real collector stands behind it. People
are drawn crops that walk through a drawn scene; their boxes are given, so that finding them is not part
of it (``boxes`` detector). The report the daemon writes has the seconds per stage.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge import bundle
from cmnas_edge.demo.stage import Api, Stage, run_to_end
from cmnas_edge.synthetic.crops import draw_set

_SIZE = (640, 360)
_FPS = 10
_CROP = (120, 60)
_TRACK_TO_SEND = ("track", "preprocess", "infer", "pack", "spool", "send")


def main() -> None:
    """Measure, print, and append to ``results/pipeline.jsonl``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="of footage (default: 60)")
    parser.add_argument("--detector", type=Path, help="a YOLOX graph, to see whether four cameras keep up with it")
    parser.add_argument("--bundle", type=Path, default=None)
    args = parser.parse_args()
    at_least(parser, args, 1, "seconds")
    model = (args.bundle or bundle.default_path()).resolve()
    with tempfile.TemporaryDirectory() as folder:
        stages(Path(folder), model, args.seconds)
        if args.detector:
            keeps_up(Path(folder), model, args.seconds, args.detector.resolve())
        else:
            print("four cameras with YOLOX: not measured (give --detector)")


def stages(folder: Path, model: Path, seconds: int) -> None:
    """Milliseconds per frame and stage on one core."""
    figures: dict[str, object] = {}
    for people in (1, 4, 16):
        video, boxes = footage(folder, people, seconds)
        camera = {"detector": {"kind": "boxes", "path": str(boxes)}, "source": {"location": str(video), "pace": "fast"}}
        report, peak = daemon(folder / f"stages-{people}", model, [camera], cores=[0])
        per_frame = {name: 1000 * s / report["frames"] for name, s in report["stage_s"].items()}
        late = sum(per_frame[name] for name in _TRACK_TO_SEND)
        print(f"{people:>2} people: " + "  ".join(f"{name} {ms:.2f}" for name, ms in per_frame.items())
              + f"  | track to send {late:.2f} ms/frame, {report['sightings']} sightings, peak {peak['daemon']:.0f} MB")
        figures[f"{people} people"] = {
            "ms_per_frame": {name: round(ms, 3) for name, ms in per_frame.items()}, "track_to_send_ms": round(late, 3),
            "sightings": report["sightings"], "peak_mb": peak}
    keep("pipeline", {"question": "stages, one core", "seconds": seconds, **figures})


def keeps_up(folder: Path, model: Path, seconds: int, detector: Path) -> None:
    """Four cameras in one daemon at their own pace, four people each, on two cores."""
    video, _ = footage(folder, 4, seconds)
    camera = {"detector": {"kind": "onnx", "path": str(detector)}, "source": {"location": str(video), "pace": "real"}}
    report, peak = daemon(folder / "yolox", model, [camera] * 4, cores=[0, 1])
    lag = np.quantile(report["lag_s"], (0.5, 0.99))
    rate = report["frames"] / 4 / report["seconds"]
    print(f"four cameras with YOLOX: {rate:.1f} frames/s each, lag median {lag[0]:.3f} s, p99 {lag[1]:.3f} s, "
          f"peak {peak['daemon']:.0f} MB")
    keep("pipeline", {"question": "4 cameras, 10 frames/s, YOLOX, 2 cores", "seconds": seconds,
                      "frames_per_second": round(rate, 2), "lag_median_s": round(float(lag[0]), 4),
                      "lag_p99_s": round(float(lag[1]), 4), "peak_mb": peak})


def footage(folder: Path, people: int, seconds: int) -> tuple[Path, Path]:
    """Draw people who walk to and fro, each in a place of their own, and note their boxes."""
    video, boxes = folder / f"{people}.avi", folder / f"{people}.jsonl"
    if video.exists():
        return video, boxes
    crops = draw_set(range(people), (1,), 1, *_CROP).images
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(60, 180, (9, 16, 3), np.uint8), _SIZE, interpolation=cv2.INTER_CUBIC)
    columns = min(people, 8)
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), _FPS, _SIZE)
    with boxes.open("w", encoding="utf-8") as lines:
        for frame in range(seconds * _FPS):
            image = scene.copy()
            for who, crop in enumerate(crops):
                x = int((who % columns + 0.5) * _SIZE[0] / columns - 30 + 8 * np.sin(frame / 9 + who))
                y = 20 + 170 * (who // columns)
                image[y:y + _CROP[0], x:x + _CROP[1]] = crop
                row = {"frame": frame, "box": [x, y, x + _CROP[1], y + _CROP[0]], "score": 0.9}
                lines.write(json.dumps(row) + "\n")
            writer.write(image)
    writer.release()
    return video, boxes


def daemon(folder: Path, model: Path, cameras: Sequence[dict[str, Any]], cores: Sequence[int]
           ) -> tuple[dict[str, Any], dict[str, float]]:
    """Run one daemon to its end and return its report, and the peak memory of both processes in MB."""
    folder.mkdir()
    middle = folder / "collector.toml"
    middle.write_text(f'data = "data"\nlisten = "127.0.0.1:8791"\nbundle = "{model}"\n')
    run_to_end("collector", "enrol", "bench", "--config", str(middle), "--out", str(folder / "token"))
    tables = "".join(f"[[cameras]]\nname = \"c{number}\"\n" + "".join(
        f"{key} = {{ {', '.join(f'{k} = {json.dumps(v)}' for k, v in table.items())} }}\n"
        for key, table in camera.items()) for number, camera in enumerate(cameras))
    (folder / "camera.toml").write_text(
        f'device = "bench"\ncollector = "http://127.0.0.1:8791"\ntoken = "token"\nbundle = "{model}"\n'
        f'report = "report.json"\n{tables}')
    with Stage(folder / "logs") as stage:
        stage.start("collector", "collector", str(middle))
        stage.wait_for(Api(8791), "collector")
        whole = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # the daemon inherits it
        stage.start("daemon", "camera", str(folder / "camera.toml"))
        os.sched_setaffinity(0, whole)
        peak = {"daemon": 0.0, "collector": 0.0}
        while stage.alive("daemon"):
            peak = {name: max(most, _peak_mb(stage.pid(name))) for name, most in peak.items()}
            time.sleep(0.2)
    return json.loads((folder / "report.json").read_text()), peak


def _peak_mb(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


if __name__ == "__main__":
    main()
