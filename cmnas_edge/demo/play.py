"""One run: a collector and one daemon per camera, from the first frame to the figures."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.demo.report import Across, Footage, Report
from cmnas_edge.demo.score import Key, Seen, count_links, name_tracklets, rank_one
from cmnas_edge.demo.stage import Api, Stage, run_to_end
from cmnas_edge.demo.tap import Tap
from cmnas_edge.errors import LinkDown
from cmnas_edge.progress import Progress

__all__ = ["WHO", "Clip", "Played", "collect", "door", "play"]

WHO = "demo"        # enrolled at the collector, without a password
_PAGE = 1000        # most the collector lists at once
_SETTLE_S = 30.0
_YESTERDAY_S = 25 * 3600.0     # more than a camera may be late: recorded, and with a clock of its own
_GALLERY = 200      # most answers to a search


class Clip(NamedTuple):
    """One camera's footage."""

    name: str
    video: Path
    seconds: float
    is_h264: bool


class Played(NamedTuple):
    """What a run left behind, to be scored and drawn."""

    sightings: list[dict[str, Any]]
    persons: dict[Key, int]
    report: Report


def play(clips: Sequence[Clip], folder: Path, stage: Stage, *, truth: Path | None, detector: Path | None,
         bundle: Path, pace: str) -> tuple[Api, Played]:
    """Run every camera's footage through the rooms.

    Args:
        clips: One per camera.
        folder: Emptied, then holds settings, tokens, spools, journal and traces.
        stage: Runs the processes; the collector stays up when this returns.
        truth: JSON lines of who was really there, or None.
        detector: A graph of YOLOX's layout, or None to detect motion.
        bundle: Model bundle of all.
        pace: ``real`` or ``fast``.

    Returns:
        The collector's API, and what was measured.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port = _free_port()
    middle = folder / "collector.toml"
    middle.write_text(_toml(listen=f"127.0.0.1:{port}", data="collector", bundle=str(bundle), hot_window_h=72.0)
                      + _trust(bundle))
    run_to_end("collector", "person", "add", WHO, "--role", "operator", "--no-password", "--config", str(middle))
    api = Api(port, door(folder))
    stage.start("collector", "collector", str(middle))
    stage.wait_for(api, "collector")
    began = time.time()
    # Faster than life, footage of now would soon be ahead of the clock; this is footage of yesterday.
    starts_at = began if pace == "real" else began - _YESTERDAY_S
    with Tap(("127.0.0.1", port)) as tap:
        for clip in clips:
            settings = _camera_settings(clip, folder, tap.port, starts_at, detector, bundle, pace)
            run_to_end("collector", "enrol", clip.name, "--config", str(middle), "--out",
                       str(folder / f"{clip.name}.token"))
            stage.start(clip.name, "camera", str(settings))
        _watch(clips, folder, stage, api)
        wall_s = time.time() - began
        daemons = [json.loads((folder / f"{clip.name}.report.json").read_text()) for clip in clips]
        sightings = collect(api)
        sent, pixels = tap.sent_bytes, tap.pixel_bytes
    persons = name_tracklets(_rows(folder / f"{clip.name}.trace.jsonl" for clip in clips), _rows([truth])
                             ) if truth else {}
    report = _report(clips, api, sightings, daemons, persons, sent, pixels, wall_s,
                     people=len({row["identity"] for row in _rows([truth])}) if truth else None)
    return api, Played(sightings, persons, report)


def door(folder: Path) -> str:
    """Make a link by which a browser gets in once, and may act as an operator: the path of it."""
    made = run_to_end("collector", "person", "link", WHO, "--config", str(folder / "collector.toml")).strip()
    return made[made.index("/log-in/"):]


def collect(api: Api) -> list[dict[str, Any]]:
    """Fetch every sighting, once the collector has linked all it stored."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        health = api.get("/v1/health")
        if health["hot_count"] >= health["stored_count"] or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    sightings: list[dict[str, Any]] = []
    last, more = 0, True
    while more:
        page = api.get(f"/v1/sightings?since={last}&limit={_PAGE}")
        sightings += page["sightings"]
        last, more = page["last"], page["more"]
    return sightings


def _report(clips: Sequence[Clip], api: Api, sightings: list[dict[str, Any]],
            daemons: list[dict[str, Any]], persons: Mapping[Key, int], sent: int, pixels: int, wall_s: float,
            people: int | None) -> Report:
    seen = {(s["camera"], s["tracklet"]): Seen(s["camera"], s["tracklet"], s["modality"], s["identity"],
                                               persons.get((s["camera"], s["tracklet"])))
            for s in sightings}
    links = across = None
    if people is not None:
        links = count_links(list(seen.values()))
        mixed = count_links(list(seen.values()), across=True)
        across = Across(mixed.right, mixed.wrong, mixed.missed, rank_one(_queries(api, sightings, persons)))
    crops = sum(d["crops"] for d in daemons)
    infer_s = sum(d["stage_s"]["infer"] for d in daemons)
    lags = [lag for d in daemons for lag in d["lag_s"]]
    frames = sum(d["frames"] for d in daemons)
    h264 = sum(clip.video.stat().st_size for clip in clips) if all(clip.is_h264 for clip in clips) else None
    return Report(
        people=api.get("/v1/identities?limit=1")["total"] if people is None else people,
        tracklets=len(seen), sightings=len(sightings), cameras=len(clips), links=links, cross_modality=across,
        ghosts=sum(s.person is None for s in seen.values()) if people is not None else None,
        bytes_per_sighting=sent / len(sightings) if sightings else None, sent_bytes=sent, pixel_bytes=pixels,
        footage=Footage(sum(clip.seconds for clip in clips), h264,
                        sum(3 * s["box_width"] * s["box_height"] for s in sightings)),
        crops_per_second=crops / infer_s if infer_s else None, lag_s=statistics.median(lags) if lags else None,
        frames_per_second=frames / len(clips) / wall_s, calibrated_on=api.get("/v1/health")["calibrated_on"])


def _queries(api: Api, sightings: list[dict[str, Any]], persons: Mapping[Key, int]
             ) -> Iterator[tuple[int, list[int | None]]]:
    """Each infrared tracklet's best view, searched for among the other cameras' visible sightings."""
    best: dict[Key, dict[str, Any]] = {}
    for s in sightings:
        key = (s["camera"], s["tracklet"])
        if s["modality"] == "infrared" and key in persons and s["quality"] >= best.get(key, s)["quality"]:
            best[key] = s
    cameras = {s["camera"] for s in sightings}
    for (camera, tracklet), s in best.items():
        others = sorted(cameras - {camera})
        found = api.post("/v1/search", {"sighting": s["id"], "modality": "visible", "cameras": others, "k": _GALLERY})
        ranked = [persons.get((m["sighting"]["camera"], m["sighting"]["tracklet"])) for m in found["matches"]]
        yield persons[camera, tracklet], ranked


def _watch(clips: Sequence[Clip], folder: Path, stage: Stage, api: Api) -> None:
    """Show progress until every daemon has ended."""
    total = round(sum(clip.seconds for clip in clips))
    starts: dict[str, float] = {}
    with Progress("seconds of footage watched") as progress:
        while stage.running(clip.name for clip in clips):
            time.sleep(0.5)
            done = 0.0
            for clip in clips:
                if last := _last_row(folder / f"{clip.name}.trace.jsonl"):
                    start = starts.setdefault(clip.name, last["seen_at"])
                    done += min(clip.seconds, last["seen_at"] - start)
            try:
                progress(min(round(done), total - 1), total, f"{api.get('/v1/health')['stored_count']} sightings")
            except LinkDown:
                stage.alive("collector")
        progress(total, total)


def _camera_settings(clip: Clip, folder: Path, port: int, starts_at: float, detector: Path | None, bundle: Path,
                     pace: str) -> Path:
    path = folder / f"{clip.name}.toml"
    found = f'{{ kind = "onnx", path = {json.dumps(str(detector.resolve()))} }}' if detector else '{ kind = "motion" }'
    path.write_text(
        _toml(device=clip.name, collector=f"http://127.0.0.1:{port}", token=f"{clip.name}.token", bundle=str(bundle),
              trace=f"{clip.name}.trace.jsonl", report=f"{clip.name}.report.json", status_s=5.0)
        + _trust(bundle) + f"spool = {{ path = {json.dumps(clip.name + '.spool')} }}\n"
        + "\n[[cameras]]\n" + _toml(name=clip.name)
        + f"detector = {found}\n"
        + f"source = {{ location = {json.dumps(str(clip.video.resolve()))}, pace = \"{pace}\", "
        + f"starts_at = {starts_at!r} }}\n")
    return path


def _trust(bundle: Path) -> str:
    """Let both rooms use the bundle that the demo was told to; the shipped one needs no word."""
    if bundle == default_path().resolve():
        return ""
    signers = Bundle.open(bundle).signers
    return (f"trust = {{ keys = {json.dumps(signers)}, "
            f"allow_unsigned_bundle = {json.dumps(not signers)} }}\n")


def _toml(**settings: str | float) -> str:
    return "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in settings.items())


def _rows(paths: Any) -> Iterator[dict[str, Any]]:
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


def _last_row(path: Path) -> dict[str, Any] | None:
    """The last whole line of a file that is being written."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().split(b"\n")
        row: dict[str, Any] = json.loads(lines[-2])
    except (OSError, IndexError, json.JSONDecodeError):
        return None
    return row


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
