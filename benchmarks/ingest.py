"""How many sightings a second does a collector store for good, and how soon are they matched?

    python -m benchmarks.ingest
    python -m benchmarks.ingest --table         # the table of the last results

A real ``cmnas-edge collector`` (TLS, tokens, vectors under a key of their day, commits that have reached the disk) and
what sends to it share the cores given. Four questions, one after another:

``flood``    Batches of 64, several connections, as fast as answers come: sightings acknowledged a second, and how long
             an acknowledgement takes.
``steady``   A rate it should keep up with: how far matching lags behind the acknowledgement.
``crowd``    Devices that are all connected at once, each a batch a second: how long an acknowledgement takes.
``hostile``  The crowd again, while one device floods beyond its rate, one sends nonsense and one sends a request a byte
             at a time, 20 a second, and begins anew whenever it is cut off.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.devices import Device, Site
from benchmarks.least import at_least
from benchmarks.records import RESULTS, keep

__all__ = ["main"]

BATCH = 64
HOT_LIMIT = 50_000
_POOL = 40      # batches of a flooding connection, sent again and again under new numbers
_EACH = 8       # sightings of a batch where many devices send
_WORDS = {"flood": "{connections} connections, batches of 64, as fast as answers come",
          "steady": "{rate:,} a second, steadily", "crowd": "{devices} devices at once, 8 a second each",
          "hostile": "the same, while one floods, one sends nonsense, one a byte at a time"}
_GARBAGE = bytes(range(256)) * 64
_DRIP_S = 0.05  # a byte of a slow request


def main() -> None:
    """Measure, print, and append to ``results/ingest.jsonl``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each question (default: 20)")
    parser.add_argument("--connections", type=int, default=16, help="that flood (default: 16)")
    parser.add_argument("--rate", type=int, default=1000, help="sightings a second, asked steadily (default: 1000)")
    parser.add_argument("--devices", type=int, default=200, help="of the crowd (default: 200)")
    parser.add_argument("--sealed", action="store_true", help="vectors sealed to the collector's key, too")
    parser.add_argument("--table", action="store_true", help="print the table of the last results, measure nothing")
    parser.add_argument("--only", nargs="+", choices=("flood", "steady", "crowd", "hostile"))
    args = parser.parse_args()
    at_least(parser, args, 1, "seconds", "connections", "rate", "devices")
    if not args.table:
        measure(args)
    print("\n".join(table(found := last())))
    picture(found, RESULTS / "ingest.png")


def measure(args: argparse.Namespace) -> None:
    """Ask what is asked for."""
    seconds, figures = args.seconds, dict[str, Any](
        batch=BATCH, seconds=args.seconds, sealed=args.sealed, connections=args.connections, rate=args.rate,
        devices=args.devices)
    questions: dict[str, tuple[int, float, Callable[[Site], dict[str, Any]]]] = {
        "flood": (args.connections, 0.0, lambda site: flood(site, args.connections, seconds)),
        "steady": (1, 0.0, lambda site: steady(site, args.rate, seconds)),
        "crowd": (args.devices, 0.0, lambda site: together(site, args.devices, seconds)),
        "hostile": (args.devices + 3, 200.0, lambda site: together(site, args.devices, seconds, hostile=True))}
    for name in args.only or questions:
        names, rate, ask = questions[name]
        with (tempfile.TemporaryDirectory() as folder,
              Site(Path(folder), rate=rate, hot_limit=HOT_LIMIT, sealed=args.sealed, names=names) as site):
            figures[name] = {**ask(site), "collector_cpu_s": round(site.cpu_s(), 2),
                             "collector_mb": round(site.rss_mb())}
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in figures[name].items()), flush=True)
    keep("ingest", figures)


def flood(site: Site, connections: int, seconds: float) -> dict[str, Any]:
    """As fast as answers come, on every connection."""
    took: list[float] = []
    devices = [Device(site, number) for number in range(connections)]
    pools = [[device.bodies(BATCH, time.time() - 600 + row) for row in range(_POOL)] for device in devices]
    ends = time.monotonic() + seconds

    def work(device: Device, pool: list[list[bytes]]) -> None:
        turn = 0
        while time.monotonic() < ends:
            took.append(_stored(device, pool[turn % _POOL]))
            turn += 1

    began = time.monotonic()
    _side_by_side([(work, (device, pool)) for device, pool in zip(devices, pools, strict=True)])
    elapsed = time.monotonic() - began
    matched_after = _until(lambda: int(site.health()["hot_count"]) >= min(len(took) * BATCH, HOT_LIMIT))
    stored = int(site.health()["stored_count"])
    if stored != len(took) * BATCH:
        raise RuntimeError(f"{len(took) * BATCH} were acknowledged, {stored} are stored")
    return {"sightings_per_s": round(stored / elapsed), **_spread(took), "stored": stored,
            "matched_after_s": matched_after}


def steady(site: Site, rate: int, seconds: float) -> dict[str, Any]:
    """At a rate; how long after the acknowledgement is a sighting matched?"""
    device, took, lags = Device(site, 0), list[float](), list[float]()
    acknowledged: list[tuple[int, float]] = [(0, time.monotonic())]
    began, over = time.monotonic(), threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            matched, now = int(site.health()["hot_count"]), time.monotonic()
            waiting = next((at for count, at in acknowledged if count > matched), now)
            lags.append(now - waiting)

    looking = threading.Thread(target=look)
    looking.start()
    sent = 0
    while (now := time.monotonic()) - began < seconds:
        if (ahead := began + sent / rate - now) > 0:
            time.sleep(ahead)
        took.append(_stored(device, device.bodies(BATCH, time.time())))
        sent += BATCH
        acknowledged.append((sent, time.monotonic()))
    over.set()
    looking.join()
    health = site.health()
    return {"sightings_per_s": round(sent / (time.monotonic() - began)), **_spread(took),
            "lag_s": round(float(np.median(lags)), 3), "lag_p99_s": round(float(np.percentile(lags, 99)), 3),
            "identities": int(health["identity_count"])}


def together(site: Site, count: int, seconds: float, *, hostile: bool = False) -> dict[str, Any]:
    """Each a batch a second, all connected at once."""
    took: list[float] = []
    devices = [Device(site, number) for number in range(count)]
    over, answered = threading.Event(), dict[str, int]()
    work: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
    ends = time.monotonic() + seconds

    def calm(device: Device, delay: float) -> None:
        over.wait(delay)
        while time.monotonic() < ends:
            began = time.monotonic()
            took.append(_stored(device, device.bodies(_EACH, time.time())))
            over.wait(max(0.0, 1 - (time.monotonic() - began)))

    def count_answers(name: str, post: Callable[[], int]) -> None:
        while time.monotonic() < ends:
            status = post()
            answered[f"{name} {status}"] = answered.get(f"{name} {status}", 0) + 1

    work += [(calm, (device, number / count)) for number, device in enumerate(devices)]
    bad = [Device(site, count + place) for place in range(2)] if hostile else []
    if hostile:
        loud, mad = bad
        pool = loud.bodies(BATCH, time.time())
        work.append((count_answers, ("flood", lambda: loud.send(pool).status)))
        work.append((count_answers, ("nonsense", lambda: mad.post(_GARBAGE).status)))
        slow = (b"POST /v1/sightings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n"
                b"Authorization: Bearer " + site.tokens[count + 2].encode() + b"\r\n\r\n" + bytes(60_000))
        work.append((lambda: answered.update(drip(
            lambda: site.connect(count + 2), slow, goes_on=lambda: time.monotonic() < ends)), ()))
    _side_by_side(work)
    for device in (*devices, *bad):
        device.close()
    return {"devices": count, "batches": len(took), **_spread(took), **({"answers": answered} if hostile else {})}


def drip(connect: Callable[[], socket.socket], request: bytes, *, goes_on: Callable[[], bool],
         pause: Callable[[], None] = lambda: time.sleep(_DRIP_S)) -> dict[str, int]:
    """Send a request a byte at a time, and on another connection from its beginning whenever it is cut off.

    Returns:
        How many bytes were sent, and how often it was cut off.
    """
    sent, cuts = 0, 0
    while goes_on():
        try:
            with connect() as connection:
                for byte in request:
                    connection.sendall(bytes([byte]))
                    sent += 1
                    pause()
                    if not goes_on():
                        break
        except OSError:     # hung up on, or answered and closed
            cuts += 1
            pause()
    return {"dripped bytes": sent, "drips cut off": cuts}


def _until(true: Callable[[], bool], most_s: float = 600.0) -> float:
    began = time.monotonic()
    while not true() and time.monotonic() - began < most_s:
        time.sleep(0.2)
    return round(time.monotonic() - began, 1)


def _stored(device: Device, bodies: list[bytes]) -> float:
    answer = device.send(bodies)
    if answer.status != 200:
        raise RuntimeError(f"expected 200, found {answer.status}: {answer.body[:200]!r}")
    return answer.seconds


def _side_by_side(work: list[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    failures: list[BaseException] = []

    def guarded(do: Callable[..., None], given: tuple[Any, ...]) -> None:
        try:
            do(*given)
        except BaseException as error:  # told by the one who waits
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _spread(took: list[float]) -> dict[str, float]:
    return {f"ack_{name}_ms": round(1000 * float(np.percentile(took, share)), 1)
            for name, share in (("p50", 50), ("p99", 99))}


def last() -> dict[str, dict[str, Any]]:
    """The newest answer to each question, and what it was in words."""
    path, newest = RESULTS / "ingest.jsonl", dict[str, dict[str, Any]]()
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        row = json.loads(line)
        asked = {"connections": 8, "rate": 1000, "devices": 200, **row}     # the first runs did not say
        newest.update({name: {**row[name], "asked": _WORDS[name].format(**asked), "seconds": row["seconds"]}
                       for name in _WORDS if name in row and not row["sealed"]})
    return {name: newest[name] for name in _WORDS if name in newest}


def table(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was measured last, in Markdown."""
    lines = ["| | sightings/s | acknowledged after, median, p99 | matched behind that, median, p99 |",
             "|---|---|---|---|"]
    for each in found.values():
        rate = each.get("sightings_per_s") or _EACH * each["batches"] / each["seconds"]
        matched = (f"{each['matched_after_s']:.0f} s for what {each['seconds']:g} seconds brought"
                   if "matched_after_s" in each else f"{each['lag_s']:.2f}, {each['lag_p99_s']:.2f} s"
                   if "lag_s" in each else "")
        lines.append(f"| {each['asked']} | {rate:,.0f} | {each['ack_p50_ms']:.0f}, {each['ack_p99_ms']:.0f} ms | "
                     f"{matched} |")
    return lines


def picture(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw how long an acknowledgement takes, by question."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - nothing else needs it

    figure = Figure(figsize=(9, 0.8 + 0.6 * len(found)), layout="constrained")
    axes = figure.subplots()
    for place, each in enumerate(found.values()):
        axes.barh(place, each["ack_p99_ms"], 0.6, color="#8fc7a8", label="99th percentile" if not place else None)
        axes.barh(place, each["ack_p50_ms"], 0.6, color="#1b7f4d", label="median" if not place else None)
    axes.set_yticks(range(len(found)), [each["asked"] for each in found.values()], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("ms until a batch is acknowledged")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
