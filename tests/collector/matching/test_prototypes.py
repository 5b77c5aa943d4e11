"""Of very many people only the likest are scored to the last bit, and nobody is chosen otherwise for it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.calibration import Calibration
from cmnas_edge.collector.matching import prototypes
from cmnas_edge.collector.matching.identity import Identities, Link
from cmnas_edge.collector.matching.prototypes import Prototypes
from cmnas_edge.embedding import unit
from tests.collector.matching.test_identity_quality import D, Walk


@given(st.integers(0, 2**32 - 1), st.integers(70, 300))
def test_the_likest_are_exact_and_the_others_to_half_precision(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    known, (probe, *vectors) = Prototypes(D), unit(rng.standard_normal((count + 1, D)).astype(np.float32))
    known._vectors, known._halves = np.stack(vectors), np.stack(vectors).astype(np.float16)
    known._end = count
    rows = np.flatnonzero(rng.random(count) < 0.95)
    exact = known.scores(probe, rows)
    assert np.array_equal(exact, (np.stack(vectors) @ probe)[rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prototypes, "MANY", 10)
        patch.setattr(prototypes, "NEAR", 8)
        found = known.scores(probe, rows)
    assert np.abs(found - exact).max() < 2e-3
    assert (found != exact).any(), "all of it was read in single precision"
    likest = np.argsort(-exact)[:3]
    assert np.abs(found[likest] - exact[likest]).max() < 1e-6


def test_links_are_those_of_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def linked() -> list[tuple[Link, ...]]:
        walk = Walk(3)
        identities = Identities(D, Calibration(1, "00" * 32, "drawn", walk.thresholds))
        return [tuple(identities.add(msgspec.structs.replace(seen, id=number), vector))
                for number, (seen, vector, _) in enumerate(walk.seen, 1)]

    exact = linked()
    monkeypatch.setattr(prototypes, "MANY", 10)
    monkeypatch.setattr(prototypes, "NEAR", 8)
    roughly = linked()
    assert [[(one.rule, one.identity, one.against) for one in links] for links in roughly] == [
        [(one.rule, one.identity, one.against) for one in links] for links in exact]
    assert roughly != exact, "the sum over everybody is to half precision, and shows in probabilities"
