"""The dashboard that is handed out shows every metric a daemon has, and asks for none that it has not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cmnas_edge.camera.running.metrics import METRICS

BOARD: dict[str, Any] = json.loads((Path(__file__).resolve().parents[2] / "docs" / "grafana.json").read_text())
EXPRESSIONS = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
LABELS = {metric.name: {*metric.labels, "job", "instance"} for metric in METRICS}


def name_of(found: str) -> str:
    """A histogram's metric is scraped as three."""
    names = {metric.name for metric in METRICS if metric.kind == "histogram"}
    base = re.sub(r"_(bucket|sum|count)$", "", found)
    return base if base in names else found


def test_it_shows_every_metric_and_no_other() -> None:
    asked = {name_of(name) for expression in EXPRESSIONS for name in re.findall(r"\bcmnas_\w+", expression)}
    assert asked == LABELS.keys()


def test_it_asks_by_labels_that_each_metric_has() -> None:
    for expression in EXPRESSIONS:
        for name, inside in re.findall(r"\b(cmnas_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside)) <= LABELS[name_of(name)], expression
        for labels in re.findall(r"\bby \(([^)]*)\)", expression):
            metric = name_of(re.findall(r"\bcmnas_\w+", expression)[0])
            assert set(labels.split(", ")) <= LABELS[metric] | {"le"}, expression


def test_counters_are_shown_as_rates_and_every_bracket_closes() -> None:
    counters = {metric.name for metric in METRICS if metric.kind == "counter"}
    totals = {"cmnas_sent_bytes_total", "cmnas_engine_failures_total"}     # shown as such, beside their rates or alone
    for expression in EXPRESSIONS:
        assert all(expression.count(left) == expression.count(right) for left, right in ("()", "{}", "[]"))
        for name in counters & set(re.findall(r"\bcmnas_\w+", expression)) - totals:
            assert re.search(rf"(rate|increase)\({name}\{{", expression), expression


def test_no_two_panels_lie_on_each_other() -> None:
    cells = [(x, y) for panel in BOARD["panels"] for place in [panel["gridPos"]]
             for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
