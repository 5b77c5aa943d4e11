"""Builder, loader and runner over the real bindings: what reaches TensorRT, with which arguments and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import check_golden
from cmnas_edge.engine.tensorrt import TensorRtEngine, Workplace, missing
from cmnas_edge.engine.tensorrt.build import How, bundle_job
from tests.tensorrt.library import Call, Dims
from tests.tensorrt.world import World
from tests.tiny_bundle import TINY

HOW = How(usual_batch=2, most_batch=5, workspace_mib=96, level=2)


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return Bundle.open(TINY)


@pytest.fixture
def place(world: World) -> Iterator[Workplace]:
    with Workplace() as place:
        yield place


def named(calls: list[Call], name: str) -> list[tuple[Any, ...]]:
    """The arguments of each call of a method."""
    return [call.arguments for call in calls if call.name == name]


def built(place: Workplace, bundle: Bundle, cache: Path, **further: Any) -> Path:
    return place.build(bundle_job(bundle, "visible", "fp32"), HOW, cache, **further)[0]


def test_nothing_is_missing_where_driver_bindings_and_pycuda_are(world: World) -> None:
    assert missing() is None


def test_a_build_says_in_numbers_what_it_was_asked_for(world: World, place: Workplace, bundle: Bundle, trt: Any,
                                                       tmp_path: Path) -> None:
    path = built(place, bundle, tmp_path)

    calls = world.library.calls
    assert named(calls, "builder.create_network") == [(1 << world.strongly_typed,)]
    assert named(calls, "config.set_memory_pool_limit") == [(int(trt.MemoryPoolType.WORKSPACE), 96 << 20)]
    assert named(calls, "config.set_builder_optimization_level") == [(2,)]
    assert named(calls, "config.clear_flag") == [(int(trt.BuilderFlag.TF32),)]
    assert named(calls, "config.set_flag") == []
    assert named(calls, "profile.set_dimensions") == [("crops", 0, (1, 32, 16, 3)), ("crops", 1, (2, 32, 16, 3)),
                                                      ("crops", 2, (5, 32, 16, 3))]
    assert len(named(calls, "config.add_optimization_profile")) == 1
    assert len(named(calls, "builder.build_serialized_network")) == 1
    assert path.read_bytes().startswith(b"ftrt")


def test_the_golden_embeddings_come_back_from_every_batch(world: World, place: Workplace, bundle: Bundle,
                                                          tmp_path: Path) -> None:
    built(place, bundle, tmp_path)
    crops, expected = bundle.golden("visible")
    with TensorRtEngine(bundle, "visible", precision="fp32", cache=tmp_path, workplace=place) as engine:
        check_golden(engine, bundle, "visible")
        for n in range(2 * HOW.most_batch + 2):
            rows = np.resize(np.arange(len(crops)), n)
            np.testing.assert_allclose(engine.embed(crops[rows]), expected[rows], atol=1e-6)
    shapes = named(world.library.calls, "context.set_input_shape")
    assert {shape[0] for _, shape in shapes} == set(range(1, HOW.most_batch + 1))
    assert all(name == "crops" and isinstance(shape, Dims) for name, shape in shapes)
