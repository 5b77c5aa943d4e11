"""The table of docs/people.md: every route of the collector's API, and which role may use it.

    python -m tests.house.route_roles        # write it into the document, between its marks

Made from `ROUTES`; a test holds the document against it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cmnas_edge.collector.access.roles import ROLES, allows
from cmnas_edge.collector.web.api import Api
from cmnas_edge.collector.web.routes import ROUTES

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "people.md"
BEGIN, END = "<!-- route and role -->", "<!-- end of route and role -->"


def table() -> str:
    """One line a route, one column a role."""
    lines = [("route", "what it does", *ROLES), ("---", "---", *("---" for _ in ROLES))]
    for route in ROUTES:
        says = (getattr(Api, route.name).__doc__ or "").strip().splitlines()[0].rstrip(".")
        lines.append((f"`{route.method} {route.path}`", says,
                      *("yes" if allows(role, route.role) else "" for role in ROLES)))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def filled(document: str) -> str:
    """The document with the table as the code has it now."""
    assert document.count(BEGIN) == document.count(END) == 1, f"expected {BEGIN} and {END} once each"
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text("utf-8")), "utf-8")
    sys.exit(0)
