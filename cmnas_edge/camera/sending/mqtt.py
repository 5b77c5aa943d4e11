"""Batches by way of a broker: the same body as over HTTP, and the same reply, which only the collector gives."""

from __future__ import annotations

import logging
import math
import secrets
import socket
import ssl
import time
from collections.abc import Callable

from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.sending.account import Account
from cmnas_edge.camera.sending.sent_log import SentLog, keep_keys
from cmnas_edge.camera.sending.transport import LARGEST_ANSWER, Reply
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.errors import ConfigError, LinkDown
from cmnas_edge.mqtt import (
    CORRELATION_BYTES,
    Connection,
    Credentials,
    Message,
    address,
    answer_topic,
    batch_topic,
    camera_of,
    common_name,
    modality_topic,
    read_answer,
)
from cmnas_edge.outgoing.mqtt import Packets

__all__ = ["MqttTransport"]

_log = logging.getLogger("cmnas.camera")


class MqttTransport:
    """One batch at a time over one kept connection; a new one is made when that has ended."""

    def __init__(self, url: str, device: str, settings: LinkSettings, tally: Tally,
                 tell: Callable[[str, bytes], object] | None = None) -> None:
        """Check everything that can be checked without the broker.

        Args:
            url: Of the broker.
            device: Name of this device; its certificate's common name is the same.
            settings: Timeouts, site, certificates.
            tally: Where bytes sent are counted.
            tell: Takes a camera's name and what a message orders it to be; None reads no such messages.

        Raises:
            ConfigError: The address is none, or a certificate or its key cannot be used or is another's.
            DeviceError: The package that speaks MQTT is missing.
        """
        self._broker = address(url, "collector")
        if settings.certificate is None or settings.certificate_key is None:
            raise ConfigError("collector: expected certificate and certificate_key in [link] for a broker, found "
                              "not both; name this device's files")
        self._credentials = Credentials(settings.certificate, settings.certificate_key, settings.certificate_authority)
        self._credentials.context()
        if (name := common_name(settings.certificate)) != device:
            raise ConfigError(f"{settings.certificate}: expected the certificate of device {device!r}, found that of "
                              f"{name!r}; name the right file, or correct 'device'")
        self._device = device
        self._batches = batch_topic(settings.site, device)
        self._answers = answer_topic(settings.site, device)
        self._timeout_s = settings.timeout_s
        self._account = Account(tally, Packets, None if settings.sent_log is None else SentLog(
            settings.sent_log, settings.sent_log_mib << 20, "mqtt"))
        self._keys = settings.sent_log_tls_keys
        self._connection: Connection | None = None
        self._tell = tell
        self._orders = modality_topic(settings.site, device) if tell is not None else ""
        self._backoff = Backoff()
        self._stand_by_from = -math.inf
        self._asked = b""
        self._number = 0
        self._answer: Message | None = None
        Connection.check()

    def post(self, body: bytes) -> Reply:
        """Send one batch and wait for the collector's word; the broker's alone counts for nothing."""
        deadline = time.monotonic() + self._timeout_s
        connection = self._connected()
        try:
            connection.wait_ready(deadline)
            self._answer, self._asked = None, secrets.token_bytes(CORRELATION_BYTES)
            self._number = connection.publish(Message(self._batches, body, self._asked, {}),
                                              expires_s=int(self._timeout_s) + 1)
            connection.wait_until(lambda: self._answer is not None, deadline, about=self._number)
            return _reply(self._answer)
        except LinkDown:
            # Also a connection that may still stand: the next one starts with nothing under way.
            self.close()
            raise

    def stand_by(self) -> None:
        """Keep a connection for orders while there is nothing to send; a broken one is made anew with patience."""
        now = time.monotonic()
        if self._tell is None or now < self._stand_by_from:
            return
        if (connection := self._connection) is not None and not connection.ended:
            if connection.ready:
                self._backoff.worked()
            return
        self._stand_by_from = now + self._backoff.failed()
        try:
            self._connected()
        except LinkDown as error:
            _log.warning("%s; nobody can order a modality meanwhile", error)

    @property
    def taken(self) -> bool:
        """Whether the broker took the last batch, which frees nothing."""
        return self._connection is not None and self._connection.verdict(self._number) == 0

    def close(self) -> None:
        """Close the connection; the next `post` makes another. One that waits in another thread ends."""
        if (connection := self._connection) is not None:
            self._connection = None
            connection.close()

    def _connected(self) -> Connection:
        if self._connection is not None and self._connection.ended:
            self.close()
        if self._connection is None:
            try:
                self._account.connected()
                self._connection = Connection(
                    self._broker, self._credentials, name=self._device, reads=self._answers, take=self._take,
                    timeout_s=self._timeout_s, largest=LARGEST_ANSWER, also=self._orders, sent=self._account.sent,
                    made=self._made)
            except ConfigError as error:    # files may come back, as a token may
                raise LinkDown(str(error)) from None
        return self._connection

    def _made(self, made: socket.socket, context: ssl.SSLContext) -> None:
        self._account.opened(made, is_tls=True)
        keep_keys(context, self._keys)

    def _take(self, message: Message) -> None:
        if camera := camera_of(message.topic):
            if self._tell is not None:
                self._tell(camera, message.body)
        elif message.correlation == self._asked and self._answer is None:
            self._answer = message


def _reply(message: Message | None) -> Reply:
    assert message is not None
    answered = read_answer(message)
    if answered is None or len(message.body) > LARGEST_ANSWER:
        raise LinkDown(f"{message.topic}: expected the collector's answer, found something else; look at who may write "
                       "there by the broker's ACL")
    return Reply(answered.status, answered.body, float(answered.retry_s))
