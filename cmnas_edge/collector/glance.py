"""A gallery at a glance, for the pages: the site, the calibration in effect, and what another threshold would do."""

from __future__ import annotations

from cmnas_edge.calibration import PAIRS
from cmnas_edge.collector import overviews
from cmnas_edge.collector.gallery import Gallery
from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.matching.match import Model
from cmnas_edge.collector.matching.tracklet import Tracklet
from cmnas_edge.collector.roster import LONGEST_TRANSIT_S, SPAN_S

__all__ = ["calibration", "moved", "site"]

_TOGETHER = ("joined", "merged", "parted")
_APART = ("opened", "unsure", "parted")
_MOST_WAYS = 2000   # learned, and told of


def site(gallery: Gallery, now: float) -> overviews.Site:
    """The cameras heard in the window, the ways between them, and the traffic of the last hour."""
    roster = gallery.roster()
    cameras = gallery.cameras(now).cameras
    recorded = roster.newest is not None and all(camera.recorded for camera in cameras)
    until = roster.newest if recorded and roster.newest is not None else now
    heard = {(camera.device, camera.camera) for camera in cameras}
    return overviews.Site(
        cameras=cameras, traffic=[t for t in roster.traffic(until) if (t.device, t.camera) in heard],
        transits=[t for t in roster.transits(until)
                  if {(t.from_device, t.from_camera), (t.to_device, t.to_camera)} <= heard],
        learned=_learned(gallery, heard), until=until, span_s=SPAN_S, longest_s=LONGEST_TRANSIT_S, now=now)


def _learned(gallery: Gallery, heard: set[tuple[str, str]]) -> list[overviews.LearnedWay]:
    """What is known of ways between cameras that are heard, those taken most first."""
    found = [overviews.LearnedWay(
        from_device=start[0], from_camera=start[1], to_device=end[0], to_camera=end[1], count=leg.count,
        median_s=leg.median_s, soonest_s=leg.soonest_s, latest_s=leg.latest_s, weight=leg.weight,
        impossible_s=leg.impossible_s) for start, end, leg in gallery.legs() if {start, end} <= heard]
    return sorted(found, key=lambda way: (-way.count, way.from_camera, way.to_camera))[:_MOST_WAYS]


def calibration(model: Model) -> overviews.CalibrationShown:
    """The calibration in effect."""
    found = model.calibration
    return overviews.CalibrationShown(
        fingerprint=found.fingerprint, calibrated_on=found.calibrated_on, prior=found.prior,
        pairs=[overviews.PairShown(pair=name, threshold=found.thresholds[name], scale=found.scales.get(name),
                                   calibrated_on=found.origin(name), only_suggests=found.only_suggests(name))
               for name in PAIRS])


def moved(gallery: Gallery, asked: overviews.MovedAsked) -> overviews.Moved:
    """Which links of the window another threshold of a pair would change.

    What a link needed, with the people about and the way there, moves as far as the threshold does. Whoever
    reached it and was yet kept apart is not among them, nor what a person decided.
    """
    by = asked.score - gallery.model.thresholds[asked.pair].score
    parting, joining = [], []
    for link, tracklet, against in gallery.decided(asked.pair):
        if link.score is None or link.threshold is None or link.rule not in (*_APART, *_TOGETHER):
            continue
        if link.rule in _TOGETHER and link.threshold <= link.score < link.threshold + by:
            parting.append(_moved(link, tracklet, against, link.score, link.threshold))
        elif link.threshold + by <= link.score < link.threshold:
            joining.append(_moved(link, tracklet, against, link.score, link.threshold))
    nearest = sorted(parting + joining, key=lambda one: (abs(one.score - one.threshold - by), one.id))
    return overviews.Moved(pair=asked.pair, score=asked.score, would_part=len(parting), would_join=len(joining),
                           links=nearest[:asked.limit])


def _moved(link: Link, tracklet: Tracklet, against: Tracklet | None, score: float,
           threshold: float) -> overviews.MovedLink:
    return overviews.MovedLink(
        id=tracklet.opened_by, identity=tracklet.identity, against=link.against,
        against_identity=None if against is None else against.identity, device=tracklet.device, camera=tracklet.camera,
        modality=tracklet.modality, seen_from=tracklet.seen_from, seen_at=tracklet.seen_at, rule=link.rule,
        score=score, threshold=threshold)
