"""A page that Prometheus scrapes, made of a table of metrics and of their values at one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from cmnas_edge.errors import DeviceError
from cmnas_edge.monitoring.spread import Spread

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

__all__ = ["Exposition", "Metric", "Samples", "Values"]

Samples = list[tuple[tuple[str, ...], float]]       # by labels
Values = Iterable[tuple[str, "Samples | Spread"]]   # by name


class Metric(NamedTuple):
    """One metric: its name as scraped, what kind it is, its labels and what it says."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    says: str


class Exposition:
    """Writes values down as Prometheus reads them, with what its client tells of a process by itself."""

    def __init__(self, metrics: Sequence[Metric], values: Callable[[], Values]) -> None:
        """Prepare.

        Args:
            metrics: Every one there is.
            values: Takes their values, of each once; called for each page, by the thread that serves it.

        Raises:
            DeviceError: The package for it is missing.
        """
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415 - an extra
        except ImportError:
            raise DeviceError("health: expected the package prometheus-client, found none; run: pip install "
                              "'cmnas-edge[metrics]'") from None
        self._metrics = metrics
        self._values = values
        self._registry: CollectorRegistry = CollectorRegistry()     # not the process's own: others may use that
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        """The page that Prometheus scrapes."""
        from prometheus_client import generate_latest  # noqa: PLC0415

        return bytes(generate_latest(self._registry))

    def describe(self) -> list[Family]:
        """Nothing beforehand: looking is not free."""
        return []

    def collect(self) -> Iterator[Family]:
        """Every metric, once, with all its labels."""
        from prometheus_client import core  # noqa: PLC0415

        makers = {"gauge": core.GaugeMetricFamily, "counter": core.CounterMetricFamily}
        values, names = dict(self._values()), {metric.name for metric in self._metrics}
        assert values.keys() == names, values.keys() ^ names
        for name, kind, labels, says in self._metrics:
            found = values[name]
            if kind == "histogram":
                assert isinstance(found, Spread)
                ends = (*(repr(float(bound)) for bound in found.bounds), "+Inf")
                yield core.HistogramMetricFamily(name, says, list(zip(ends, found.counts, strict=True)), found.total)
                continue
            assert not isinstance(found, Spread)
            family = makers[kind](name.removesuffix("_total"), says, labels=labels)
            for at, value in found:
                family.add_metric(at, value)
            yield family
