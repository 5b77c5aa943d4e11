"""People at work on a real collector: one has sightings erased, one decides; both note what they were answered."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from cmnas_edge.collector.access.database import Database
from cmnas_edge.collector.access.people import People as Enrolled
from cmnas_edge.collector.access.sessions import Sessions
from tests.collector.process import Process


class Sender(Protocol):
    """What an officer asks to know of a device."""

    device: str
    acknowledged: set[int]


class _Somebody:
    """Enrolled, and logged in."""

    def __init__(self, collector: Process, name: str, role: str) -> None:
        self._database = Database(collector.folder / "data")
        staff = Enrolled(self._database)
        staff.add(name, role, "")
        found = staff.find(name)
        assert found is not None
        self._token = Sessions(self._database).open(name, found[0].changed_at)
        self.asking = threading.Event()
        self.lasts = 1.0        # seconds, the last that was answered

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _cookie(self, url: str) -> dict[str, str]:
        return {"Cookie": f"cmnas-session-{urlsplit(url).port}={self._token}"}


class Officer(_Somebody):
    """Has some seconds of one device erased, now and then."""

    def __init__(self, collector: Process, devices: list[Sender]) -> None:
        super().__init__(collector, "grace", "privacy")
        self._devices, self._rng = devices, random.Random(7)
        self.perhaps: dict[str, set[int]] = {device.device: set() for device in devices}    # asked for
        self.surely: dict[str, set[int]] = {device.device: set() for device in devices}     # and answered
        self.receipts: list[str] = []

    def work(self, url: str) -> None:
        """Ask once; what was acknowledged before that is gone for good when it is answered."""
        device = self._rng.choice(self._devices)
        known = set(device.acknowledged)
        if not known:
            httpx.get(f"{url}/v1/health", headers=self._cookie(url))   # it may be gone before anything came
            return
        first = self._rng.randint(1, max(known))
        wanted = set(range(first, first + 8))
        self.perhaps[device.device] |= wanted
        began = time.monotonic()
        self.asking.set()
        answer = httpx.post(f"{url}/v1/erasures", timeout=20, headers=self._cookie(url), json={
            "device": device.device, "seen_from": 10.0 * first + 3, "seen_to": 10.0 * (first + 7), "reason": "asked"})
        assert answer.status_code == 200, answer.text
        self.surely[device.device] |= {number for number in wanted & known if number != first}
        self.receipts.append(answer.json()["id"])
        self.lasts = time.monotonic() - began


class Operator(_Somebody):
    """Confirms, merges, splits, holds apart and takes back, one after another.

    Promise held by `holds`: what was answered stands in the journal, once, and is so.
    """

    def __init__(self, collector: Process) -> None:
        super().__init__(collector, "otto", "operator")
        self._rng = random.Random(9)
        self._asked = 0
        self.answered: dict[int, dict[str, Any]] = {}
        self.kinds: dict[str, int] = {}

    def work(self, url: str) -> None:
        """Look who is there, and decide about some of them."""
        seen = httpx.get(f"{url}/v1/identities", params={"limit": 40}, headers=self._cookie(url), timeout=20)
        assert seen.status_code == 200, seen.text
        if (asked := self._choice(seen.json()["identities"])) is None:
            return
        self._asked += 1
        began = time.monotonic()
        self.asking.set()
        answer = httpx.post(f"{url}/v1/decisions", json={**asked, "reason": f"decision {self._asked}"},
                            headers=self._cookie(url), timeout=20)
        # Somebody may be part of another by now, or two were seen at once.
        assert answer.status_code in (200, 404, 409), answer.text
        if answer.status_code == 200:
            self.lasts = time.monotonic() - began
            told = answer.json()
            self.answered[told["id"]] = told
            self.kinds[told["kind"]] = self.kinds.get(told["kind"], 0) + 1

    def _choice(self, there: list[dict[str, Any]]) -> dict[str, Any] | None:
        kind = self._rng.choice(["confirm", "merge", "merge", "split", "cannot_link", "undo", "undo"])
        if kind == "undo":
            left = [number for number in self.answered if self.answered[number]["kind"] != "undo"]
            return {"kind": kind, "undoes": self._rng.choice(left)} if left else None
        count = {"merge": 2, "cannot_link": 2}.get(kind, 1)
        some = [one for one in there if kind != "split" or len(one["tracklets"]) > 1]
        if len(some) < count:
            return None
        chosen = self._rng.sample(some, count)
        asked: dict[str, Any] = {"kind": kind, "identities": [one["identity"] for one in chosen]}
        if kind == "split":
            of = [tracklet["id"] for tracklet in chosen[0]["tracklets"]]
            asked["tracklets"] = self._rng.sample(of, self._rng.randrange(1, len(of)))
        return asked

    def holds(self, journal: sqlite3.Connection) -> int:
        """Fail unless what was answered stands there; return how many of the decisions were found to be so.

        A decision goes with the last of its tracklets, and one that a later one is about as well may be undone by it.
        """
        now: dict[int, int] = dict(journal.execute(
            "SELECT opened_by, identity FROM link WHERE id IN (SELECT max(id) FROM link GROUP BY opened_by)"))
        kept: dict[int, tuple[str, Mapping[str, Any]]] = {}
        reasons = []
        for number, kind, reason, body in journal.execute("SELECT id, kind, reason, body FROM decision ORDER BY id"):
            kept[number] = kind, msgspec.json.decode(body)
            reasons.append(reason)
        assert len(reasons) == len(set(reasons)), "a decision stands there twice"
        for number, told in self.answered.items():
            left = now.keys() & set(told["tracklets"])
            if number in kept:
                kind, body = kept[number]
                assert kind == told["kind"]
                assert left <= set(body["tracklets"]) <= set(told["tracklets"])
            else:
                assert not left, f"decision {number} was answered and is gone, and tracklets it is about are there"
        so, later = 0, set[int]()
        for number in sorted(kept, reverse=True):
            kind, body = kept[number]
            about = set(body["tracklets"])
            if not about & later:
                if kind in ("confirm", "merge"):
                    assert len({now[one] for one in about & now.keys()}) <= 1, f"{kind} {number} is not so"
                elif kind in ("split", "cannot_link"):
                    one, other = ({now[each] for each in side if each in now} for side in body["sides"])
                    assert not one & other, f"{kind} {number} is not so"
                so += 1
            later |= about
        return so
