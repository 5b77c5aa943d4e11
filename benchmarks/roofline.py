"""What can these processor cores do at most? A float32 product of matrices and a copy of memory, the best of several.

    python -m benchmarks.roofline 0 1       # on cores 0 and 1; prints JSON

Set OMP_NUM_THREADS and OPENBLAS_NUM_THREADS to the number of cores; `benchmarks.contest` does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

__all__ = ["main"]

_GEMM = 1024
_COPY = 1 << 24  # float32 numbers: 64 MiB, more than any cache
_ROUNDS = 8


def main() -> None:
    """Measure on the cores that the command line names, and print."""
    os.sched_setaffinity(0, [int(core) for core in sys.argv[1:]] or os.sched_getaffinity(0))
    a = np.random.default_rng(0).random((_GEMM, _GEMM), np.float32)
    b, source, target = a.T.copy(), np.ones(_COPY, np.float32), np.zeros(_COPY, np.float32)
    product, copy = (min(_seconds(work) for _ in range(_ROUNDS))
                     for work in (lambda: np.matmul(a, b), lambda: np.copyto(target, source)))
    print(json.dumps({"gemm_gflops": round(2 * _GEMM**3 / product / 1e9, 1),
                      "copy_gb_s": round(2 * source.nbytes / copy / 1e9, 1)}))     # read and written


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
