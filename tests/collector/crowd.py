"""A gallery with as many people as one likes, made up on the fly: how lists and pages bear a hundred thousand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cmnas_edge.collector import views
from cmnas_edge.collector.gallery import Gallery
from cmnas_edge.collector.roster import Roster
from cmnas_edge.embedding import MODALITIES
from tests.collector.people import Model

CAMERAS = [("gate", f"camera {number:02}") for number in range(40)]


class Crowd(Gallery):
    """Everybody was before two or three cameras within a day up to ``now``; the first was seen last."""

    def __init__(self, count: int, now: float) -> None:
        super().__init__(Model())
        rng = np.random.default_rng(5)
        last = now - np.arange(count) * (86000.0 / count)
        times = rng.integers(2, 4, count)
        who = np.repeat(np.arange(count), times)
        rows = np.zeros(len(who), [("identity", np.int64), ("camera", np.int32), ("modality", np.int8),
                                   ("seen_from", float), ("seen_at", float)])
        rows["identity"] = who + 1
        rows["camera"], rows["modality"] = rng.integers(0, len(CAMERAS), len(who)), rng.integers(0, 2, len(who))
        place = np.arange(len(who)) - np.repeat(np.cumsum(times) - times, times)    # 0 for somebody's last
        rows["seen_at"] = last[who] - 40.0 * place
        rows["seen_from"] = rows["seen_at"] - 8
        self.rows: npt.NDArray[np.void] = rows
        self._first = np.append(np.cumsum(times) - times, len(rows))
        self._everybody = Roster(rows, CAMERAS)
        self._listed = [views.Camera(
            device=device, camera=camera, state="live", modality="visible", modalities=["visible", "infrared"],
            last_seen_at=now - 1, last_received_at=now, lag_s=1.0, recorded=False, sighting_count=len(rows),
            lost_count=0, engine="onnxruntime", precision="fp32") for device, camera in CAMERAS]

    def wait(self, count: int) -> None:
        """Let those who would be seen last come only with the next call, which may say 0."""
        self._everybody = Roster(self.rows[self.rows["identity"] > count], CAMERAS)
        self.version += 1

    def cameras(self, now: float) -> views.CameraList:
        """Forty, all heard just now."""
        return views.CameraList(self._listed, [], now)

    def roster(self) -> Roster:
        """All of them, as of now."""
        return self._everybody

    def counts(self) -> tuple[int, int]:
        """As many sightings as appearances."""
        return len(self.rows), self._everybody.total

    def identities(self, asked: views.IdentitiesAsked | None = None, *, limit: int = 100) -> views.IdentityList:
        """A page of them."""
        page = self._everybody.page(asked or views.IdentitiesAsked(limit=limit))
        return views.IdentityList([self._made(number) for number in page.identities], self._everybody.total,
                                  self._everybody.across, "drawn", page.found, page.seen_from, page.seen_to)

    def timeline(self, identity: int) -> views.Timeline | None:
        """One of them."""
        return views.Timeline(self._made(identity), []) if 0 < identity < len(self._first) else None

    def suggestions(self, identity: int) -> views.SuggestionList:
        """Nobody else may be anybody here."""
        return views.SuggestionList([])

    def _made(self, identity: int) -> views.Identity:
        first, last = self._first[identity - 1:identity + 1]
        own = sorted(range(first, last), key=lambda row: self.rows["seen_from"][row])
        tracklets = []
        for at, row in enumerate(own):
            device, camera = CAMERAS[self.rows["camera"][row]]
            tracklets.append(views.Tracklet(
                id=row + 1, device=device, camera=camera, number=row + 1,
                modality=MODALITIES[self.rows["modality"][row]], seen_from=float(self.rows["seen_from"][row]),
                seen_at=float(self.rows["seen_at"][row]), sighting_count=3, rule="joined" if at else "opened",
                score=0.8 if at else None, threshold=0.7 if at else None, pair="visible-visible" if at else None,
                against=own[0] + 1 if at else None, probability=None, bundle=None, suggestion=False))
        return views.Identity(
            identity=identity, seen_from=tracklets[0].seen_from, seen_at=tracklets[-1].seen_at,
            modalities=[m for m in MODALITIES if any(t.modality == m for t in tracklets)],
            cameras=sorted({f"{t.device}/{t.camera}" for t in tracklets}), sighting_count=3 * len(tracklets),
            tracklets=tracklets)
