"""Reading what a stranger sends, no further than it may be long."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

__all__ = ["BODY_S", "read_body"]

BODY_S = 30.0   # a body that takes longer is given up: a stuck sender must not hold memory, nor a connection


async def read_body(request: Request, most: int) -> bytes | None:
    """Read a body, or None as soon as it is, or says it is, longer than ``most`` bytes.

    Raises:
        asyncio.TimeoutError: It did not come within `BODY_S`.
    """
    return await asyncio.wait_for(_read(request, most), BODY_S)


async def _read(request: Request, most: int) -> bytes | None:
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)
