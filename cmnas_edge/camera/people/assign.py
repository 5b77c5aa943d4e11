"""Who is whom: the pairing of rows and columns whose gains add up to the most.

The exact answer to the assignment problem with the freedom to leave anyone unpaired. Pairs
without gain cut the problem into small groups that do not affect each other (people who are
near each other); most are one against one, and the rest go through the Hungarian method in
its shortest augmenting path form (Jonker and Volgenant 1987), O(k^3) in a group of k.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["assign"]

Pairs = list[tuple[int, int]]


def assign(gains: npt.NDArray[np.float32]) -> Pairs:
    """Pair rows with columns so that the sum of gains is the largest possible.

    Args:
        gains: Shape ``(n, m)``; only entries above zero may be paired.

    Returns:
        ``(row, column)`` pairs in row order; no row and no column occurs twice.

    Examples:
        >>> assign(np.array([[0.9, 0.8], [0.8, 0.1]], np.float32))
        [(0, 1), (1, 0)]
    """
    rows, columns = np.nonzero(gains > 0)
    of_row: dict[int, list[int]] = {}
    of_column: dict[int, list[int]] = {}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        of_row.setdefault(row, []).append(column)
        of_column.setdefault(column, []).append(row)
    pairs: Pairs = []
    seen: set[int] = set()
    for start in of_row:
        if start in seen:
            continue
        group, reached = _group(start, of_row, of_column)
        seen.update(group)
        if len(group) == 1 and len(reached) == 1:
            pairs.append((start, reached[0]))
        else:
            block = gains[np.ix_(group, reached)].astype(np.float64)
            pairs += [(group[i], reached[j]) for i, j in _hungarian(block.tolist())]
    return sorted(pairs)


def _group(start: int, of_row: dict[int, list[int]], of_column: dict[int, list[int]]
           ) -> tuple[list[int], list[int]]:
    """Rows and columns that are linked to row ``start`` by pairs with a gain."""
    rows, columns = {start}, set[int]()
    open_rows = [start]
    while open_rows:
        for column in of_row[open_rows.pop()]:
            if column not in columns:
                columns.add(column)
                new = [row for row in of_column[column] if row not in rows]
                rows.update(new)
                open_rows += new
    return sorted(rows), sorted(columns)


def _hungarian(gains: list[list[float]]) -> Pairs:
    """Solve one group; a zero column per row stands for staying alone.

    Rows enter one at a time. Each looks for the cheapest path that ends at a free column,
    going through paired ones; dual prices ``u`` and ``v`` keep every reduced cost at or above
    zero, which is what makes a path that is cheapest now part of an optimum.
    """
    n, m = len(gains), len(gains[0])
    width = m + n
    cost = [[-max(gain, 0.0) for gain in row] + [0.0] * n for row in gains]
    u, v = [0.0] * n, [0.0] * (width + 1)
    owner = [-1] * (width + 1)  # of each column; the extra one is where a new row starts
    for row in range(n):
        owner[width] = row
        column = width
        least = [float("inf")] * width
        before = [width] * width
        done = [False] * (width + 1)
        while owner[column] >= 0:
            done[column] = True
            i = owner[column]
            line, price = cost[i], u[i]
            step, closest = float("inf"), -1
            for j in range(width):
                if not done[j]:
                    reduced = line[j] - price - v[j]
                    if reduced < least[j]:
                        least[j], before[j] = reduced, column
                    if least[j] < step:
                        step, closest = least[j], j
            for j in range(width + 1):
                if done[j]:
                    u[owner[j]] += step
                    v[j] -= step
                elif j < width:
                    least[j] -= step
            column = closest
        while column != width:
            owner[column] = owner[before[column]]
            column = before[column]
        owner[width] = -1
    return [(owner[j], j) for j in range(m) if owner[j] >= 0 and gains[owner[j]][j] > 0]
