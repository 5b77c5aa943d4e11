"""What the sightings tell of the cameras: when each was last heard, how late, what was lost.

A camera sends nothing while nobody is in view, so silence is called quiet, never down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cmnas_edge.collector import views
from cmnas_edge.collector.store.journal import JournalGap, Record
from cmnas_edge.embedding import MODALITIES, Modality

__all__ = ["FAST_CLOCK_S", "LATELY_S", "MOST_BARE", "MOST_GAPS", "QUIET_S", "RECORDED_S", "Cameras"]

QUIET_S = 60.0          # not heard for so long: quiet
RECORDED_S = 24 * 3600  # seen so long before it arrived: footage recorded earlier, with a clock of its own
FAST_CLOCK_S = 60.0     # seen so far in the future: the same

LATELY_S = 600.0        # a bundle by which a camera told nothing for so long before what it told last, it has left

MOST_GAPS = 256         # listed of one device; the oldest beyond are only counted
MOST_BARE = 1000        # cameras heard within the window of which nothing is held any more


_Appearance = tuple[str, int, float, float]     # spool, number of the tracklet, seen from and to


@dataclass
class _Camera:
    last: Record
    modalities: set[Modality] = field(default_factory=set)
    heard_at: dict[bytes, float] = field(default_factory=dict)  # by the bundle
    count: int = 0      # of its sightings that are held; what two bundles told of at once is one
    told: dict[_Appearance, int] = field(default_factory=dict)  # by how many records; empty where one bundle is taken

    @property
    def bundles(self) -> list[bytes]:
        """By which it told of people lately, the one heard last first."""
        near = [one for one, at in self.heard_at.items() if self.last.received_at - at <= LATELY_S]
        return sorted(near, key=lambda one: (-self.heard_at[one], one))


class Cameras:
    """State per camera and losses per device, within the hot window.

    Args:
        several: Whether sightings of several bundles are taken, and so one may be told of twice.
    """

    def __init__(self, *, several: bool = False) -> None:
        self._several = several
        self._cameras: dict[tuple[str, str], _Camera] = {}
        self._held = Counter[bytes]()       # sightings, by the bundle
        self._gaps: dict[str, dict[tuple[str, int], JournalGap]] = {}   # by device; the oldest first
        self._folded: dict[str, int] = {}   # lost in gaps no longer listed

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Device and camera of each."""
        return iter(self._cameras)

    def note(self, record: Record) -> str:
        """Take a sighting, in the order received; say it if the camera changed to another bundle, or to two."""
        camera = self._cameras.setdefault((record.device, record.camera), _Camera(record))
        before = set(camera.bundles)
        camera.last = record
        camera.modalities.add(record.modality)
        self._count(camera, record, 1)
        camera.heard_at[record.fingerprint] = record.received_at
        if not before or before == set(camera.bundles):
            return ""
        return (f"{record.device}/{record.camera}: tells of people by bundle "
                f"{' and '.join(sorted(one.hex()[:16] for one in camera.bundles))} now")

    def let_go(self, record: Record) -> None:
        """Count a sighting no more, which was taken and is held no longer."""
        self._count(self._cameras[record.device, record.camera], record, -1)

    def count_by(self, fingerprint: bytes) -> int:
        """How many cameras told of people by a bundle lately."""
        return sum(fingerprint in camera.bundles for camera in self._cameras.values())

    def held_by(self, fingerprint: bytes) -> int:
        """How many sightings of a bundle are held."""
        return self._held[fingerprint]

    def heard_by(self, fingerprint: bytes) -> float | None:
        """When people were last told of by a bundle; None where nothing of it is held."""
        heard = (camera.heard_at.get(fingerprint) for camera in self._cameras.values())
        return max((at for at in heard if at is not None), default=None) if self._held[fingerprint] else None

    def note_gaps(self, gaps: Iterable[JournalGap]) -> None:
        """Take reports of losses; one that grew replaces its earlier form."""
        for gap in gaps:
            listed = self._gaps.setdefault(gap.device, {})
            known = listed.get((gap.spool, gap.first))
            if known is None or gap.count >= known.count:
                listed.pop((gap.spool, gap.first), None)
                listed[gap.spool, gap.first] = gap
            if len(listed) > MOST_GAPS:
                oldest = listed.pop(next(iter(listed)))
                self._folded[gap.device] = self._folded.get(gap.device, 0) + oldest.count

    def expire(self, since: float) -> int:
        """Forget cameras of which nothing is held that were last heard, and losses reported, before ``since``.

        Of cameras of which nothing is held that were heard later, all but the last `MOST_BARE`, too.

        Returns:
            How many of either.
        """
        bare = sorted((camera.last.received_at, key) for key, camera in self._cameras.items() if not camera.count)
        beyond = max(0, len(bare) - MOST_BARE)      # whatever names a device makes up
        silent = [key for place, (at, key) in enumerate(bare) if at < since or place < beyond]
        for key in silent:
            del self._cameras[key]
        gone = len(silent)
        for device, listed in list(self._gaps.items()):
            old = [key for key, gap in listed.items() if gap.received_at < since]
            for one in old:
                del listed[one]
            gone += len(old)
            if not listed:
                del self._gaps[device]
                self._folded.pop(device, None)
        return gone

    def heard(self) -> list[tuple[str, str, float]]:
        """Device, camera, and when it was last heard, of each."""
        return [(*key, camera.last.received_at) for key, camera in self._cameras.items()]

    def view(self, now: float) -> views.CameraList:
        """Every camera, by device and name, as of the collector's clock ``now``."""
        every = [gap for listed in self._gaps.values() for gap in listed.values()]
        lost = dict(self._folded)
        for gap in every:
            lost[gap.device] = lost.get(gap.device, 0) + gap.count
        cameras = []
        for (device, name), camera in sorted(self._cameras.items()):
            lag = camera.last.received_at - camera.last.seen_at
            recorded = not -FAST_CLOCK_S <= lag <= RECORDED_S
            cameras.append(views.Camera(
                device=device, camera=name, modality=camera.last.modality,
                state="live" if now - camera.last.received_at <= QUIET_S else "quiet",
                modalities=[m for m in MODALITIES if m in camera.modalities],
                last_seen_at=camera.last.seen_at, last_received_at=camera.last.received_at,
                lag_s=None if recorded else lag, recorded=recorded, sighting_count=camera.count,
                lost_count=lost.get(device, 0), engine=camera.last.engine, precision=camera.last.precision,
                fingerprints=[one.hex() for one in camera.bundles]))
        gaps = [views.Gap(g.device, g.spool, g.first, g.last, g.count, g.received_at) for g in every]
        return views.CameraList(cameras, gaps, now)

    def _count(self, camera: _Camera, record: Record, by: int) -> None:
        self._held[record.fingerprint] += by
        if self._several:
            appearance = (record.spool, record.tracklet, record.seen_from, record.seen_at)
            was = camera.told.pop(appearance, 0)
            if was + by:
                camera.told[appearance] = was + by
            camera.count += bool(was + by) - bool(was)
        else:
            camera.count += by
