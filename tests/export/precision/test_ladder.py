"""What a ladder does with what was measured: whom the next precision meets, and what an engine is held to."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from cmnas_edge.bundle import Drawn, Precision
from cmnas_edge.bundle.pictures import draw
from cmnas_edge.embedding import MODALITIES, Modality, unit
from export.parity import by_onnx
from export.precision import Method, gate, ladder
from export.precision.crops import Crops
from export.precision.equalisation import equalised
from export.precision.gate import people
from export.precision.graph import Graph
from export.precision.ladder import MARGIN, Climb, climb, made_in
from export.precision.quantized import lifted, quantised, sites
from export.precision.ranges import reach
from tests.export.precision.graphs import HEIGHT, WIDTH, crops, light

F32 = npt.NDArray[np.float32]
PEOPLE = 40
UNLIKE = [1, 200, 1, 30, 1, 1]      # how far the channels of a LightConv reach


def climbed(*asked: Precision, method: Method = "minmax", reached: npt.ArrayLike = 1.0) -> Climb:
    models = dict.fromkeys(MODALITIES, light(reach=reached))
    return climb(models, HEIGHT, WIDTH, Drawn(0, 2, (2, 3), 1, 5), asked=asked, method=method, person_count=PEOPLE,
                 crops=Crops(dict.fromkeys(MODALITIES, crops()), "drawn"), out=io.StringIO())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[Modality, F32]:
    """Embeddings in float32 of people who are told apart with ease, which are nobody's own."""
    monkeypatch.setattr(ladder, "_blind", lambda *_: [])
    rng = np.random.default_rng(2)
    drawn = draw(people(PEOPLE), HEIGHT, WIDTH)
    centre = rng.normal(size=(drawn.identity.max() + 1, 24))
    every = unit((centre[drawn.identity] + 0.2 * rng.normal(size=(len(drawn), 24))).astype(np.float32))
    return {"visible": every[~drawn.infrared], "infrared": every[drawn.infrared]}


def answers(monkeypatch: pytest.MonkeyPatch, of: Mapping[str, dict[Modality, F32]]) -> None:
    """What each precision answers the gate's crops."""
    monkeypatch.setattr(ladder, "_embedded", lambda precision, models, shown: of[precision])


def turned(of: dict[Modality, F32], degrees: float, share: float = 1.0) -> dict[Modality, F32]:
    """Each vector at so many degrees to where it was, or each of the first share of them."""
    found = {}
    for modality, rows in of.items():
        sideways = np.concatenate([-rows[:, 12:], rows[:, :12]], 1)
        moved = np.cos(np.radians(degrees)) * rows + np.sin(np.radians(degrees)) * sideways
        few = int(share * len(rows))
        found[modality] = np.concatenate([moved[:few], rows[few:]]).astype(np.float32)
    return found


def test_a_precision_is_measured_against_those_that_were_let_in_before_it(
        seen: dict[Modality, F32], monkeypatch: pytest.MonkeyPatch) -> None:
    # Each turns everybody as far as float32 bears, one to the left and the other to the right.
    answers(monkeypatch, {"fp32": seen, "int8": turned(seen, 35), "fp16": turned(seen, -35)})
    for alone in ("int8", "fp16"):
        assert set(climbed(alone).admitted) == {alone}
    both = climbed("fp16", "int8")
    assert set(both.admitted) == {"int8"}
    assert "lost " in both.refused["fp16"]
    monkeypatch.setattr(gate, "LARGEST_LOSS", 101.0)
    worst = climbed("fp16", "int8").admitted["fp16"][1].gate.worst
    assert {"fp16", "int8"} == {word.partition("/")[0] for word in worst.partition(",")[0].split(" asks ")}


@pytest.mark.parametrize(("share", "counts"), [(1.0, True), (0.05, True), (1 / 160, False)])
def test_an_engine_is_held_to_all_but_one_in_a_hundred_of_the_gates_crops(
        seen: dict[Modality, F32], share: float, counts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"fp32": seen, "fp16": turned(seen, 20, share)})
    (_, variant), = climbed("fp16").admitted.values()
    measured = 1 - MARGIN * (1 - np.cos(np.radians(20)))
    if counts:
        assert variant.golden_cosine == pytest.approx(measured, abs=1e-3)
    else:
        assert variant.golden_cosine > 0.99


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_what_is_let_in_has_equal_channels_and_the_ranges_of_the_method_that_was_asked_for(
        method: Method, seen: dict[Modality, F32], monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"fp32": seen, "int8": seen})
    found = climbed("int8", method=method, reached=UNLIKE)
    graphs, variant = found.admitted["int8"]
    assert variant.ranges is not None
    assert variant.ranges.method == method
    made = {(equal, other): by_hand(equal, other) for equal in (True, False) for other in ("minmax", method)}
    for modality in MODALITIES:
        assert constants(graphs[modality]) == made[True, method]
    assert made[True, method] != made[False, method]
    assert (made[True, method] != made[True, "minmax"]) is (method != "minmax")


def by_hand(equal: bool, method: Any) -> dict[str, bytes]:
    graph = lifted(light(reach=UNLIKE))
    if equal:
        graph = equalised(graph, crops())
    return constants(quantised(graph, reach(graph, sites(Graph(graph)), crops(), method)))


def constants(model: onnx.ModelProto) -> dict[str, bytes]:
    return {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}


@pytest.mark.parametrize(("precision", "kept_bits"), [("bf16", 8), ("fp16", 11)])
def test_what_is_judged_of_a_precision_without_int8_is_rounded_like_it(precision: Precision, kept_bits: int) -> None:
    models = dict.fromkeys(MODALITIES, light())
    made = made_in(precision, models, {}, Crops(dict.fromkeys(MODALITIES, crops()), "drawn"))
    assert not made.reasons
    assert bool(made.shipped) is (precision == "fp16")      # of bf16 the float32 graph is what runs
    for modality in MODALITIES:
        apart = float(np.abs(by_onnx(made.judged[modality], crops()) - by_onnx(models[modality], crops())).max())
        # A value keeps so many bits; some dozen roundings on the way do not take away a hundred times as much.
        assert 2.0 ** -(kept_bits + 3) < apart < 100 * 2.0 ** -(kept_bits + 1)
