"""Weights of torchreid and torchvision arrive whole or not at all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cmnas_edge.embedding import MODALITIES
from cmnas_edge.errors import BundleError, ConfigError
from tests.train.reference import NORM, assert_same, osnet_state, torchvision_state, without_counters, write
from train.networks.build import build
from train.networks.design import Design
from train.networks.importers import from_torchreid, from_torchvision, to_cmnas, to_torchreid, to_torchvision
from train.networks.space import Arch, Choice

EXTRAS = {"epoch": 60, "rank1": np.float32(0.9), "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
          "scheduler": {"milestones": Counter([60])}}  # what torchreid keeps beside the state_dict


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_torchreid_checkpoint_comes_in_and_goes_out_unchanged(
    tmp_path: Path, prefix: str, wrapped: bool
) -> None:
    state = osnet_state()
    named = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    path = write(tmp_path / "model.pth.tar-60", {"state_dict": named} | EXTRAS if wrapped else named)
    imported = from_torchreid(path)
    assert imported.network.arch == Arch.uniform("osnet_x0_25", "shared")
    assert imported.network.identities == 10
    assert imported.fresh == ()
    assert set(imported.left_out) == {name for name in state if name.endswith("num_batches_tracked")}
    assert not imported.network.training
    assert_same(without_counters(to_torchreid(imported.network)), without_counters(state))


@pytest.mark.parametrize("choice", ["split", "split_statistics"])
def test_both_branches_start_from_torchreids_one_norm(tmp_path: Path, choice: Choice) -> None:
    state = osnet_state()
    network = from_torchreid(write(tmp_path / "a", state), Arch.uniform("osnet_x0_25", choice)).network
    for modality in MODALITIES:
        assert_same(without_counters(to_torchreid(network, modality)), without_counters(state))


def test_each_modality_goes_out_as_the_plain_network_it_sees(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build(Arch.uniform("osnet_x0_25", "split"))
    network(torch.randn(8, 3, 64, 32) + torch.arange(8).reshape(8, 1, 1, 1), torch.arange(8) >= 4)
    network.eval()
    x = torch.randn(2, 3, 64, 32)
    for modality in MODALITIES:
        path = write(tmp_path / modality, to_torchreid(network, modality))
        plain = from_torchreid(path).network
        flags = torch.full((2,), modality == "infrared")
        torch.testing.assert_close(plain(x, ~flags).embedding, network(x, flags).embedding)
    with pytest.raises(ConfigError, match="found 80 that are not; say a modality"):
        to_torchreid(network)


def test_another_number_of_identities_gets_a_fresh_classifier_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a", osnet_state())
    imported = from_torchreid(path, identities=3)
    assert imported.fresh == ("classifier.weight", "classifier.bias")
    assert imported.left_out["classifier.weight"] == "another number of identities was asked for"
    assert imported.network.classifier is not None
    assert imported.network.classifier.weight.shape == (3, 512)
    assert from_torchreid(path, identities=0).network.classifier is None


def test_a_checkpoint_without_counters_or_classifier_is_whole(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in without_counters(osnet_state()).items() if "classifier" not in name}
    imported = from_torchreid(write(tmp_path / "a", state))
    assert (imported.left_out, imported.fresh, imported.network.identities) == ({}, (), 0)


@pytest.mark.parametrize(("key", "family"), [
    ("conv2.0.IN.weight", "IBN"), ("conv2.0.conv2.0.layers.0.conv1.weight", "AIN")])
def test_networks_with_instance_norm_are_refused_with_the_reason(
    tmp_path: Path, key: str, family: str
) -> None:
    path = write(tmp_path / "a", osnet_state() | {key: torch.ones(64)})
    with pytest.raises(BundleError, match=f"found OSNet-{family}.*can't be folded"):
        from_torchreid(path)


def test_every_missing_misshapen_and_unknown_tensor_is_listed_by_the_files_name(tmp_path: Path) -> None:
    state = osnet_state()
    del state["conv2.0.gate.fc1.weight"], state["conv5.bn.running_var"]
    state["conv3.1.conv2c.1.bn.bias"] = torch.zeros(7)
    state["classifier.bias"] = torch.zeros(11)
    state["backbone.conv5.bn.running_var"] = torch.ones(128)  # a name of ours is not a name of the file
    state["extra.num_batches_tracked"] = torch.tensor(0)
    path = write(tmp_path / "a", state)
    with pytest.raises(BundleError) as caught:
        from_torchreid(path, Arch.uniform("osnet_x0_25", "split"))
    for part in (str(path), "6 at fault", "missing conv2.0.gate.fc1.weight (1, 16, 1, 1)",
                 "missing conv5.bn.running_var (128,)", "conv3.1.conv2c.1.bn.bias expected (24,), found (7,)",
                 "classifier.bias expected (10,), found (11,)", "unknown backbone.conv5.bn.running_var",
                 "unknown extra.num_batches_tracked"):
        assert part in str(caught.value)


@given(st.sampled_from(sorted(without_counters(osnet_state()))))
@example("classifier.weight")
@settings(deadline=None, max_examples=15)
def test_no_tensor_can_go_missing_unnoticed(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    state = osnet_state()
    del state[name]
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        from_torchreid(write(tmp_path_factory.mktemp("state") / "a", state), identities=10)


def test_the_width_must_be_a_released_one_and_the_archs(tmp_path: Path) -> None:
    path = write(tmp_path / "a", osnet_state())
    with pytest.raises(ConfigError, match="expected osnet_x1_0 as the arch says, found osnet_x0_25"):
        from_torchreid(path, Arch.uniform("osnet_x1_0", "shared"))
    odd = osnet_state() | {"conv1.conv.weight": torch.zeros(20, 3, 7, 7)}
    with pytest.raises(BundleError, match=r"found conv1.conv.weight of shape \(20, 3, 7, 7\)"):
        from_torchreid(write(tmp_path / "b", odd))


@pytest.mark.parametrize(("names", "kind"), [
    (["layer1.0.conv1.weight", "layer1.0.conv3.weight"], "a ResNet-50, 101 or 152 of torchvision"),
    (["layer1.0.conv1.weight"], "a ResNet-18 or 34 of torchvision"),
    (["conv1.conv.weight"], "an OSNet of torchreid"),
    (["backbone.conv1.conv.weight"], "a checkpoint of this project or of CM-NAS"),
    (["features.0.weight", "features.0.bias"], "2 tensors, such as features.0.weight"),
])
def test_weights_of_another_kind_of_network_are_called_what_they_are(tmp_path: Path, names: list[str], kind: str
                                                                     ) -> None:
    path = write(tmp_path / "a", dict.fromkeys(names, torch.zeros(1)))
    if "OSNet" not in kind:
        with pytest.raises(BundleError, match=f"an OSNet of torchreid, .*found no .* but {kind}; .*start_format"):
            from_torchreid(path)
    if "50" not in kind:
        with pytest.raises(BundleError, match=f"expected torchvision's ResNet-50, found {kind}; .*start_format"):
            from_torchvision(path)


def test_of_hundreds_of_tensors_at_fault_a_score_is_named_and_the_rest_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a", {"layer1.0.conv3.weight": torch.zeros(1)})
    with pytest.raises(BundleError, match=r"found 265 at fault: .* \(256, 64, 1, 1\); and 245 more;") as caught:
        from_torchvision(path)
    assert str(caught.value).count("missing ") == 20


def test_torchvisions_resnet50_comes_in_and_goes_out_unchanged(tmp_path: Path) -> None:
    state = torchvision_state()
    assert len(state) == 320  # as torchvision's own has
    imported = from_torchvision(write(tmp_path / "a", state), Arch.of("resnet50", {"bn1": "split"}), identities=6)
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    assert set(imported.left_out) == counters | {"fc.weight", "fc.bias"}
    assert set(imported.fresh) == {f"backbone.bnneck.{tensor}" for tensor in NORM} | {"classifier.weight"}
    trunk = {name: tensor for name, tensor in without_counters(state).items() if not name.startswith("fc.")}
    for modality in MODALITIES:
        assert_same(without_counters(to_torchvision(imported.network, modality)), trunk)


def test_a_resnet_of_another_depth_is_refused_with_a_list(tmp_path: Path) -> None:
    shallow = {name: tensor for name, tensor in torchvision_state().items() if not name.startswith("layer3.5.")}
    deep = torchvision_state() | {"layer3.6.conv1.weight": torch.zeros(256, 1024, 1, 1)}
    with pytest.raises(BundleError, match=r"missing layer3\.5\.conv1\.weight .*missing layer3\.5\.bn3\.bias"):
        from_torchvision(write(tmp_path / "a", shallow))
    with pytest.raises(BundleError, match=r"1 at fault: unknown layer3\.6\.conv1\.weight"):
        from_torchvision(write(tmp_path / "b", deep))
    with pytest.raises(ConfigError, match="expected osnet_x0_5 as the arch says, found resnet50"):
        from_torchvision(write(tmp_path / "c", deep), Arch.uniform("osnet_x0_5", "shared"))


def test_what_a_format_cannot_hold_is_not_written() -> None:
    with pytest.raises(ConfigError, match="expected an OSNet, found resnet50"):
        to_torchreid(build(Arch.uniform("resnet50", "shared")))
    osnet = build(Arch.uniform("osnet_x0_25", "shared"))
    with pytest.raises(ConfigError, match="expected resnet50, found osnet_x0_25"):
        to_torchvision(osnet)
    with pytest.raises(ConfigError, match="describes resnet50"):
        to_cmnas(osnet)


@pytest.mark.parametrize(("choice", "own"), [("shared", 1), ("split", 4)])
def test_both_copies_of_a_part_start_from_torchreids_one(tmp_path: Path, choice: Choice, own: int) -> None:
    state = osnet_state()
    arch = Arch.uniform("osnet_x0_25", choice, design=Design(own=own))
    imported = from_torchreid(write(tmp_path / "a", state), arch)
    assert imported.network.arch == arch
    assert imported.fresh == ()
    for modality in MODALITIES:
        assert_same(without_counters(to_torchreid(imported.network, modality)), without_counters(state))
    with pytest.raises(ConfigError, match=f"and {own} owned parts; say a modality"):
        to_torchreid(imported.network)


def test_both_stems_of_a_two_stream_resnet_start_from_torchvisions_one(tmp_path: Path) -> None:
    state = torchvision_state()
    arch = Arch.uniform("resnet50", "split", design=Design(own=1, non_local=True, pool="gem"))
    imported = from_torchvision(write(tmp_path / "a", state), arch)
    trunk = {name: tensor for name, tensor in without_counters(state).items() if not name.startswith("fc.")}
    found = imported.network.state_dict()
    for modality in MODALITIES:
        assert torch.equal(found[f"backbone.conv1.{modality}.weight"], state["conv1.weight"])
        assert torch.equal(found[f"backbone.bn1.{modality}.running_var"], state["bn1.running_var"])
        assert torch.equal(found[f"backbone.layer4.2.bn3.{modality}.bias"], state["layer4.2.bn3.bias"])
    assert all("bnneck." in name or ".non_local." in name for name in imported.fresh)
    assert sum(".non_local." in name for name in imported.fresh) == 5 * (4 * 2 + 4)
    assert set(imported.left_out) == set(state) - set(trunk)
    with pytest.raises(ConfigError, match=r"torchvision: .*found non_local true instead of false"):
        to_torchvision(imported.network, "visible")


def test_a_smaller_osnet_says_what_of_torchreids_it_left_out(tmp_path: Path) -> None:
    arch = Arch.uniform("osnet_x0_25", "split", design=Design(streams=3, fusion="scalar_gate"))
    imported = from_torchreid(write(tmp_path / "a", osnet_state()), arch)
    assert imported.network.arch == arch
    assert all(name.endswith(("gate.fc2.weight", "gate.fc2.bias")) for name in imported.fresh)
    unused = {name for name, why in imported.left_out.items() if why == "the design asked for has no place for it"}
    assert {name.split(".")[2] for name in unused} == {"conv2d", "gate"}
    assert "conv2.0.conv2d.3.bn.running_mean" in unused
    with pytest.raises(ConfigError, match=r"torchreid: .*found streams 3 instead of 4, fusion scalar_gate instead"):
        to_torchreid(imported.network, "visible")


def test_torchreids_lite_3x3s_become_the_full_ones_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a", osnet_state())
    lite = from_torchreid(path).network
    full = from_torchreid(path, Arch.uniform("osnet_x0_25", "shared", design=Design(lite=False)))
    assert full.fresh == ()
    x, flags = torch.randn(2, 3, 64, 32), torch.tensor([True, False])
    with torch.no_grad():
        expected, found = lite(x, flags).embedding, full.network(x, flags).embedding
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.max().item())


def test_a_file_that_is_not_whole_is_refused_for_another_design_too(tmp_path: Path) -> None:
    state = osnet_state()
    del state["conv4.1.conv2d.3.bn.weight"]
    arch = Arch.uniform("osnet_x0_25", "shared", design=Design(streams=1))
    with pytest.raises(BundleError, match=r"missing conv4\.1\.conv2d\.3\.bn\.weight"):
        from_torchreid(write(tmp_path / "a", state), arch)
