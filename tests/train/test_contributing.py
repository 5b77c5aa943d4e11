"""What CONTRIBUTING.md shows to add is added to a copy of the workshop, block by block, and used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(python|diff)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)

LOSS = """
import msgspec, torch
from train.losses.objective import objective
from train.networks.build import build
from train.fit.recipe import Recipe
from train.networks.space import Arch

text = '''backbone = "osnet_x0_25"
norms = "split"
steps = 1
[train]
dataset = "sysu"
[losses]
triplet = 0
[losses.further]
hetero_centre = 0.5
'''
losses = msgspec.toml.decode(text.encode(), type=Recipe).losses
network = build(Arch.uniform("osnet_x0_25", "split"), identities=2)
infrared = torch.tensor([False, False, True, True] * 2)
labels = torch.tensor([0] * 4 + [1] * 4)
features = network(torch.randn(8, 3, 32, 16), infrared)
terms = objective(features, network, labels, infrared, losses)
assert list(terms) == ["cross_entropy", "hetero_centre"], terms
e = features.embedding
gaps = [(e[i:i + 2].mean(0) - e[i + 2:i + 4].mean(0)).square().sum() for i in (0, 4)]
torch.testing.assert_close(terms["hetero_centre"], 0.5 * sum(gaps))
terms["hetero_centre"].backward()
assert network.backbone.conv1.conv.weight.grad.abs().sum() > 0
"""

# What a new network has to stand: a step, the parity chain, and the bytes that `train.networks.cost` says.
CHAIN = """
import numpy as np, torch
from cmnas_edge.embedding import MODALITIES
from export import parity
from export.fold import fold
from export.to_onnx import to_onnx
from train.networks.cost import bytes_of, size_of
from train.losses.objective import Losses, objective
from train.networks.modality_bn import ModalityBatchNorm
from train.networks.build import adopt, build
from train.networks.space import Arch, site_names

def chain(arch):
    torch.manual_seed(0)
    network = build(arch, identities=2)
    infrared = torch.tensor([False, True] * 4)
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.randn(8, 3, 64, 32)
    x[infrared] += 2
    for _ in range(2):  # zero biases have no effect on their scales before they moved
        optimiser.zero_grad()
        labels = torch.arange(8) // 4
        sum(objective(network(x, infrared), network, labels, infrared, Losses()).values()).backward()
        optimiser.step()
    still = [name for name, tensor in network.state_dict().items()
             if torch.equal(tensor, before[name]) and ".gate." not in name]
    assert not still, still
    crops = np.random.default_rng(0).integers(0, 256, (3, 64, 32, 3), np.uint8)
    tensors, steps, rows = {}, [], []
    for modality in MODALITIES:
        folded = fold(network, modality)
        model = to_onnx(folded, 64, 32, network.dimension)
        rows += [parity.by_network(network, crops, modality), parity.by_folded(folded, crops)]
        rows.append(parity.by_onnx(model, crops))
        steps += [parity.compare(modality, "folded", *rows[-3:-1]), parity.compare(modality, "ONNX", *rows[-2:])]
        tensors[modality] = {t.SerializeToString().split(t.name.encode())[0] + t.raw_data: 4 * int(np.prod(t.dims))
                             for t in model.graph.initializer if t.data_type == 1}
    parity.enforce(steps)
    one, other = tensors.values()
    assert not np.allclose(rows[0], rows[3], atol=1e-3), "modalities differ"
    assert sum((one | other).values()) == bytes_of(arch).total, (sum((one | other).values()), bytes_of(arch))
    assert sum(p.numel() for name, p in network.named_parameters() if "classifier" not in name
               ) == size_of(arch).trained
    return network
"""

CHOICE = CHAIN + """
network = chain(Arch.uniform("osnet_x0_25", "split_affine"))
norm = ModalityBatchNorm(2, "split_affine")
assert sorted(norm.state_dict()) == sorted(
    ["running_mean", "running_var", *(f"{m}.{n}" for m in MODALITIES for n in ("weight", "bias"))])
with torch.no_grad():
    norm.visible.weight.fill_(3), norm.infrared.bias.fill_(5)
x, infrared = torch.randn(6, 2) * 2 + 1, torch.tensor([True, False, True, False, False, True])
y = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
torch.testing.assert_close(norm(x, infrared), torch.where(infrared[:, None], y + 5, 3 * y))
alone = torch.zeros(6, dtype=torch.bool)
torch.testing.assert_close(norm(x, alone), 3 * y)
x, infrared = torch.randn(4, 3, 64, 32), torch.tensor([True, False, True, False])
split = build(Arch.uniform("osnet_x0_25", "split"))
adopt(network, split)
torch.testing.assert_close(split.eval()(x, infrared).embedding, network.eval()(x, infrared).embedding,
                           rtol=1e-4, atol=1e-3)
assert Arch.from_json(network.arch.to_json()) == network.arch
"""

DATASET = """
import msgspec, numpy as np, cv2
from pathlib import Path
from train.__main__ import main
from train.data.datasets import read, recognise
from train.fit.recipe import Recipe
from train.fit.sources import read as crops_of

root = Path("footage")
for band, chroma in (("visible", 1), ("infrared", 0)):
    (root / band).mkdir(parents=True)
    for person in (3, 5, 17):
        for number in (1, 2):
            picture = np.random.default_rng(person).integers(0, 256, (32, 16, 3), np.uint8)
            picture = picture if chroma else np.repeat(picture[..., :1], 3, 2)
            cv2.imwrite(str(root / band / f"{person:04}_{number}.jpg"), picture)
assert recognise(root) == "gate"
found = read(root, "train")
assert found.identity.tolist() == [3, 3, 5, 5, 17, 17] * 2
assert found.infrared.tolist() == [False] * 6 + [True] * 6 and found.camera.tolist() == [1] * 6 + [2] * 6
source = msgspec.toml.decode(b'''backbone = "osnet_x0_25"
norms = "split"
steps = 1
[train]
dataset = "gate"
''', type=Recipe).train
assert crops_of(source, 32, 16, root=root, cache=Path("cache")).images.shape == (12, 32, 16, 3)
raise SystemExit(main(["data", "check", str(root)]))
"""

BACKBONE = """
import sys
sys.modules["torch"] = None
from train.networks.cost import bytes_of
from train.networks.space import Arch, site_names
assert site_names("plain") == ("stem.bn", "body.bn")
assert bytes_of(Arch.uniform("plain", "shared")).total == 4 * (32 * 3 * 49 + 32 + 64 * 32 * 9 + 64 + 4)
del sys.modules["torch"]
""" + CHAIN + """
for choices in ({"stem.bn": "split"}, {"body.bn": "split"}, {"stem.bn": "split", "body.bn": "split_statistics"}):
    network = chain(Arch.of("plain", choices))
assert [site.name for site in network.sites()] == list(site_names("plain"))
assert network.dimension == 64
"""


def blocks(title: str) -> list[tuple[str, str]]:
    """The blocks of one example, each with its kind."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    example = re.search(rf"^\*\*{title}\*\*.*?(?=^\*\*A |^## )", text, re.MULTILINE | re.DOTALL)
    assert example, f"CONTRIBUTING.md has no {title}"
    return BLOCK.findall(example[0])


def apply(found: list[tuple[str, str]], folder: Path) -> list[Path]:
    """Write new files, and put each line with a plus behind the one before it; every file that was touched."""
    touched = []
    for kind, text in found:
        first, _, rest = text.partition("\n")
        if kind == "python":
            path = folder / first.removeprefix("# ")
            assert not path.exists(), path
            path.write_text(rest, "utf-8")
            touched.append(path)
            continue
        path, lines = folder / first.removeprefix("--- "), rest.splitlines()
        assert [line[:1] for line in lines] == [" ", "+"], lines
        before, new = (line[1:] for line in lines)
        whole = path.read_text("utf-8")
        assert whole.splitlines().count(before) == 1, before
        path.write_text(whole.replace(f"{before}\n", f"{before}\n{new}\n"), "utf-8")
        touched.append(path)
    return touched


@pytest.mark.parametrize(("title", "program", "said"), [
    ("A loss.", LOSS, ""), ("A site choice", CHOICE, ""), ("A dataset.", DATASET, "identities  3  as published"),
    ("A backbone", BACKBONE, "")])
def test_what_the_guide_adds_takes_one_line_of_what_is_there_and_works(
        title: str, program: str, said: str, tmp_path: Path) -> None:
    for room in ("train", "export"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "cmnas_edge").symlink_to(ROOT / "cmnas_edge")
    found = blocks(title.replace(".", r"\."))
    assert [kind for kind, _ in found].count("diff") == 1
    touched = apply(found, tmp_path)
    lines = [line for kind, text in found for line in text.splitlines()
             if line.strip() and (kind == "python" or line.startswith("+"))]
    assert len(lines) < 40
    ran = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True,
                         check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert said in re.sub(r"  +", "  ", ran.stdout)
    tidy = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", *touched], cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert tidy.returncode == 0, tidy.stdout
