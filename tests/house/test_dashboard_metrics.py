"""The dashboards that are handed out show every metric a room has, and ask for none that it has not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cmnas_edge.camera.running.metrics import METRICS
from cmnas_edge.collector.web.metrics import METRICS as COLLECTOR_METRICS
from cmnas_edge.monitoring.exposition import Metric

DOCS = Path(__file__).resolve().parents[2] / "docs"


class Board:
    """One dashboard, and the metrics it is for."""

    def __init__(self, name: str, metrics: Sequence[Metric]) -> None:
        self.metrics = metrics
        self.whole: dict[str, Any] = json.loads((DOCS / name).read_text())
        self.expressions = [target["expr"] for panel in self.whole["panels"] for target in panel["targets"]]
        self.labels = {metric.name: {*metric.labels, "job", "instance"} for metric in metrics}

    def name_of(self, found: str) -> str:
        """A histogram's metric is scraped as three."""
        names = {metric.name for metric in self.metrics if metric.kind == "histogram"}
        base = re.sub(r"_(bucket|sum|count)$", "", found)
        return base if base in names else found


@pytest.fixture(params=[("grafana.json", METRICS), ("grafana-collector.json", COLLECTOR_METRICS)],
                ids=["camera", "collector"])
def board(request: pytest.FixtureRequest) -> Board:
    """Each of them."""
    return Board(*request.param)


def test_it_shows_every_metric_and_no_other(board: Board) -> None:
    asked = {board.name_of(name) for expression in board.expressions
             for name in re.findall(r"\bcmnas_\w+", expression)}
    assert asked == board.labels.keys()


def test_it_asks_by_labels_that_each_metric_has(board: Board) -> None:
    for expression in board.expressions:
        for name, inside in re.findall(r"\b(cmnas_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside)) <= board.labels[board.name_of(name)], expression
        for labels in re.findall(r"\bby \(([^)]*)\)", expression):
            metric = board.name_of(re.findall(r"\bcmnas_\w+", expression)[0])
            assert set(labels.split(", ")) <= board.labels[metric] | {"le"}, expression


def test_counters_are_shown_as_rates_and_every_bracket_closes(board: Board) -> None:
    counters = {metric.name for metric in board.metrics if metric.kind == "counter"}
    totals = {"cmnas_sent_bytes_total", "cmnas_engine_failures_total"}     # shown as such, beside their rates or alone
    for expression in board.expressions:
        assert all(expression.count(left) == expression.count(right) for left, right in ("()", "{}", "[]"))
        for name in counters & set(re.findall(r"\bcmnas_\w+", expression)) - totals:
            assert re.search(rf"(rate|increase)\({name}\{{", expression), expression


def test_no_two_panels_lie_on_each_other(board: Board) -> None:
    cells = [(x, y) for panel in board.whole["panels"] for place in [panel["gridPos"]]
             for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_what_is_chosen_from_is_asked_of_a_metric_it_has(board: Board) -> None:
    asked = [each["query"]["query"] for each in board.whole["templating"]["list"] if each["type"] == "query"]
    assert asked
    for question in asked:
        (name,) = re.findall(r"label_values\((cmnas_\w+), \w+\)", question)
        assert name in board.labels
