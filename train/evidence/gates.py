"""What OSNet's aggregation gate listens to: the mean weight of each stream, by how people look.

Figure 6 of the paper (Zhou et al., ICCV 2019) shows that the gate follows the input. Here the inputs differ
in one thing at a time: the same crops as they are, shown smaller, shown larger, and those that are partly
hidden.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from train.data.crops import U8, Crops
from train.evaluate import normalised
from train.networks.build import Network
from train.networks.osnet import ChannelGate, OSBlock

__all__ = ["weights"]

F64 = npt.NDArray[np.float64]

_ZOOM = 1.6


def weights(network: Network, crops: Crops, hidden: npt.NDArray[np.bool_]) -> dict[str, dict[str, list[float]]]:
    """Mean weight of each stream, averaged over channels.

    Args:
        network: An OSNet whose blocks have one gate for all streams.
        crops: Some people.
        hidden: Which of them are partly hidden, shape ``(n,)``.

    Returns:
        By the way people are shown (``as they are``, ``smaller``, ``larger``, ``hidden``) and block, T numbers.

    Raises:
        ValueError: The blocks have no such gate.
    """
    shown = {"as they are": (crops.images[~hidden], crops.infrared[~hidden]),
             "smaller": (_zoomed(crops.images[~hidden], _ZOOM), crops.infrared[~hidden]),
             "larger": (_zoomed(crops.images[~hidden], 1 / (_ZOOM)), crops.infrared[~hidden]),
             "hidden": (crops.images[hidden], crops.infrared[hidden])}
    return {name: {block: [round(float(value), 4) for value in values]
                   for block, values in _listen(network, images, flags).items()}
            for name, (images, flags) in shown.items()}


def _zoomed(images: U8, factor: float) -> U8:
    """What boxes ``factor`` times as high and wide around the same centres would show; borders continue."""
    h, w = images.shape[1:3]
    turn = np.array([[factor, 0, (w - 1) / 2 * (1 - factor)], [0, factor, (h - 1) / 2 * (1 - factor)]])
    return np.stack([cv2.warpAffine(image, turn, (w, h), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                                    borderMode=cv2.BORDER_REPLICATE) for image in images])


def _listen(network: Network, images: U8, infrared: npt.NDArray[np.bool_]) -> dict[str, F64]:
    blocks = {name.removeprefix("backbone."): module for name, module in network.named_modules()
              if isinstance(module, OSBlock)}
    if not blocks or not all(isinstance(block.gate, ChannelGate) for block in blocks.values()):
        raise ValueError("gates: expected an OSNet whose blocks have one gate for all streams, got another network")
    heard: dict[str, list[Tensor]] = {name: [] for name in blocks}

    def hook(name: str) -> Any:
        def note(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:  # noqa: ARG001 - torch's signature
            heard[name].append(out.mean((1, 2, 3)).sum())
        return note

    handles = [block.gate.register_forward_hook(hook(name)) for name, block in blocks.items()
               if block.gate is not None]
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(images), 128):
                some = slice(start, start + 128)
                network(normalised(images[some]), torch.from_numpy(infrared[some]))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return {name: torch.stack(values).view(-1, len(blocks[name].stream_names)).sum(0).double().numpy() / len(images)
            for name, values in heard.items()}
