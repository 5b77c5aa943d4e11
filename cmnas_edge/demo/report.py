"""The figures of one run, and how a person reads them.

`Report` is the published schema of ``--report``: ``docs/demo-report.schema.json`` is made from
it, and a test holds the two together.
"""

from __future__ import annotations

import msgspec

from cmnas_edge.demo.score import Links

__all__ = ["Across", "Footage", "Report", "schema", "table"]


class Across(msgspec.Struct, frozen=True):
    """Pairs of one visible and one infrared tracklet.

    Attributes:
        right: Linked, and one person.
        wrong: Linked, and not one person.
        missed: One person, and not linked.
        rank1: Share of infrared tracklets whose best visible answer is the same person; null
            when nobody was seen in both.
    """

    right: int
    wrong: int
    missed: int
    rank1: float | None


class Footage(msgspec.Struct, frozen=True):
    """Bytes of what was filmed, to hold against bytes sent.

    Attributes:
        seconds: Of all cameras together.
        h264_bytes: The footage as H.264; null when it is stored otherwise.
        raw_crop_bytes: One uncompressed crop per sighting, at the size it had in the frame.
    """

    seconds: float
    h264_bytes: int | None
    raw_crop_bytes: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of the demo measured.

    Attributes:
        people: Who walked through the drawn site; on your own footage, identities the collector opened.
        tracklets: People followed without a break, one camera each.
        sightings: Embeddings stored.
        cameras: Daemons run.
        links: Pairs of tracklets; null without ground truth.
        cross_modality: Those of one visible and one infrared tracklet; null without ground truth.
        ghosts: Tracklets that show no one person; null without ground truth.
        bytes_per_sighting: Everything sent, headers too, by sightings; null without a sighting.
        sent_bytes: Read from the cameras' sockets.
        pixel_bytes: Of these, bytes that no field of the protocol explains.
        footage: What was filmed.
        crops_per_second: Through the network, per core; null without a crop.
        lag_s: From a frame's arrival until it was dealt with, median; null without a frame.
        frames_per_second: Worked on, per camera, wall time.
        calibrated_on: Where the thresholds come from.
    """

    people: int
    tracklets: int
    sightings: int
    cameras: int
    links: Links | None
    cross_modality: Across | None
    ghosts: int | None
    bytes_per_sighting: float | None
    sent_bytes: int
    pixel_bytes: int
    footage: Footage
    crops_per_second: float | None
    lag_s: float | None
    frames_per_second: float
    calibrated_on: str


def schema() -> bytes:
    """JSON schema of a report."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Report)), indent=2) + b"\n"


def table(report: Report) -> str:
    """The figures as lines a person reads."""
    rows = [("people", f"{report.people}"), ("cameras", f"{report.cameras}"),
            ("tracklets", f"{report.tracklets}"), ("sightings stored", f"{report.sightings}")]
    if report.links and report.cross_modality:
        across = report.cross_modality
        rows += [
            ("links right / wrong / missed", f"{report.links.right} / {report.links.wrong} / {report.links.missed}"),
            ("  across modalities", f"{across.right} / {across.wrong} / {across.missed}"),
            ("  infrared -> visible rank-1", "none seen in both" if across.rank1 is None else f"{across.rank1:.0%}"),
            ("tracklets of nobody", f"{report.ghosts}"),
        ]
    footage = report.footage
    if report.bytes_per_sighting is not None:
        rows.append(("bytes sent per sighting", f"{report.bytes_per_sighting:,.0f}"))
        rows.append(("  one raw crop instead", f"{footage.raw_crop_bytes / report.sightings:,.0f}"))
    rows.append(("bytes sent", f"{report.sent_bytes:,}"))
    if footage.h264_bytes is not None:
        rows.append(("  the footage as H.264 instead", f"{footage.h264_bytes:,}"))
    rows.append(("pixel bytes sent", f"{report.pixel_bytes}"))
    if report.crops_per_second is not None:
        rows.append(("crops per second per core", f"{report.crops_per_second:,.0f}"))
    if report.lag_s is not None:
        rows.append(("lag, median", f"{report.lag_s:.2f} s"))
    rows.append(("frames per second per camera", f"{report.frames_per_second:.0f}"))
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {value}" for name, value in rows]
    if report.calibrated_on == "drawn":
        lines += ["", "  Thresholds were calibrated on drawn people: links are probable, never certain."]
    return "\n".join(lines)
