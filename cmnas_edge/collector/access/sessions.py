"""Being logged in: a session by a cookie, a link that lets somebody in once, and browsers known from before.

Each is 256 random bits that only their holder has; kept is the SHA-256, which needs no salt, for so much
randomness cannot be searched. Whoever reads the file can log in as nobody.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable

from cmnas_edge.collector.access.database import Database
from cmnas_edge.collector.access.roles import ROLES, Caller
from cmnas_edge.errors import Transient

__all__ = ["LINK_S", "Sessions"]

LINK_S = 600.0
_MOST_BROWSERS = 16     # known of one person
_BROWSER_S = 180 * 86400.0
_FORGET = """
DELETE FROM browser WHERE seen_at < ? OR (person = ? COLLATE NOCASE AND hash NOT IN (
    SELECT hash FROM browser WHERE person = ? COLLATE NOCASE ORDER BY seen_at DESC, rowid DESC LIMIT ?))
"""
_TOUCH_S = 60.0         # a session's last use is written no more often; a page asks twice a second


class Sessions:
    """Sessions, links and known browsers of enrolled people.

    Args:
        database: Where they are kept.
        idle_s: A session unused for so long is over.
        longest_s: And after so long in any case.
        clock: Epoch seconds.
    """

    def __init__(self, database: Database, *, idle_s: float = 7200.0, longest_s: float = 43200.0,
                 clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._idle_s = idle_s
        self._longest_s = longest_s
        self._clock = clock

    def open(self, name: str, changed_at: float) -> str:
        """Begin a session of somebody enrolled, who has not been changed since they were looked at.

        Args:
            name: Theirs.
            changed_at: As it was when they were found to be who they are; if their password or role
                was changed since, the token opens nothing.

        Returns:
            Its token, which is always new.
        """
        token, now = _new(), self._clock()
        with self._database.writing() as db:
            # Those that are over are swept here, so that they are not kept for good.
            db.execute("DELETE FROM session WHERE used_at < ? OR opened_at < ?",
                       (now - self._idle_s, now - self._longest_s))
            db.execute("INSERT INTO session SELECT ?, name, ?, ? FROM person WHERE name = ? AND changed_at = ?",
                       (_hash(token), now, now, name, changed_at))
        return token

    def caller(self, token: str) -> Caller | None:
        """Whose session this is, if it goes on; using it keeps it from being idle."""
        now, key = self._clock(), _hash(token)
        rows = self._database.rows(
            "SELECT person.name, role, opened_at, used_at FROM session JOIN person ON person.name = session.person "
            "WHERE hash = ?", key)
        if not rows or rows[0][1] not in ROLES:     # a role of a newer version, or of a hand in the file, is none
            return None
        name, role, opened_at, used_at = rows[0]
        # A clock set back must not make a session endless.
        if not (used_at - _TOUCH_S <= now < used_at + self._idle_s and now < opened_at + self._longest_s):
            self.end(token)
            return None
        if now - used_at >= _TOUCH_S:
            with contextlib.suppress(Transient):    # a full disk: it ends earlier than it should, and goes on for now
                self._database.write([("UPDATE session SET used_at = ? WHERE hash = ?", (now, key))])
        return Caller(name, role, token, opened_at + self._longest_s)

    def end(self, token: str) -> None:
        """End a session."""
        self._database.write([("DELETE FROM session WHERE hash = ?", (_hash(token),))])

    def end_all(self, name: str) -> int:
        """End somebody's sessions and links; say how many sessions went on."""
        with self._database.writing() as db:
            db.execute("DELETE FROM link WHERE person = ? COLLATE NOCASE", (name,))
            (count,) = db.execute("SELECT count(*) FROM session WHERE person = ? COLLATE NOCASE AND used_at > ? AND "
                                  "opened_at > ?", (name, *self._over())).fetchone()
            db.execute("DELETE FROM session WHERE person = ? COLLATE NOCASE", (name,))
        return int(count)

    def counts(self) -> dict[str, int]:
        """How many sessions go on, by name."""
        return dict(self._database.rows(
            "SELECT person, count(*) FROM session WHERE used_at > ? AND opened_at > ? GROUP BY person", *self._over()))

    def _over(self) -> tuple[float, float]:
        """Last used and opened by then, a session is over."""
        now = self._clock()
        return now - self._idle_s, now - self._longest_s

    def link(self, name: str, life_s: float = LINK_S) -> str:
        """Make a token that lets somebody enrolled in once, without their password."""
        token, now = _new(), self._clock()
        self._database.write([
            ("DELETE FROM link WHERE ends_at < ?", (now,)),
            ("INSERT INTO link SELECT ?, name, ? FROM person WHERE name = ?", (_hash(token), now + life_s, name))])
        return token

    def take_link(self, token: str) -> str | None:
        """Use a link up; whose it is, or None if it is used, too old, or none."""
        key, now = _hash(token), self._clock()
        with self._database.writing() as db:
            row = db.execute("SELECT person FROM link WHERE hash = ? AND ends_at > ?", (key, now)).fetchone()
            db.execute("DELETE FROM link WHERE hash = ?", (key,))
        return None if row is None else str(row[0])

    def remember(self, name: str) -> str:
        """Make a token by which the browser that just logged in is known as this person's."""
        token, now = _new(), self._clock()
        self._database.write([
            ("INSERT INTO browser SELECT ?, name, ? FROM person WHERE name = ?", (_hash(token), now, name)),
            (_FORGET, (now - _BROWSER_S, name, name, _MOST_BROWSERS))])
        return token

    def remembers(self, token: str, name: str) -> bool:
        """Whether somebody of this name logged in from this browser before."""
        return bool(self._database.rows("SELECT 1 FROM browser WHERE hash = ? AND person = ? COLLATE NOCASE AND "
                                        "seen_at > ?", _hash(token), name, self._clock() - _BROWSER_S))


def _new() -> str:
    return "cmnas_" + secrets.token_urlsafe(32)     # the log's scrubber knows these by their beginning


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
