"""Lower precision, written into the graph and proven before it may serve.

A graph says itself in which arithmetic it is to be run, since TensorRT from 11 on takes no other word for it:
float16 by types (`half`), int8 by QuantizeLinear and DequantizeLinear (`quantized`), both by half-precision scales.
bfloat16 needs no graph of its own. `ladder` makes them in turn; `gate` decides by what is found, not by how close
numbers are.
"""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["METHODS", "PEOPLE", "Method"]

Method = Literal["minmax", "percentile", "entropy"]     # how ranges are found: see `export.precision.ranges`
METHODS: tuple[Method, ...] = get_args(Method)
PEOPLE = 4_000  # whom the gate draws: 8,000 queries in infrared, 16,000 in visible light
