"""What a device sends: who sends it, is it legal, is it on the disk; only then the answer.

`Receiver.offer` is the same whatever carried the batch; `Receiver.serve` is ``POST /v1/sightings``,
and `cmnas_edge.collector.receiving.mqtt` the other way in.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cmnas_edge.collector.intake import Intake, Stored
from cmnas_edge.collector.receiving.admission import Admission
from cmnas_edge.collector.receiving.body import BODY_S, read_body
from cmnas_edge.collector.receiving.connection import prove
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.receiving.rates import AT_ONCE, Rates
from cmnas_edge.collector.store.journal import Arrival
from cmnas_edge.errors import CmnasError
from cmnas_edge.log import Repeats
from cmnas_edge.sealing import Opener
from cmnas_edge.sighting import Gap, Outcome, Refusal, Sighting
from cmnas_edge.wire import MAX_BATCH_BYTES, MAX_SIGHTINGS, WireError, decode_batch, encode_answer

__all__ = ["KEPT_S", "Answer", "Receiver"]

_log = logging.getLogger("cmnas.collector")
_BEARER = re.compile(r"[Bb]earer +([\x21-\x7e]{1,512}) *")
_RETRY_S = 5
KEPT_S = 600.0      # a device tries what it kept again within a minute, unless its settings say otherwise


class Answer(NamedTuple):
    """What goes back to a device: as in HTTP, and the bytes are outcomes if the status is 200, else a sentence."""

    status: int
    body: bytes
    retry_s: int = 0


class Receiver:
    """Takes batches from enrolled devices and answers for each record what became of it. Any thread may call it."""

    def __init__(self, devices: Devices, intake: Intake, dimensions: Mapping[bytes, int], admission: Admission, *,
                 transform: int = 0, opener: Opener | None = None, only_sealed: bool = False,
                 rates: Rates | None = None, only_certificates: bool = False,
                 clock: Callable[[], float] = time.time) -> None:
        self._devices = devices
        self._intake = intake
        self._dimensions = dimensions   # of the bundles that are accepted, by fingerprint
        self._transform = transform     # the site key that turns vectors here; 0: none does
        self._opener = opener           # has the keys that cameras seal to
        self._only_sealed = only_sealed
        self._admission = admission
        self._rates = rates or Rates(0)
        self._only_certificates = only_certificates
        self._judging = threading.Lock()
        self._clock = clock
        self._repeats = Repeats()
        self._kept: dict[str, tuple[float, str]] = {}   # by device: when it was last told to keep some, and why

    def kept(self) -> list[tuple[str, float, str]]:
        """Device, time and reason of each that was told in the last minutes to keep records, which it tries again."""
        now = self._clock()
        return [(device, at, why) for device, (at, why) in sorted(self._kept.items()) if now - at <= KEPT_S]

    async def serve(self, request: Request) -> Response:
        """Answer one batch."""
        try:
            device = self._device(request)
        except CmnasError as error:
            return _response(self.cannot(error))
        if device is None:
            host = request.client.host if request.client else "?"
            if self._repeats.admit(f"token {host}") is not None:
                _log.warning("%s: showed no token or certificate of an enrolled device; enrol it with: "
                             "cmnas-edge collector enrol NAME --config CONFIG.toml", host)
            expected = "certificate: expected one that names" if self._only_certificates else "token: expected one of"
            return _problem(401, f"{expected} an enrolled device, found another or none; enrol this device on the "
                                 "collector", {"WWW-Authenticate": "Bearer"})
        prove(request.scope.get("state", {}))
        if (patience := self._patience(device)) is not None:    # before its body takes memory
            return _response(patience)
        if not self._rates.enter(device):
            return _response(Answer(429, f"device: expected at most {AT_ONCE} requests at once, found more; send one "
                                         "after another".encode(), _RETRY_S))
        try:
            body = await read_body(request, MAX_BATCH_BYTES)
            if body is None:
                return _problem(413, f"body: expected at most {MAX_BATCH_BYTES} bytes, found more; send fewer records")
            return _response(await asyncio.wrap_future(self.offer(body, device)))
        except (asyncio.TimeoutError, ClientDisconnect):  # the same only from Python 3.11
            return _problem(408, f"body: expected it within {BODY_S:.0f} s, found it unfinished; send it again")
        finally:
            self._rates.leave(device)

    def _device(self, request: Request) -> str | None:
        """Who sends: whose token it is, or whom the certificate names that TLS has verified; both, if both came."""
        bearer = _BEARER.fullmatch(request.headers.get("authorization", ""))
        certified = getattr(request.state, "certificate", "")
        if self._only_certificates and not certified:
            return None
        if "authorization" in request.headers:
            device = self._devices.recognise(bearer[1]) if bearer else None
            return device if certified in ("", device) else None
        return next((device.name for device in self._devices.known() if device.name == certified), None)

    def offer(self, body: bytes, device: str) -> Future[Answer]:
        """Judge a batch and hand what is legal to the disk; does not wait for that.

        Args:
            body: The batch, at most `MAX_BATCH_BYTES` long.
            device: Who sent it; an enrolled one.

        Returns:
            The answer, which comes after the commit.
        """
        answer: Future[Answer] = Future()
        answer.set_running_or_notify_cancel()   # a device that hangs up cannot cancel a commit
        if (patience := self._patience(device)) is not None:
            answer.set_result(patience)
            return answer
        record_count = MAX_SIGHTINGS    # what cannot be read may have been as long
        try:
            items = decode_batch(body, dimension=self._dimensions, device=device, transform=self._transform,
                                 opener=self._opener, only_sealed=self._only_sealed)
            record_count = len(items)
            now = self._clock()
            with self._judging:
                items = [item if isinstance(item, Refusal) else self._admission.judge(item, device, now)
                         for item in items]
            legal: list[Sighting | Gap] = [item for item in items if not isinstance(item, Refusal)]
            if not legal:
                answer.set_result(self._answer(items, [], device))
                return answer
            stored = self._intake.offer(Arrival(device, legal, now))
        except WireError as error:
            answer.set_result(Answer(400, str(error).encode()))
            return answer
        except CmnasError as error:
            answer.set_result(self.cannot(error))
            return answer
        finally:
            self._rates.charge(device, record_count)

        def tell(done: Future[Stored]) -> None:
            try:
                answer.set_result(self._answer(items, done.result(), device))
            except CmnasError as error:     # disk full, a damaged file: nothing was stored
                answer.set_result(self.cannot(error))
            except BaseException as error:
                answer.set_exception(error)

        stored.add_done_callback(tell)
        return answer

    def _answer(self, items: list[Sighting | Gap | Refusal], stored: Stored, device: str) -> Answer:
        fate = iter(stored)
        outcomes = [_outcome(item, None if isinstance(item, Refusal) else next(fate)) for item in items
                    if not isinstance(item, Refusal) or item.for_good]
        refused = [outcome.reason for outcome in outcomes if outcome.result == "refused"]
        if refused and (held := self._repeats.admit(f"refused {device}")) is not None:
            _log.warning("%s: refused %d of %d records%s: %s", device, len(refused), len(items), _more(held),
                         refused[0])
        kept = [item.reason for item in items if isinstance(item, Refusal) and not item.for_good]
        if kept:
            self._kept[device] = self._clock(), kept[0]
        if kept and (held := self._repeats.admit(f"kept {device}")) is not None:
            _log.warning("%s: cannot take %d of %d records for now, which it keeps%s: %s", device, len(kept),
                         len(items), _more(held), kept[0])
        open_count = sum(isinstance(item, Sighting) and not item.sealed for item in items)
        if self._opener and open_count and (held := self._repeats.admit(f"open {device}")) is not None:
            _log.warning("%s: sends vectors open; set seal_to in its [link]%s", device, _more(held))
        if kept and not outcomes:
            return Answer(409, kept[0].encode())
        return Answer(200, encode_answer(outcomes))

    def _patience(self, device: str) -> Answer | None:
        """What a device is told that has sent more than its share; None while it has not."""
        if not (wait_s := self._rates.wait_s(device)):
            return None
        if (held := self._repeats.admit(f"rate {device}")) is not None:
            _log.warning("%s: sends more than %g records a second and is told to wait%s; raise device_rate if it may",
                         device, self._rates.per_s, _more(held))
        return Answer(429, f"device: expected at most {self._rates.per_s:g} records a second over time, found more; "
                           "keep the batch and send it again".encode(), math.ceil(wait_s))

    def cannot(self, error: CmnasError) -> Answer:
        """Say that nothing can be stored for now, and log why."""
        if self._repeats.admit(type(error).__name__) is not None:
            _log.warning("%s", error)
        return Answer(503, b"collector: cannot store now; keep the batch and send it again", _RETRY_S)


def _outcome(item: Sighting | Gap | Refusal, stored: int | None) -> Outcome:
    if isinstance(item, Refusal):
        return Outcome(item.spool, item.sequence, "refused", item.reason)
    sequence = item.last if isinstance(item, Gap) else item.sequence
    return Outcome(item.spool, sequence, "duplicate" if stored is None else "stored")


def _more(held: int) -> str:
    return f" (and in {held} batches before)" if held else ""


def _response(answer: Answer) -> Response:
    if answer.status == 200:
        return Response(answer.body, media_type="application/x-protobuf")
    return _problem(answer.status, answer.body.decode(),
                    {"Retry-After": str(answer.retry_s)} if answer.retry_s else None)


def _problem(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return Response(sentence + "\n", status, headers, media_type="text/plain")
