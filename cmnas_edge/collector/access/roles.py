"""Roles, and what each may do.

A viewer looks; an operator also searches and decides; an admin also runs the collector. A
privacy officer looks, erases, exports and reads the audit log: none of the others may, so that
nobody erases the traces of what they did themselves.
"""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["ROLES", "Role", "allows"]

Role = Literal["viewer", "operator", "admin", "privacy"]
ROLES: tuple[Role, ...] = get_args(Role)

_MAY: dict[str, frozenset[Role]] = {
    "viewer": frozenset({"viewer"}),
    "operator": frozenset({"viewer", "operator"}),
    "admin": frozenset({"viewer", "operator", "admin"}),
    "privacy": frozenset({"viewer", "privacy"}),
}


def allows(role: str, needed: str) -> bool:
    """Whether somebody of a role may do what is for a role; of a word that is no role, never.

    Examples:
        >>> allows("operator", "viewer"), allows("admin", "privacy"), allows("root", "viewer")
        (True, False, False)
    """
    return needed in _MAY.get(role, ())
