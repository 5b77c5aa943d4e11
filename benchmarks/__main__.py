"""``python -m benchmarks [--all]``: one question after another; each appends to ``results/``.

Those that take minutes each, and want a machine to themselves, are asked with ``--all`` only.
"""

from __future__ import annotations

import sys

from benchmarks import (
    cameras,
    draw,
    dusk,
    latency,
    linkability,
    loader,
    pipeline,
    protocol,
    quantisation,
    sealing,
    search_step,
    spool,
    throughput,
)

_SHORT = (latency, throughput, draw, loader, pipeline, protocol, sealing, search_step, spool)
_LONG = (cameras, dusk, linkability, quantisation)

if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--all"]):
        sys.exit("python -m benchmarks: expected nothing or --all; one question: python -m benchmarks.QUESTION --help")
    scripts = (*_SHORT, *_LONG) if sys.argv[1:] else _SHORT
    for script in scripts:
        print(f"== {script.__name__.removeprefix('benchmarks.')}: {(script.__doc__ or '').splitlines()[0]}", flush=True)
        sys.argv[1:] = []
        script.main()
