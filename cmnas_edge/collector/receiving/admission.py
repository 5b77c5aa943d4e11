"""What a legal record may still not say here: times that cannot be, and ever more camera names.

`cmnas_edge.sighting.faults` knows what any record may say; this knows what time it is and what
the device said before.
"""

from __future__ import annotations

from collections.abc import Iterable

from cmnas_edge.sighting import Gap, Refusal, Sighting

__all__ = ["AHEAD_S", "LONGEST_S", "MOST_CAMERAS", "MOST_LOST", "Admission"]

AHEAD_S = 600.0         # a device's clock may be wrong by this; recorded footage lies in the past
LONGEST_S = 3600.0      # nobody is one sighting for longer
MOST_CAMERAS = 64       # of one device, within the hot window
MOST_LOST = 10**9       # in one gap: thirty years of one a second
# Without the seconds found, so that it is the same sentence each time and repeats are counted, not said.
_AHEAD = (f"seen_at: expected at most {AHEAD_S:.0f} s ahead of the collector's clock, found more; set both clocks by "
          "one source (NTP)")


class Admission:
    """Refuses per record. One thread at a time may use it.

    Args:
        window_s: So long after it was last heard, a camera's name no longer counts.
        heard: Device, camera and when it was last heard, of those known from before.
    """

    def __init__(self, window_s: float, heard: Iterable[tuple[str, str, float]] = ()) -> None:
        self._window_s = window_s
        self._heard: dict[str, dict[str, float]] = {}
        for device, camera, at in heard:
            self._heard.setdefault(device, {})[camera] = at

    def judge(self, item: Sighting | Gap, device: str, now: float) -> Sighting | Gap | Refusal:
        """Return a record as it came, or why it is refused; for now only, if it is of a time to come.

        Args:
            item: A legal record.
            device: Who sent it.
            now: The collector's epoch seconds.
        """
        if isinstance(item, Gap):
            if item.count > MOST_LOST:
                return Refusal(item.spool, item.last, f"count: expected at most {MOST_LOST}, found {item.count}")
            return item
        if item.seen_at - item.seen_from > LONGEST_S:
            return Refusal(item.spool, item.sequence, f"seen_from: expected at most {LONGEST_S:.0f} s before seen_at, "
                           f"found {item.seen_at - item.seen_from:.0f} s")
        if item.seen_at - now > AHEAD_S:    # either clock may be the wrong one, and time goes on: no reason to lose it
            return Refusal(item.spool, item.sequence, _AHEAD, for_good=False)
        reason = self._name(item.camera, device, now)
        return Refusal(item.spool, item.sequence, reason) if reason else item

    def _name(self, camera: str, device: str, now: float) -> str:
        known = self._heard.setdefault(device, {})
        if camera not in known and len(known) >= MOST_CAMERAS:
            for name in [name for name, at in known.items() if at < now - self._window_s]:
                del known[name]
            if len(known) >= MOST_CAMERAS:
                return (f"camera: expected one of the {MOST_CAMERAS} this device named within the hot window, found "
                        f"{camera!r}; name fewer, or let another device have some")
        known[camera] = now
        return ""
