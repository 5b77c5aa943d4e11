"""A link of the parity chain is measured as it says, and a broken one stops the export."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmnas_edge.errors import BundleError
from export.parity import LIMIT, Step, by_network, compare, enforce
from tests.export.networks import drawn_crops, drawn_network, flags
from train.evaluate import normalised


def test_the_worst_row_and_the_worst_entry_count() -> None:
    a = np.array([[1, 0], [1, 0], [0.6, 0.8]], np.float32)
    b = np.array([[1, 0], [0.6, 0.8], [0.6, 0.8]], np.float32)
    step = compare("visible", "link", a, b)
    assert step.cosine_distance == pytest.approx(0.4)
    assert step.absolute_error == pytest.approx(0.8)
    assert step.crop_count == 3


def test_rows_that_are_zero_in_both_agree_and_in_one_do_not() -> None:
    zero, one = np.zeros((1, 2), np.float32), np.array([[0, 1]], np.float32)
    enforce([compare("visible", "link", zero, zero)])
    with pytest.raises(BundleError):
        enforce([compare("visible", "link", zero, one)])


@pytest.mark.parametrize("broken", [
    Step("infrared", "folded = ONNX", 3, 2 * LIMIT, 0), Step("infrared", "folded = ONNX", 3, 0, 2 * LIMIT),
    Step("infrared", "folded = ONNX", 3, float("nan"), 0), Step("infrared", "folded = ONNX", 3, 0, float("nan"))])
def test_a_broken_link_is_named_and_refused(broken: Step) -> None:
    good = Step("visible", "training network = folded", 3, LIMIT, LIMIT)
    enforce([good, good])
    with pytest.raises(BundleError, match=r"infrared +folded = ONNX") as caught:
        enforce([good, broken])
    assert "training network" not in str(caught.value)


def test_the_training_network_is_asked_in_evaluation_and_a_batch_at_a_time() -> None:
    network, crops = drawn_network(0).train(), drawn_crops(0, 70)
    found = by_network(network, crops, "infrared")
    assert found.shape == (70, 512)
    with torch.no_grad():
        expected = network.eval()(normalised(crops), flags("infrared", 70)).embedding
    np.testing.assert_allclose(found, torch.nn.functional.normalize(expected).numpy(), atol=1e-6)
