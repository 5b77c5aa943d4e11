"""``POST /v1/sightings``: who sends it, is it legal, is it on the disk; only then the answer."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cmnas_edge.collector.admission import Admission
from cmnas_edge.collector.body import BODY_S, read_body
from cmnas_edge.collector.devices import Devices
from cmnas_edge.collector.intake import Intake
from cmnas_edge.collector.journal import Arrival
from cmnas_edge.collector.match import Model
from cmnas_edge.errors import CmnasError
from cmnas_edge.log import Repeats
from cmnas_edge.sighting import Gap, Outcome, Refusal, Sighting
from cmnas_edge.wire import MAX_BATCH_BYTES, WireError, decode_batch, encode_answer

__all__ = ["Receiver"]

_log = logging.getLogger("cmnas.collector")
_BEARER = re.compile(r"[Bb]earer +([\x21-\x7e]{1,512}) *")
_RETRY_S = 5


class Receiver:
    """Takes batches from enrolled devices and answers for each record what became of it."""

    def __init__(self, devices: Devices, intake: Intake, model: Model, admission: Admission, *,
                 transform: int = 0, clock: Callable[[], float] = time.time) -> None:
        self._devices = devices
        self._intake = intake
        self._model = model
        self._transform = transform     # the site key that turns vectors here; 0: none does
        self._admission = admission
        self._clock = clock
        self._repeats = Repeats()

    async def serve(self, request: Request) -> Response:
        """Answer one batch."""
        try:
            return await self._answer(request)
        except CmnasError as error:     # disk full, too busy, a damaged file: nothing was stored
            if self._repeats.admit(type(error).__name__) is not None:
                _log.warning("%s", error)
            return _problem(503, "collector: cannot store now; keep the batch and send it again",
                            {"Retry-After": str(_RETRY_S)})

    async def _answer(self, request: Request) -> Response:
        bearer = _BEARER.fullmatch(request.headers.get("authorization", ""))
        device = self._devices.recognise(bearer[1]) if bearer else None
        if device is None:
            host = request.client.host if request.client else "?"
            if self._repeats.admit(f"token {host}") is not None:
                _log.warning("%s: sent a token of no enrolled device; enrol it with: "
                             "cmnas-edge collector enrol NAME --config CONFIG.toml", host)
            return _problem(401, "token: expected one of an enrolled device, found another or none; enrol this "
                                 "device on the collector", {"WWW-Authenticate": "Bearer"})
        try:
            body = await read_body(request, MAX_BATCH_BYTES)
        except (asyncio.TimeoutError, ClientDisconnect):  # the same only from Python 3.11
            return _problem(408, f"body: expected it within {BODY_S:.0f} s, found it unfinished; send it again")
        if body is None:
            return _problem(413, f"body: expected at most {MAX_BATCH_BYTES} bytes, found more; send fewer records")
        try:
            items = await run_in_threadpool(decode_batch, body, dimension=self._model.dimension, device=device,
                                            fingerprint=self._model.fingerprint, transform=self._transform)
        except WireError as error:
            return _problem(400, str(error))
        now = self._clock()
        items = [item if isinstance(item, Refusal) else self._admission.judge(item, device, now) for item in items]
        legal: list[Sighting | Gap] = [item for item in items if not isinstance(item, Refusal)]
        stored: list[int | None] = []
        if legal:
            stored = await asyncio.wrap_future(self._intake.offer(Arrival(device, legal, now)))
        fate = iter(stored)
        outcomes = [_outcome(item, None if isinstance(item, Refusal) else next(fate)) for item in items]
        refused = [outcome.reason for outcome in outcomes if outcome.result == "refused"]
        if refused and (held := self._repeats.admit(f"refused {device}")) is not None:
            _log.warning("%s: refused %d of %d records%s: %s", device, len(refused), len(items),
                         f" (and some of {held} batches before)" if held else "", refused[0])
        return Response(encode_answer(outcomes), media_type="application/x-protobuf")


def _outcome(item: Sighting | Gap | Refusal, stored: int | None) -> Outcome:
    if isinstance(item, Refusal):
        return Outcome(item.spool, item.sequence, "refused", item.reason)
    sequence = item.last if isinstance(item, Gap) else item.sequence
    return Outcome(item.spool, sequence, "duplicate" if stored is None else "stored")


def _problem(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return Response(sentence + "\n", status, headers, media_type="text/plain")
