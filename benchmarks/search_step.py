"""What does a search cost beside plain training, in time and in memory for the backward pass?

Run it with ``python -m benchmarks.search_step``. One step is forward, cross-entropy and backward, in processor time
of one thread, the kinds in turns, so that a busy machine slows all of them. Saved bytes are those of every distinct
tensor that autograd keeps for the backward pass, parameters apart. The peer is the way a differentiable search is
usually written: each norm runs as shared and as split, each activation follows, softmax weighs the two maps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.least import at_least
from benchmarks.records import keep
from train.networks.build import Network, build
from train.networks.modality_bn import ModalityBatchNorm, Rows
from train.networks.space import BNNECK, Arch, Choice
from train.search.supernet import Supernet

CASES = (("osnet_x0_25", 64, "bf16"), ("osnet_x0_25", 64, "fp32"), ("resnet50", 16, "bf16"), ("resnet50", 16, "fp32"))
HEIGHT, WIDTH, CLASSES = 128, 64, 100
_BEFORE_RELU = (".conv3.bn", ".downsample.bn", ".bn3", ".downsample.1", "fc.1")  # sites that no ReLU follows at once


class TwoBranches(nn.Module):
    """Both choices of a site after their own activation, weighed by softmax: the peer."""

    def __init__(self, norm: ModalityBatchNorm, alpha: Tensor, *, activated: bool) -> None:
        super().__init__()
        self.shared, self.split = norm, ModalityBatchNorm(norm.channels, "split")
        self.alpha, self.activated = alpha, activated

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """``(n, c)`` or ``(n, c, h, w)`` -> same shape."""
        weights = torch.softmax(self.alpha, 0)
        each: list[Tensor] = [norm(x, rows) for norm in (self.shared, self.split)]
        if self.activated:
            each = [functional.relu(y, inplace=True) for y in each]
        return (weights[0] * each[0] + weights[1] * each[1]).to(x.dtype)


def main() -> None:
    """Measure, print a table, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=sorted({backbone for backbone, *_ in CASES}),
                        help="backbones (all)")
    args = parser.parse_args()
    at_least(parser, args, 1, "rounds")
    torch.set_num_threads(1)
    row: dict[str, object] = {"torch": str(torch.__version__), "rounds": args.rounds}
    for backbone, batch, precision in CASES:
        if args.only and backbone not in args.only:
            continue
        torch.manual_seed(0)
        kinds = _kinds(backbone)
        x = torch.randn(batch, 3, HEIGHT, WIDTH).contiguous(memory_format=torch.channels_last)
        infrared, labels = torch.arange(batch) >= batch // 2, torch.arange(batch) % CLASSES
        spent: dict[str, list[float]] = {kind: [] for kind in kinds}
        saved: dict[str, int] = {}
        for i in range(args.rounds + 1):
            for kind, (network, prepare) in kinds.items():
                prepare()
                if not i:
                    saved[kind] = _saved(network, x, infrared, labels, precision)
                    continue
                began = time.process_time()
                _loss(network, x, infrared, labels, precision).backward()  # type: ignore[no-untyped-call]
                spent[kind].append(time.process_time() - began)
                network.zero_grad(set_to_none=True)
        seconds = {kind: statistics.median(each) for kind, each in spent.items()}
        case = f"{backbone} {HEIGHT}x{WIDTH}, batch {batch}, {precision}"
        print(case)
        for kind in kinds:
            time_ratio, ratio = seconds[kind] / seconds["shared"], saved[kind] / saved["shared"]
            print(f"  {kind:<20} {seconds[kind]:6.3f} s {time_ratio:5.2f}x  {saved[kind] / 1e6:7.1f} MB {ratio:5.3f}x",
                  flush=True)
            row[f"{case}: {kind}"] = {"s": round(seconds[kind], 4), "time": round(time_ratio, 3),
                                      "saved MB": round(saved[kind] / 1e6, 1), "saved": round(ratio, 4)}
    keep("search_step", row)


def _kinds(backbone: str) -> dict[str, tuple[Network, Callable[[], object]]]:
    """Each kind of network, and what is to be done before a step of it."""
    paper, extended, sampled = (Supernet(backbone, space=space, identities=CLASSES)
                                for space in ("paper", "extended", "paper"))
    rng = np.random.default_rng(0)

    def spread() -> None:  # as in a step of the weights
        with torch.no_grad():
            paper.spread()
            extended.spread()

    peer = build(Arch.uniform(backbone, "shared"), identities=CLASSES)
    for site in peer.sites():
        if site.name != BNNECK:
            both = TwoBranches(site.norm, torch.zeros(2), activated=not site.name.endswith(_BEFORE_RELU))
            _put(peer.backbone, site.name, both)
    choices: tuple[Choice, ...] = ("shared", "split")
    kinds: dict[str, tuple[Network, Callable[[], object]]] = {
        choice: (build(Arch.uniform(backbone, choice), identities=CLASSES), lambda: None) for choice in choices}

    def draw() -> None:
        sampled.sample(torch.from_numpy(rng.gumbel(size=tuple(sampled.alpha.shape))))

    return {**kinds, "fused mix": (paper.network, spread), "fused mix, extended": (extended.network, spread),
            "fused mix, alpha too": (sampled.network, sampled.spread),
            "sampled path": (sampled.network, draw),
            "two-branch softmax": (peer, lambda: None)}


def _put(backbone: nn.Module, site: str, norm: nn.Module) -> None:
    parent, _, child = site.rpartition(".")
    owner = backbone.get_submodule(parent)
    if isinstance(owner, nn.ModuleList):
        owner[int(child)] = norm
    else:
        setattr(owner, child, norm)


def _loss(network: Network, x: Tensor, infrared: Tensor, labels: Tensor, precision: str) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = network(x, infrared).logits
    assert logits is not None
    return functional.cross_entropy(logits.float(), labels)


def _saved(network: Network, x: Tensor, infrared: Tensor, labels: Tensor, precision: str) -> int:
    """Bytes of the distinct tensors kept for the backward pass."""
    storages: dict[int, tuple[int, Tensor]] = {}
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes(), tensor  # held, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _loss(network, x, infrared, labels, precision)
    return sum(size for size, _ in storages.values())


if __name__ == "__main__":
    main()


