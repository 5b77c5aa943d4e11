"""Builder, loader and runner over the real bindings: what reaches TensorRT, with which arguments and in which order."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import check_golden, open_engine
from cmnas_edge.engine.tensorrt import TensorRtEngine, Workplace, missing
from cmnas_edge.engine.tensorrt.build import bundle_job
from tests.tensorrt.stage import HOW
from tests.tensorrt.world import World

CROP_BYTES, EMBEDDING_BYTES = 32 * 16 * 3, 8 * 4


def named(world: World, name: str) -> list[tuple[Any, ...]]:
    """The arguments of each call of a method."""
    return [call.arguments for call in world.library.calls if call.name == name]


def opened(bundle: Bundle, plan: Path, place: Workplace) -> TensorRtEngine:
    return TensorRtEngine(bundle, "visible", precision="fp32", cache=plan.parents[2], workplace=place)


def test_nothing_is_missing_where_driver_bindings_and_pycuda_are(world: World) -> None:
    assert missing() is None


def test_a_build_says_in_numbers_what_it_was_asked_for(world: World, place: Workplace, bundle: Bundle, trt: Any,
                                                       tmp_path: Path) -> None:
    path, plan = place.build(bundle_job(bundle, "visible", "fp32"), HOW, tmp_path)

    assert named(world, "builder.create_network") == [(1 << world.strongly_typed,)]
    assert named(world, "config.set_memory_pool_limit") == [(int(trt.MemoryPoolType.WORKSPACE), 96 << 20)]
    assert named(world, "config.set_builder_optimization_level") == [(2,)]
    assert named(world, "config.set_profiling_verbosity") == [(int(trt.ProfilingVerbosity.DETAILED),)]
    assert named(world, "config.clear_flag") == [(int(trt.BuilderFlag.TF32),)]
    assert named(world, "config.set_flag") == []
    assert named(world, "profile.set_dimensions") == [("crops", 0, (1, 32, 16, 3)), ("crops", 1, (2, 32, 16, 3)),
                                                      ("crops", 2, (5, 32, 16, 3))]
    assert len(named(world, "config.add_optimization_profile")) == 1
    [(model, beside)] = named(world, "parser.parse")
    assert (bytes(model), beside) != (b"", "")
    assert Path(beside) == bundle.graph("visible")
    assert path.read_bytes().startswith(b"ftrt")
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in plan.tensors] == [
        ("crops", "uint8", (-1, 32, 16, 3)), ("embeddings", "float32", (-1, 8))]


def test_the_timing_cache_lives_through_the_build_and_serves_the_next(world: World, place: Workplace, bundle: Bundle,
                                                                      plan: Path) -> None:
    place.build(bundle_job(bundle, "visible", "fp32"), HOW, plan.parents[2], again=True)

    # `building.py` writes into the cache while it builds, and breaks a rule where the cache is gone by then.
    assert named(world, "config.create_timing_cache") == [(b"tactic",)]
    assert [ignore for _, ignore in named(world, "config.set_timing_cache")] == [False]
    [kept] = (plan.parents[2] / "timing").iterdir()
    assert kept.read_bytes() == b"tactic" * 2


def test_a_plan_that_is_there_is_not_built_again(world: World, place: Workplace, bundle: Bundle, plan: Path) -> None:
    assert place.build(bundle_job(bundle, "visible", "fp32"), HOW, plan.parents[2])[0] == plan
    assert world.library.calls == []


@pytest.mark.parametrize("integrated", [False, True], ids=["copied", "mapped"])
def test_the_golden_embeddings_come_back_from_every_batch(world: World, bundle: Bundle, tmp_path: Path,
                                                          integrated: bool) -> None:
    world.gpu.integrated = integrated
    crops, expected = bundle.golden("visible")
    with Workplace() as place:
        place.build(bundle_job(bundle, "visible", "fp32"), HOW, tmp_path)
        with TensorRtEngine(bundle, "visible", precision="fp32", cache=tmp_path, workplace=place) as engine:
            check_golden(engine, bundle, "visible")
            world.library.calls.clear()
            world.gpu.log.clear()
            for n in range(2 * HOW.most_batch + 2):
                rows = np.resize(np.arange(len(crops)), n)
                np.testing.assert_allclose(engine.embed(crops[rows]), expected[rows], atol=1e-6)
    shapes = [shape for name, shape in named(world, "context.set_input_shape") if name == "crops"]
    assert {shape[0] for shape in shapes} == set(range(1, HOW.most_batch + 1))
    batches = [min(5, n - start) for n in range(12) for start in range(0, n, 5)]
    copies = [int(event.split()[1]) for event in world.gpu.log if event.startswith("copy")]
    assert copies == ([] if integrated else [size * n for n in batches for size in (CROP_BYTES, EMBEDDING_BYTES)])


def test_addresses_are_told_once_and_the_stream_is_never_the_default_one(world: World, place: Workplace,
                                                                        bundle: Bundle, plan: Path) -> None:
    crops, _ = bundle.golden("visible")
    with opened(bundle, plan, place) as engine:
        for _ in range(3):
            engine.embed(crops[:2])
        [stream] = world.gpu.streams
        assert named(world, "context.execute_async_v3") == [(stream,)] * 3
        told = dict(named(world, "context.set_tensor_address"))
        assert len(named(world, "context.set_tensor_address")) == 2
        assert world.gpu.reaches(told["crops"], 5 * CROP_BYTES)
        assert world.gpu.reaches(told["embeddings"], 5 * EMBEDDING_BYTES)
        assert len(named(world, "context.set_input_shape")) == 1


def test_everything_ends_in_order(world: World, place: Workplace, bundle: Bundle, plan: Path) -> None:
    engine = opened(bundle, plan, place)
    engine.embed(bundle.golden("visible")[0])
    engine.close()

    ends = [event for event in world.gpu.log if event.endswith(".destroy") or event in ("free", "end stream")]
    assert ends == ["context.destroy", "engine.destroy", "runtime.destroy", *["free"] * 4, "end stream"]


def test_an_engine_says_what_it_takes_and_what_became_of_the_graph(world: World, place: Workplace, bundle: Bundle,
                                                                   plan: Path, trt: Any) -> None:
    with opened(bundle, plan, place) as engine:
        assert engine.runner.memory_bytes() == 1 << 20
        assert json.loads(engine.runner.layers())["Layers"][0]["LayerType"] == "CaskConvolution"
    assert named(world, "inspector.get_engine_information") == [(int(trt.LayerInformationFormat.JSON),)]


def test_an_engine_opened_by_name_passes_its_golden_check(world: World, place: Workplace, bundle: Bundle, plan: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(plan.parents[3]))
    (plan.parents[3] / "cmnas-edge").symlink_to(plan.parents[2])
    with open_engine(bundle, "visible", name="tensorrt", precision="fp32") as engine:
        assert (engine.name, engine.precision, engine.max_batch) == ("tensorrt", "fp32", HOW.most_batch)


def test_ctrl_c_stops_a_build_at_its_next_step(world: World, place: Workplace, bundle: Bundle, tmp_path: Path) -> None:
    seen: list[int] = []

    def press(step: int) -> None:
        seen.append(step)
        if step == 0:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        threading.Event().wait(0.005)  # a step takes its time, in which the main thread hears of it

    world.steps, world.on_step = 2000, press
    with pytest.raises(KeyboardInterrupt):
        place.build(bundle_job(bundle, "visible", "fp32"), HOW, tmp_path)
    assert len(seen) < 2000
    assert list(tmp_path.rglob("*.plan")) == []
