"""Losses on distances between anchors, positives and negatives of a batch.

Batch-hard: Hermans et al., In Defense of the Triplet Loss, arXiv 1703.07737, equation 5; its
four-term form is the one CM-NAS trains with (anchors of either modality against candidates
of either). Weighted regularised: Ye et al., Deep Learning for Person Re-identification: A Survey
and Outlook (AGW), TPAMI 2021, section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from train.losses.precision import full_precision

__all__ = ["batch_hard", "distances", "four_term_triplet", "weighted_triplet"]


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance of every row of ``a`` (n, d) to every row of ``b`` (m, d), shape ``(n, m)``.

    The square is held at 1e-12 or above: the root of 0 has no gradient.
    """
    square = a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T
    return square.clamp(min=1e-12).sqrt()


@full_precision
def batch_hard(anchors: Tensor, candidates: Tensor, anchor_labels: Tensor, candidate_labels: Tensor, *,
               margin: float, normalise: bool = False) -> Tensor:
    """Mean over anchors of the triplet made with the farthest positive and the nearest negative.

    Args:
        anchors: Shape ``(n, d)``.
        candidates: Shape ``(m, d)``. Where these are the anchors themselves an anchor is
            among its own positives, at distance 0: it is never the farthest but alone.
        anchor_labels: int64, shape ``(n,)``.
        candidate_labels: int64, shape ``(m,)``.
        margin: By how much the negative must be farther; below 0 chooses the soft margin
            ``log(1 + exp(positive - negative))``.
        normalise: Compare unit vectors.

    Returns:
        A scalar.

    Raises:
        ValueError: An anchor has no positive or no negative among the candidates.
    """
    same = anchor_labels[:, None] == candidate_labels[None]
    if not bool((same.any(1) & (~same).any(1)).all()):
        raise ValueError("batch_hard: expected a positive and a negative candidate for every anchor, got a batch "
                         "where one has none; a batch needs two identities, each in both modalities")
    if normalise:
        anchors, candidates = functional.normalize(anchors), functional.normalize(candidates)
    gap = distances(anchors, candidates)
    positive = gap.masked_fill(~same, -torch.inf).amax(1)
    negative = gap.masked_fill(same, torch.inf).amin(1)
    if margin < 0:
        return functional.softplus(positive - negative).mean()
    return functional.relu(positive - negative + margin).mean()


def four_term_triplet(embedding: Tensor, labels: Tensor, infrared: Tensor, *, margin: float,
                      normalise: bool = False) -> Tensor:
    """Batch-hard triplet averaged over visible and infrared anchors against either's candidates.

    Args:
        embedding: Shape ``(n, d)``, rows of both modalities in any order.
        labels: int64, shape ``(n,)``.
        infrared: Modality of each row, bool, shape ``(n,)``.
        margin: See ``batch_hard``.
        normalise: See ``batch_hard``.

    Returns:
        A scalar: the mean of visible-visible, infrared-infrared, visible-infrared and
        infrared-visible.
    """
    sides = [(embedding[~infrared], labels[~infrared]), (embedding[infrared], labels[infrared])]
    pairs = [(0, 0), (1, 1), (0, 1), (1, 0)]
    terms = [batch_hard(sides[a][0], sides[b][0], sides[a][1], sides[b][1], margin=margin, normalise=normalise)
             for a, b in pairs]
    return torch.stack(terms).mean()


@full_precision
def weighted_triplet(embedding: Tensor, labels: Tensor, *, normalise: bool = False) -> Tensor:
    """Weighted regularised triplet of AGW over a whole mixed batch: no margin, no hardest row.

    With ``d`` the Euclidean distances of an anchor, its positives are averaged with weights
    ``softmax(d)`` and its negatives with ``softmax(-d)``, so that the hard ones count most, and
    the anchor's loss is ``log(1 + exp(positive - negative))``. Both weights are taught, too.

    Visible and infrared rows are anchors and candidates alike, as AGW has it. As in its released
    code the anchor is one of its own positives, at distance 0 and with the smallest weight. Unlike
    there the softmax is exact at any distance: there 1e-6 joins its sum, which negatives farther
    than about 14 don't outweigh, so that they count as near.

    Args:
        embedding: Shape ``(n, d)``, rows of both modalities in any order.
        labels: int64, shape ``(n,)``.
        normalise: Compare unit vectors.

    Returns:
        A scalar: the mean over rows as anchors.

    Raises:
        ValueError: A row has no other row of its identity, or none of another.
    """
    same = labels[:, None] == labels[None]
    if not bool(((same.sum(1) > 1) & (~same).any(1)).all()):
        raise ValueError("weighted_triplet: expected every identity at least twice and at least two identities in a "
                         "batch, got one that is alone; draw K crops of each of P identities")
    if normalise:
        embedding = functional.normalize(embedding)
    myself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    gap = distances(embedding, embedding).masked_fill(myself, 0)
    positive = (gap.masked_fill(~same, -torch.inf).softmax(1) * gap).sum(1)
    negative = ((-gap).masked_fill(same, -torch.inf).softmax(1) * gap).sum(1)
    return functional.softplus(positive - negative).mean()
