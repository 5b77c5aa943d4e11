"""What the two modalities' features of the same people have in common: C3MMD, in two terms.

Source: Fu et al., CM-NAS, ICCV 2021; the loss is named in the abstract of its first version only
(arXiv 2101.08467v1): *Correlation Consistency based Class-specific Maximum Mean Discrepancy*.
Both terms are what the authors' released training code computes, which weighs ``cmmd`` by 0.05
and ``sp`` by 5. The second one is the similarity-preserving loss of Tung & Mori
(Similarity-Preserving Knowledge Distillation, ICCV 2019), with both sides taught.

What they can't see
    ``cmmd`` with the published kernel compares second moments of directions and nothing else:
    infrared rows that are the negatives of the visible ones give 0, though as embeddings they
    lie as far apart as can be; the kernel ``"both_moments"`` sees it. ``sp`` compares each
    modality with itself, so any rotation or reflection of one modality leaves it at 0.
    Neither says anything about different people being told apart: a network that maps everybody
    to one vector has both at 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from train.losses.precision import full_precision

__all__ = ["Kernel", "cmmd", "sp"]

Kernel = Literal["second_moment", "both_moments"]
"""``(a.b)^2``, the published one, or ``(1 + a.b)^2``, which compares means, too."""


@full_precision
def cmmd(features: Tensor, labels: Tensor, infrared: Tensor, *, kernel: Kernel = "second_moment") -> Tensor:
    """Class-specific maximum mean discrepancy between visible and infrared rows of one identity.

    With ``x_i`` and ``y_j`` the visible and infrared rows of an identity as unit vectors, its
    discrepancy is ``mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j)``, pairs of a row
    with itself included. For ``k(a, b) = (a.b)^2`` that is
    ``|| mean x x' - mean y y' ||_F^2``: at least 0, at most 2, blind to each row's length, to the
    order of rows and to each row's sign. ``(1 + a.b)^2`` adds ``2 || mean x - mean y ||^2``.

    Args:
        features: Shape ``(n, ...)``, rows of both modalities in any order; what follows the
            rows is flattened. A row of zeros stays zero, in both kernels the vector without
            direction; the second one gives it a gradient of the order of 1e12.
        labels: int64, shape ``(n,)``.
        infrared: Modality of each row, bool, shape ``(n,)``.
        kernel: See ``Kernel``.

    Returns:
        A scalar: the mean over identities, each counting once however many rows it has.

    Raises:
        ValueError: An identity is seen in one modality only, or the kernel is unknown.
    """
    if kernel not in ("second_moment", "both_moments"):
        raise ValueError(f"kernel: expected second_moment or both_moments, found {kernel!r}")
    members, group = torch.unique(labels, return_inverse=True)
    counts = torch.bincount(2 * group + infrared.long(), minlength=2 * len(members)).view(-1, 2)
    if not len(members) or not bool((counts > 0).all()):
        raise ValueError("cmmd: expected every identity in both modalities, got a batch where one has none of a "
                         "modality; draw visible and infrared crops of each")
    unit = functional.normalize(features.flatten(1))
    # A discrepancy is w'Kw, where w weighs visible rows by 1/count and infrared ones by -1/count.
    weight = counts.to(unit.dtype).reciprocal()[group, infrared.long()] * (1 - 2 * infrared.to(unit.dtype))
    sizes = counts.sum(1)
    if bool((sizes == sizes[0]).all()):
        order = group.argsort(stable=True).view(len(members), -1)  # (P, rows of an identity)
        unit, weight = unit[order], weight[order]
        weights = weight[:, :, None] * weight[:, None]
    else:
        weights = weight[:, None] * weight[None] * (group[:, None] == group[None])
    total: Tensor = (_k(unit @ unit.mT, kernel) * weights).sum()
    return total / len(members)


def _k(dot: Tensor, kernel: Kernel) -> Tensor:
    return dot.square() if kernel == "second_moment" else (1 + dot).square()


@full_precision
def sp(features: Tensor, labels: Tensor, infrared: Tensor) -> Tensor:
    """Similarity preservation (correlation consistency): who is alike in colour is alike in infrared.

    The Gram matrix of the ``m`` visible rows, each of its rows scaled to length one, is
    compared with the infrared one, entry by entry. The first visible row of an identity is the
    counterpart of its first infrared row, the second of the second, and so on.

    The mean is over ``m * m`` entries of rows of length one, so it shrinks about like ``1 / m``:
    weigh it anew when a batch changes its size. One common factor on all rows of a modality
    changes nothing. A row of nothing but zeros gets a gradient of the order of 1e12, as in the
    reference: its Gram row is divided by 1e-12.

    Args:
        features: Shape ``(n, ...)`` with ``n = 2 m``, rows of both modalities in any order; what
            follows the rows is flattened. Used as they are, not as unit vectors.
        labels: int64, shape ``(n,)``.
        infrared: Modality of each row, bool, shape ``(n,)``.

    Returns:
        A scalar.

    Raises:
        ValueError: An identity has not as many visible as infrared rows.
    """
    flat = features.flatten(1)
    sides = []
    for rows in (~infrared, infrared):
        order = labels[rows].argsort(stable=True)
        sides.append((flat[rows][order], labels[rows][order]))
    (visible, of_visible), (infra, of_infra) = sides
    if not len(of_visible) or not torch.equal(of_visible, of_infra):
        raise ValueError(
            "sp: expected a batch that holds, of every identity, as many visible as infrared rows (the first "
            "is compared with the first, the second with the second), got "
            f"{len(of_visible)} visible rows of {len(set(of_visible.tolist()))} identities and {len(of_infra)} "
            f"infrared rows of {len(set(of_infra.tolist()))}, not the same of each; draw K of both, or set the "
            "weight losses.sp to 0")
    return functional.mse_loss(functional.normalize(visible @ visible.T), functional.normalize(infra @ infra.T))
