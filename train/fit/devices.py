"""What computes: the CPU, or one NVIDIA GPU a process."""

from __future__ import annotations

import os
from typing import Literal

import torch

from cmnas_edge.errors import DeviceError

__all__ = ["DEVICES", "Device", "all_gpus", "choose"]

Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("auto", "cpu", "cuda")


def choose(asked: Device) -> torch.device:
    """The device asked for; ``auto`` takes a GPU where there is one. A process of torchrun takes its own.

    Raises:
        DeviceError: A GPU is asked for, and torch finds none.
    """
    if asked == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if asked == "auto":
        return torch.device("cpu")
    why = "a torch without CUDA" if torch.version.cuda is None else "no GPU that its driver offers"
    raise DeviceError(f"--device cuda: expected an NVIDIA GPU, found {why}; install a CUDA build of torch and a "
                      "driver, or say --device cpu")


def all_gpus(asked: Device) -> tuple[int, ...]:
    """Every GPU there is, by number; none for the CPU.

    Raises:
        DeviceError: GPUs are asked for, and torch finds none.
    """
    return tuple(range(torch.cuda.device_count())) if choose(asked).type == "cuda" else ()
