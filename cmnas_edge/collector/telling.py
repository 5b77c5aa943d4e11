"""What is told of sightings, tracklets and identities, as structs of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmnas_edge.calibration import Calibration
from cmnas_edge.collector import views
from cmnas_edge.collector.changes import Change
from cmnas_edge.collector.matching.held import Held
from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.matching.match import Model
from cmnas_edge.collector.matching.tracklet import Tracklet
from cmnas_edge.collector.store.records import Record
from cmnas_edge.embedding import MODALITIES

__all__ = ["Telling"]


class Telling:
    """Words for what a gallery holds.

    Args:
        models: The bundles that are accepted, the leading one first.
        held: What people decided.
    """

    def __init__(self, models: Mapping[bytes, Model], held: Held) -> None:
        self._models = models
        self._held = held

    def identity(self, number: int, members: Sequence[Tracklet], decided: Mapping[int, Link]) -> views.Identity:
        """Tell of an identity.

        Args:
            number: Which.
            members: Its tracklets.
            decided: What decided last about each tracklet, by the sighting that opened it.
        """
        members = sorted(members, key=lambda t: (t.seen_from, t.opened_by))
        return views.Identity(
            identity=number, seen_from=members[0].seen_from, seen_at=max(t.seen_at for t in members),
            modalities=[m for m in MODALITIES if any(t.modality == m for t in members)],
            cameras=sorted({f"{t.device}/{t.camera}" for t in members}),
            sighting_count=sum(t.sighting_count for t in members),
            tracklets=[self.tracklet(t, decided[t.opened_by]) for t in members])

    def sighting(self, record: Record, link: Link, tracklet: Tracklet) -> views.Sighting:
        """Tell of a sighting: what was stored, how it was linked, and the tracklet it is part of."""
        return views.Sighting(
            id=record.id, device=record.device, camera=record.camera, seen_from=record.seen_from,
            seen_at=record.seen_at, received_at=record.received_at, modality=record.modality,
            tracklet=record.tracklet, identity=tracklet.identity, rule=link.rule, score=link.score,
            threshold=link.threshold, pair=link.pair, against=link.against, probability=link.probability,
            suggestion=self._only_suggested(link), quality=record.quality,
            view_count=record.view_count, box_width=record.box_width, box_height=record.box_height,
            engine=record.engine, precision=record.precision, fingerprint=record.fingerprint.hex())

    def tracklet(self, tracklet: Tracklet, link: Link) -> views.Tracklet:
        """Tell of a tracklet, and what decided last about it."""
        return views.Tracklet(
            id=tracklet.opened_by, device=tracklet.device, camera=tracklet.camera, number=tracklet.key[3],
            modality=tracklet.modality, seen_from=tracklet.seen_from, seen_at=tracklet.seen_at,
            sighting_count=tracklet.sighting_count, rule=link.rule, score=link.score, threshold=link.threshold,
            pair=link.pair, against=link.against, probability=link.probability, bundle=_judged_by(link),
            suggestion=self._only_suggested(link))

    def change(self, change: Change, identity: int) -> views.Change:
        """Tell of what changed by itself, and which number that is by now."""
        link = change.link
        return views.Change(
            at=link.made_at, kind="merged" if link.rule == "merged" else "parted", was=change.was,
            became=link.identity, tracklets=list(change.tracklets), score=link.score, threshold=link.threshold,
            pair=link.pair, probability=link.probability, against=link.against, bundle=_judged_by(link),
            suggestion=self._only_suggested(link), identity=identity)

    def _calibration(self, fingerprint: bytes | None) -> Calibration | None:
        """By which calibration a link was judged: its bundle's; None: that one is accepted no more."""
        first = next(iter(self._models.values()))
        model = first if fingerprint is None else self._models.get(fingerprint)
        return None if model is None else model.calibration

    def _only_suggested(self, link: Link) -> bool:
        """Whether what a link puts together is a suggestion, which stays, labelled, until a person confirms it."""
        if link.rule not in ("joined", "merged") or link.pair is None:
            return False
        calibration = self._calibration(link.fingerprint)
        # Nobody knows any more what was promised across modalities by a bundle that is gone.
        only = link.pair == "visible-infrared" if calibration is None else calibration.only_suggests(link.pair)
        return only and not self._held.together(link.opened_by, link.against or 0)


def _judged_by(link: Link) -> str | None:
    """The fingerprint of the bundle by which a link was decided; None: a person decided, or nobody noted it."""
    return None if link.rule == "decided" or link.fingerprint is None else link.fingerprint.hex()
