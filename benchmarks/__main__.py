"""``python -m benchmarks``: every question, one after another; each appends to ``results/``."""

from __future__ import annotations

import sys

from benchmarks import (
    draw,
    dusk,
    latency,
    linkability,
    loader,
    pipeline,
    protocol,
    sealing,
    search_step,
    spool,
    throughput,
)

if __name__ == "__main__":
    for script in (latency, throughput, draw, dusk, linkability, loader, pipeline, protocol, sealing, search_step,
                   spool):
        print(f"== {script.__name__.removeprefix('benchmarks.')}: {(script.__doc__ or '').splitlines()[0]}", flush=True)
        sys.argv[1:] = []
        script.main()
