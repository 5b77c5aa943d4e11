"""Who is enrolled at a collector: a name, a role, and what their password hashes to.

Any change of a person ends their sessions: what was allowed before is asked for again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import NamedTuple

from cmnas_edge.collector.access.database import Database
from cmnas_edge.collector.access.roles import ROLES, Role
from cmnas_edge.errors import ConfigError

__all__ = ["NAME", "People", "Person"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_NAME_WORDS = "1 to 64 letters, digits or any of ._@- with a letter or digit first"
_ENDS = ("DELETE FROM session WHERE person = ? COLLATE NOCASE", "DELETE FROM link WHERE person = ? COLLATE NOCASE")


class Person(NamedTuple):
    """Somebody enrolled. ``has_password``: without one they come in only by a link made on the machine."""

    name: str
    role: str
    has_password: bool
    created_at: float
    changed_at: float


class People:
    """The enrolled people. Names are one whatever the case of their letters."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def any(self) -> bool:
        """Whether anybody is enrolled."""
        return bool(self._database.rows("SELECT 1 FROM person LIMIT 1"))

    def known(self) -> list[Person]:
        """Everybody, by name."""
        return [Person(name, role, bool(password), created, changed) for name, role, password, created, changed in
                self._database.rows("SELECT name, role, password, created_at, changed_at FROM person ORDER BY name")]

    def find(self, name: str) -> tuple[Person, str] | None:
        """Somebody and what their password hashes to (empty: they have none), or None."""
        rows = self._database.rows("SELECT name, role, password, created_at, changed_at FROM person WHERE name = ?",
                                   name)
        return next(((Person(n, r, bool(p), c, h), p) for n, r, p, c, h in rows), None)

    def add(self, name: str, role: str, password: str, *, first: Callable[[], None] = lambda: None) -> None:
        """Enrol somebody.

        Args:
            name: Not enrolled yet, in any case of letters.
            role: One of `ROLES`.
            password: What it hashes to; empty for none.
            first: Called when it can be done and is not yet; if it raises, nothing is changed. So of all changes.

        Raises:
            ConfigError: Nobody may be called this, there is no such role, or the name is taken.
        """
        if not NAME.fullmatch(name):
            raise ConfigError(f"name: expected {_NAME_WORDS}, found {name[:80]!a}; choose another")
        self._check(role)
        now = self._clock()
        with self._database.writing() as db:
            if db.execute("SELECT 1 FROM person WHERE name = ?", (name,)).fetchone():
                raise ConfigError(f"{name}: is enrolled already, and nothing was changed; give them another role with "
                                  "'person role', another password with 'person password'")
            db.execute("INSERT INTO person VALUES (?, ?, ?, ?, ?)", (name, role, password, now, now))
            first()

    def remove(self, name: str, *, first: Callable[[], None] = lambda: None) -> None:
        """Take somebody out; their sessions end at once.

        Raises:
            ConfigError: Nobody is called this.
        """
        self._change(name, "DELETE FROM person WHERE name = ?", (name,), first)

    def set_role(self, name: str, role: Role | str, *, first: Callable[[], None] = lambda: None) -> None:
        """Give somebody another role; their sessions end at once.

        Raises:
            ConfigError: Nobody is called this, or there is no such role.
        """
        self._check(role)
        self._change(name, "UPDATE person SET role = ?, changed_at = ? WHERE name = ?", (role, self._clock(), name),
                     first)

    def set_password(self, name: str, password: str, *, first: Callable[[], None] = lambda: None) -> None:
        """Give somebody another password, by its hash; their sessions end at once.

        Raises:
            ConfigError: Nobody is called this.
        """
        self._change(name, "UPDATE person SET password = ?, changed_at = ? WHERE name = ?",
                     (password, self._clock(), name), first)

    def rehash(self, name: str, old: str, new: str) -> None:
        """Keep the same password under a hash of today's cost, unless it was changed meanwhile; sessions go on."""
        self._database.write([("UPDATE person SET password = ? WHERE name = ? AND password = ?", (new, name, old))])

    def _change(self, name: str, statement: str, values: tuple[object, ...],
                first: Callable[[], None]) -> None:
        with self._database.writing() as db:
            if not db.execute(statement, values).rowcount:
                raise ConfigError(f"{name[:80]}: expected somebody enrolled, found nobody of this name; see "
                                  "'cmnas-edge collector person list'")
            for ends in (*_ENDS, "DELETE FROM browser WHERE person = ? COLLATE NOCASE"):
                db.execute(ends, (name,))
            first()

    def _check(self, role: str) -> None:
        if role not in ROLES:
            raise ConfigError(f"role: expected {', '.join(ROLES[:-1])} or {ROLES[-1]}, found {role[:80]!a}; choose one")
