"""How far apart two modalities place the same people: what C3MMD minimises, measured on anybody.

The losses of ``train.losses.c3mmd`` need batches; this takes a whole set of embeddings with any
number of crops of each, and only numpy. Both figures fall to 0 when everybody is placed in one
spot, so they are read beside rank-1 and beside ``Discrepancy.between``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from train.losses.c3mmd import Kernel

__all__ = ["Discrepancy", "discrepancy"]

F64 = npt.NDArray[np.float64]


class Discrepancy(NamedTuple):
    """Figures of one set of people.

    Attributes:
        class_mmd: The squared maximum mean discrepancy between the visible and the infrared rows of
            an identity, mean over identities: what ``cmmd`` is in training.
        between: The same between two different identities of one modality, mean over all such
            pairs and both modalities. Where ``class_mmd`` comes near it, a change of modality
            moves a person as far as being another person does.
        similarity: Distance of the modalities' similarity matrices. Who is how much like whom,
            by the mean direction of each identity, is a matrix per modality; its rows are scaled
            to length one, and the squared distance of a visible row to the infrared one is
            averaged over identities, 0 to 4. It is ``sp`` of those mean directions times their
            number, so sets of different size compare.
        identities: Identities seen in both modalities; others are left out.
    """

    class_mmd: float
    between: float
    similarity: float
    identities: int


def discrepancy(embeddings: npt.NDArray[np.floating[Any]], identity: npt.NDArray[np.integer[Any]],
                infrared: npt.NDArray[np.bool_], *, kernel: Kernel = "second_moment") -> Discrepancy:
    """Measure how far apart the modalities place the same people.

    A discrepancy of two finite samples is above 0 even if both come from one distribution, by
    about the spread within an identity over the number of its rows: compare networks on the same
    crops only.

    Args:
        embeddings: Any length, shape ``(n, d)``; compared as unit vectors, a row of zeros stays zero.
        identity: Shape ``(n,)``.
        infrared: Modality of each row, shape ``(n,)``.
        kernel: ``(a.b)^2`` or ``(1 + a.b)^2``, see ``train.losses.c3mmd``.

    Returns:
        The figures, computed in float64.

    Raises:
        ValueError: Shapes don't match, the kernel is unknown, an embedding isn't finite, or fewer
            than two identities are seen in both modalities.
    """
    rows, kept, both = _prepared(embeddings, identity, infrared)
    if kernel not in ("second_moment", "both_moments"):
        raise ValueError(f"kernel: expected second_moment or both_moments, found {kernel!r}")
    people = len(both)
    # Groups 0..P-1 are the visible rows of each identity, P..2P-1 the infrared ones.
    group = np.searchsorted(both, identity[kept]) + people * infrared[kept]
    rows = rows[np.argsort(group, kind="stable")]
    counts = np.bincount(group, minlength=2 * people)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])

    likeness = np.empty((2 * people, 2 * people))  # mean of k(a, b) over rows a of one group and b of another
    offset = 0.0 if kernel == "second_moment" else 1.0
    for one, (start, count) in enumerate(zip(starts, counts, strict=True)):
        column = np.square(rows[start:start + count] @ rows.T + offset).mean(0)
        likeness[one] = np.add.reduceat(column, starts) / counts
    alone = np.diag(likeness)
    apart = alone[:, None] + alone[None] - 2 * likeness
    within = [apart[:people, :people], apart[people:, people:]]
    means = np.add.reduceat(rows, starts) / counts[:, None]
    gram = [_unit(side @ side.T) for side in (means[:people], means[people:])]
    return Discrepancy(
        class_mmd=float(np.diag(apart[:people, people:]).mean()),
        between=float(sum(side.sum() for side in within) / (2 * people * (people - 1))),
        similarity=float(np.square(gram[0] - gram[1]).sum(1).mean()), identities=people)


def _prepared(embeddings: npt.NDArray[np.floating[Any]], identity: npt.NDArray[np.integer[Any]],
              infrared: npt.NDArray[np.bool_]) -> tuple[F64, npt.NDArray[np.bool_], npt.NDArray[np.integer[Any]]]:
    """Unit vectors of the rows that count, which ones these are, and whom they show, ascending."""
    if embeddings.ndim != 2 or identity.shape != infrared.shape or identity.shape != embeddings.shape[:1]:
        raise ValueError("discrepancy: expected (n, d) embeddings, (n,) identities and (n,) modalities, found shapes "
                         f"{embeddings.shape}, {identity.shape} and {infrared.shape}")
    both = np.intersect1d(identity[~infrared], identity[infrared])
    if len(both) < 2:
        raise ValueError(f"discrepancy: expected at least two identities in both modalities, found {len(both)}")
    kept = np.isin(identity, both)
    rows = embeddings[kept].astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("discrepancy: expected finite embeddings, found NaN or infinity")
    return _unit(rows), kept, both


def _unit(rows: F64) -> F64:
    """Each row at length one, by the losses' rule for a row of zeros."""
    length: F64 = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(length, 1e-12)
