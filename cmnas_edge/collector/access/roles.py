"""Roles, and what each may do.

A viewer looks; an operator also searches and decides; an admin also logs people out and revokes devices. A
privacy officer looks, erases, exports and reads the audit log: none of the others may, so that
nobody erases the traces of what they did themselves.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

__all__ = ["ROLES", "Caller", "Role", "allows"]

Role = Literal["viewer", "operator", "admin", "privacy"]
ROLES: tuple[Role, ...] = get_args(Role)

_MAY: dict[str, frozenset[Role]] = {
    "viewer": frozenset({"viewer"}),
    "operator": frozenset({"viewer", "operator"}),
    "admin": frozenset({"viewer", "operator", "admin"}),
    "privacy": frozenset({"viewer", "privacy"}),
}
_WITHOUT_PEOPLE = ("viewer", "operator")


def allows(role: str, needed: str) -> bool:
    """Whether somebody of a role may do what is for a role; of a word that is no role, never.

    Examples:
        >>> allows("operator", "viewer"), allows("admin", "privacy"), allows("root", "viewer")
        (True, False, False)
    """
    return needed in _MAY.get(role, ())


class Caller(NamedTuple):
    """Who asks: somebody who logged in, or whoever sits at a collector where nobody is enrolled.

    Args:
        name: As enrolled; empty where nobody is.
        role: Theirs.
        token: Of their session.
        ends_at: When it ends at the latest, epoch seconds.
    """

    name: str = ""
    role: str = ""
    token: str = ""
    ends_at: float = 0.0

    def may(self, needed: str, *, changes: bool) -> bool:
        """Whether they may use a route; where nobody is enrolled, what only looks and is not privacy's."""
        if self.name:
            return allows(self.role, needed)
        return not changes and needed in _WITHOUT_PEOPLE
