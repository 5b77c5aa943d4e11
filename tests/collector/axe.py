"""axe-core in a page: what keeps people out of it."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from tests.collector.browser import Browser


@functools.cache
def _axe() -> str:
    return (resources.files("axe_core_python") / "axe.min.js").read_text("utf-8")


def faults(browser: Browser) -> list[Any]:
    """Serious and critical faults of the page as it is now: how bad, which rule, and where."""
    browser.see(_axe() + "; 0")     # what a debugger evaluates is not held by the page's policy
    found = browser.see("axe.run().then((r) => JSON.stringify(r.violations.map((v) => "
                        "[v.impact, v.id, v.nodes.map((n) => n.target.join(' ') + ': ' + n.failureSummary)])))")
    return [fault for fault in json.loads(found) if fault[0] in ("serious", "critical")]
