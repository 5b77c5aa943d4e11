"""A checkpoint gives back the network that was saved, or says what is wrong with the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cmnas_edge.errors import BundleError, ConfigError
from cmnas_edge.preprocess import DEFINITION
from train.networks.build import Network, build
from train.networks.checkpoint import SCHEMA, Checkpoint, load, save
from train.networks.design import RELEASED, Design
from train.networks.space import CHOICES, Arch, site_names

META = Checkpoint(height=128, width=64, seed=7, commit="0123abc", data="sha256:00ff")
NAMES = site_names("osnet_x0_25")


def header(path: Path) -> dict[str, object]:
    """The JSON header, read from the bytes without our code."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    text = json.loads(raw[8:8 + size])["__metadata__"]["cmnas_edge"]
    found: dict[str, object] = json.loads(text)
    return found


def rewrite(path: Path, network: Network, **changes: object) -> None:
    """Save, then change fields of the header."""
    save(path, network, META)
    text = json.dumps(header(path) | changes)
    save_file(load_file(path), path, {"cmnas_edge": text})


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return build(Arch.of("osnet_x0_25", {"conv1.bn": "split", "fc.1": "split_statistics"}), identities=5)


@given(st.lists(st.sampled_from(CHOICES), min_size=len(NAMES), max_size=len(NAMES)), st.integers(0, 3))
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_loaded_is_what_was_saved_for_any_arch(
    tmp_path: Path, choices: list[str], identities: int
) -> None:
    saved = build(Arch("osnet_x0_25", tuple(zip(NAMES, choices, strict=True))), identities=identities)
    save(tmp_path / "a.safetensors", saved, META)
    loaded, meta = load(tmp_path / "a.safetensors")
    assert meta == META
    assert loaded.arch == saved.arch
    assert loaded.identities == identities
    assert not loaded.training
    own = saved.state_dict()
    assert loaded.state_dict().keys() == own.keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in loaded.state_dict().items())


def test_the_header_says_what_the_network_is_and_where_it_came_from(tmp_path: Path, network: Network) -> None:
    path = tmp_path / "a.safetensors"
    save(path, network, META)
    assert header(path) == {
        "schema": SCHEMA, "backbone": "osnet_x0_25", "choices": dict(network.arch.choices), "identities": 5,
        "run": {"height": 128, "width": 64, "preprocessing": DEFINITION, "seed": 7, "commit": "0123abc",
                "data": "sha256:00ff"}}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_reading_moves_nobodys_random_numbers(tmp_path: Path, network: Network) -> None:
    save(tmp_path / "a", network, META)
    before = torch.random.get_rng_state()
    load(tmp_path / "a")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("step", ["os.fsync", "Path.replace"])
def test_a_save_that_fails_leaves_the_older_file_whole(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a"
    save(path, network, META)
    before = path.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(f"train.networks.checkpoint.{step}", full)
    with pytest.raises(OSError, match="no space"):
        save(path, build(Arch.uniform("osnet_x0_25", "split")), META)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found no such file"):
        load(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"found a folder; name the \.safetensors file in it"):
        load(tmp_path)


@pytest.mark.parametrize("cut", [0, 5, 200, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, network: Network, cut: int) -> None:
    path = tmp_path / "a"
    save(path, network, META)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BundleError, match="damaged or foreign"):
        load(path)


def test_a_file_of_torch_save_is_answered_with_the_setting_that_reads_it(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a")
    with pytest.raises(BundleError, match=r'that torch\.save wrote; to start from it, say start_format = "torchreid"'):
        load(tmp_path / "a")


def test_safetensors_of_someone_else_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a")
    with pytest.raises(BundleError, match="without it"):
        load(tmp_path / "a")


def test_every_tensor_at_fault_is_listed(tmp_path: Path, network: Network) -> None:
    path = tmp_path / "a"
    save(path, network, META)
    text = json.dumps(header(path))
    tensors = load_file(path)
    del tensors["backbone.conv5.bn.weight"], tensors["backbone.fc.0.bias"]
    tensors["backbone.conv1.conv.weight"] = torch.zeros(16, 3, 5, 5)
    tensors["backbone.conv5.bn.bias"][3] = float("nan")
    tensors["classifier.weight"] = torch.zeros(5, 512, dtype=torch.int64)
    tensors["surplus"] = torch.zeros(1)
    save_file(tensors, path, {"cmnas_edge": text})
    with pytest.raises(BundleError) as caught:
        load(path)
    message = str(caught.value)
    for part in ("6 at fault", "missing backbone.conv5.bn.weight (128,)", "missing backbone.fc.0.bias (512,)",
                 "backbone.conv1.conv.weight expected (16, 3, 7, 7), found (16, 3, 5, 5)",
                 "backbone.conv5.bn.bias has values", "classifier.weight has values", "unknown surplus"):
        assert part in message


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"schema": "cmnas-edge checkpoint 99"}, "read it with the version that wrote it"),
    ({"backbone": "vgg"}, "expected one of osnet_x0_5"),
    ({"choices": {"conv1.bn": "split"}}, "80 sites"),
    ({"identities": -1}, "identities"),
    ({"surplus": 1}, "surplus"),
    ({"run": {}}, "height"),
])
def test_a_header_that_lies_is_refused(
    tmp_path: Path, network: Network, changes: dict[str, object], sentence: str
) -> None:
    rewrite(tmp_path / "a", network, **changes)
    with pytest.raises(BundleError, match=sentence):
        load(tmp_path / "a")


def test_a_header_that_is_no_json_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a", {"cmnas_edge": "{"})
    with pytest.raises(BundleError, match="expected a header"):
        load(tmp_path / "a")


@pytest.mark.parametrize(("backbone", "design"), [
    ("osnet_x0_25", Design(streams=2, fusion="fixed", lite=False, pool="gem", own=2)),
    ("osnet_x0_25", Design(own=4))])
def test_a_network_of_another_design_comes_back_as_it_was(tmp_path: Path, backbone: str, design: Design) -> None:
    saved = build(Arch.uniform(backbone, "split", design=design), identities=2)
    save(tmp_path / "a", saved, META)
    assert header(tmp_path / "a")["design"] == {
        name: getattr(design, name) for name in Design.__struct_fields__
        if getattr(design, name) != getattr(RELEASED, name)}
    loaded, _ = load(tmp_path / "a")
    assert loaded.arch == saved.arch
    own = saved.state_dict()
    assert loaded.state_dict().keys() == own.keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in loaded.state_dict().items())


def test_a_file_of_0_1_0_is_of_the_released_design(tmp_path: Path) -> None:
    # The header as 0.1.0 wrote it, byte for byte: no design in it.
    state = {name: tensor.contiguous() for name, tensor in build(Arch.uniform(
        "osnet_x0_25", "split_statistics")).state_dict().items()}
    choices = ",".join(f'"{name}":"split_statistics"' for name in NAMES)
    text = ('{"schema":"cmnas-edge checkpoint 1","backbone":"osnet_x0_25","choices":{' + choices + '},"identities":0,'
            '"run":{"height":128,"width":64,"preprocessing":"' + DEFINITION + '","seed":7,"commit":"0123abc",'
            '"data":"sha256:00ff"}}')
    save_file(state, tmp_path / "old", {"cmnas_edge": text})
    network, meta = load(tmp_path / "old")
    assert meta == META
    assert network.arch == Arch.uniform("osnet_x0_25", "split_statistics")
    save(tmp_path / "new", network, META)
    assert header(tmp_path / "new") == json.loads(text)


@pytest.mark.parametrize(("expected", "words"), [
    (Arch.uniform("osnet_x1_0", "shared"), "backbone osnet_x0_25 instead of osnet_x1_0"),
    (Arch.of("osnet_x0_25", {"conv1.bn": "split"}), "split_statistics instead of shared at fc.1"),
    (Arch.uniform("osnet_x0_25", "shared", design=Design(own=1)),
     "own 0 instead of 1, split_statistics instead of shared at fc.1;")])
def test_a_checkpoint_of_another_arch_is_refused_with_what_tells_them_apart(
    tmp_path: Path, network: Network, expected: Arch, words: str
) -> None:
    save(tmp_path / "a", network, META)
    with pytest.raises(ConfigError, match=words):
        load(tmp_path / "a", expected=expected)
    assert load(tmp_path / "a", expected=network.arch)[0].arch == network.arch


@pytest.mark.parametrize(("design", "words"), [
    ({"own": 9}, "own"), ({"non_local": True}, "osnet_x0_25 has no option non_local"), ({"more": 1}, "more"),
    ({"own": 1}, r"unknown \['conv1.bn'\]"), ({"pool": 3}, "pool")])
def test_a_design_that_lies_is_refused(
    tmp_path: Path, network: Network, design: dict[str, object], words: str
) -> None:
    rewrite(tmp_path / "a", network, design=design)
    with pytest.raises(BundleError, match=words):
        load(tmp_path / "a")
