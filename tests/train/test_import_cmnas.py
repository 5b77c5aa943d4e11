"""An official CM-NAS checkpoint becomes the network it was, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cmnas_edge.embedding import MODALITIES
from cmnas_edge.errors import BundleError
from tests.train.reference import assert_same, cmnas_state, reference_cmnas, write
from train.networks.importers import from_cmnas, to_cmnas

ALTERNATING = " ".join(str(i % 2) for i in range(53))
OPPOSITE = " ".join(str(1 - i % 2) for i in range(53))


@pytest.mark.parametrize("line", [ALTERNATING, OPPOSITE])
def test_an_official_checkpoint_runs_as_the_official_network_did(tmp_path: Path, line: str) -> None:
    state = cmnas_state()
    stored = {"model": {f"module.{name}": tensor for name, tensor in state.items()}, "ema": None, "epoch": 2}
    imported = from_cmnas(write(tmp_path / "checkpoint002.pth.tar", stored), line)
    x = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(2))
    for modality in MODALITIES:
        with torch.no_grad():
            found = imported.network(x, torch.full((2,), modality == "infrared"))
            pooled, embedding = reference_cmnas(state, line, x, modality)
            logits = embedding @ state["classifier.weight"].T
        scale = embedding.abs().max().item()
        torch.testing.assert_close(found.pooled, pooled, rtol=1e-4, atol=1e-4 * scale)
        torch.testing.assert_close(found.embedding, embedding, rtol=1e-4, atol=1e-4 * scale)
        assert found.logits is not None
        torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-3 * scale)


def test_only_the_branches_that_were_not_chosen_are_left_out_with_the_reason(tmp_path: Path) -> None:
    imported = from_cmnas(write(tmp_path / "a", cmnas_state()), ALTERNATING)
    left = {name: why for name, why in imported.left_out.items() if not name.endswith("num_batches_tracked")}
    split, shared = 27, 26  # the alternating line starts with 0
    assert len(left) == 4 * (split + 2 * shared)
    assert left["backbone.bn1.sharable_bn.weight"] == "the config line chose split here"
    assert left["backbone.layer1.0.downsample.bn.thermal_bn.weight"] == "the config line chose shared here"
    assert "backbone.bn1.visible_bn.weight" not in left


def test_an_official_checkpoint_goes_out_with_its_line_and_comes_back(tmp_path: Path) -> None:
    state = cmnas_state()
    network = from_cmnas(write(tmp_path / "a", state), ALTERNATING).network
    out, line = to_cmnas(network)
    assert line == ALTERNATING
    assert {name: tensor.shape for name, tensor in out.items()} == {
        name: tensor.shape for name, tensor in state.items()}
    again = from_cmnas(write(tmp_path / "b", out), line).network
    assert_same(again.state_dict(), network.state_dict())
    x = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(reference_cmnas(out, line, x, "infrared"),
                                   reference_cmnas(state, line, x, "infrared"))


def test_the_moving_average_is_read_when_asked_for(tmp_path: Path) -> None:
    state = cmnas_state()
    average = {name: tensor.float() * 0.5 for name, tensor in state.items()}  # counters become floats there
    path = write(tmp_path / "a", {"model": state, "ema": average, "epoch": 2})
    network = from_cmnas(path, ALTERNATING, weights="ema").network
    assert torch.equal(network.state_dict()["classifier.weight"], average["classifier.weight"])
    without = write(tmp_path / "b", {"model": state, "ema": None})
    with pytest.raises(BundleError, match="expected a state_dict, found NoneType"):
        from_cmnas(without, ALTERNATING, weights="ema")


def test_an_official_checkpoint_that_lacks_a_chosen_branch_is_refused(tmp_path: Path) -> None:
    state = cmnas_state()
    del state["backbone.bn1.thermal_bn.bias"]
    state["backbone.layer9.weight"] = torch.zeros(1)
    with pytest.raises(BundleError) as caught:
        from_cmnas(write(tmp_path / "a", state), ALTERNATING)
    assert "2 at fault" in str(caught.value)
    assert "missing backbone.bn1.thermal_bn.bias (64,)" in str(caught.value)
    assert "unknown backbone.layer9.weight" in str(caught.value)
