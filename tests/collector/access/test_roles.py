"""Roles: three stand one upon the other, one beside them, and a word that is no role may nothing."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from cmnas_edge.collector.access.roles import ROLES, Caller, allows
from cmnas_edge.collector.web.routes import ROUTES
from tests.house import route_roles

EXPECTED = {    # who may do what is for a viewer, an operator, an admin, a privacy officer
    "viewer": (True, False, False, False), "operator": (True, True, False, False),
    "admin": (True, True, True, False), "privacy": (True, False, False, True)}


def test_each_role_may_what_the_table_of_roles_says_and_no_more() -> None:
    assert {role: tuple(allows(role, needed) for needed in ROLES) for role in ROLES} == EXPECTED


@given(st.one_of(st.text(), st.sampled_from(["", "Admin", "admin ", "root", "viewer,admin", "*", "None"])))
def test_what_is_no_role_may_nothing_and_is_needed_by_nothing(word: str) -> None:
    if word not in ROLES:
        assert not any(allows(word, needed) for needed in (*ROLES, word))
        assert not any(allows(role, word) for role in ROLES)


def test_where_nobody_is_enrolled_nothing_can_be_changed_and_privacy_and_admin_are_nobodys() -> None:
    assert [Caller().may(needed, changes=False) for needed in ROLES] == [True, True, False, False]
    assert not any(Caller().may(needed, changes=True) for needed in ROLES)
    assert not Caller("anna", "").may("viewer", changes=False)
    assert [Caller("anna", "operator").may(needed, changes=True) for needed in ROLES] == [True, True, False, False]


def test_the_table_in_the_document_is_that_of_the_routes_and_none_is_missing() -> None:
    text = route_roles.DOCUMENT.read_text("utf-8")
    assert route_roles.filled(text) == text, "run python -m tests.house.route_roles"
    for route in ROUTES:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{route.method} {route.path}` |")]
        cells = [cell.strip() == "yes" for cell in line.split("|")[3:-1]]
        assert cells == [EXPECTED[role][ROLES.index(route.role)] for role in ROLES]
