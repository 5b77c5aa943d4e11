"""Reading what a stranger sends, no further than it may be long."""

from __future__ import annotations

from starlette.requests import Request

__all__ = ["read_body"]


async def read_body(request: Request, most: int) -> bytes | None:
    """Read a body, or None as soon as it is, or says it is, longer than ``most`` bytes.

    Nothing here bounds how long that takes.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)
