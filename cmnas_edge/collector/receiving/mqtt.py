"""The other way in: batches from a broker, judged and stored as those over HTTP, answered after the commit.

The broker says who sent a batch, by the topic it came on: its ACL (`acl`) lets each certificate
write to its own only. Nothing is kept at the broker: a batch that no collector reads is the
camera's to send again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from concurrent.futures import Future

from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.receiving.receive import Answer, Receiver
from cmnas_edge.collector.settings import MqttSettings
from cmnas_edge.errors import CmnasError, ConfigError
from cmnas_edge.log import Repeats
from cmnas_edge.mqtt import (
    CORRELATION_BYTES,
    Answered,
    Connection,
    Credentials,
    Message,
    address,
    answer_topic,
    batch_topic,
    common_name,
    device_of,
    modality_topic,
    written_answer,
)
from cmnas_edge.sighting import NAME_WORDS, is_name
from cmnas_edge.wire import MAX_BATCH_BYTES

__all__ = ["MqttReceiver", "acl", "check"]

_log = logging.getLogger("cmnas.collector")
_TIMEOUT_S = 10.0
_LONGEST_S = 30.0       # between two tries to reach the broker
_EXPIRES_S = 60         # no camera waits longer for an answer, by its default


class MqttReceiver:
    """Reads a site's batches for as long as it runs; a lost broker is looked for again, ever more slowly."""

    def __init__(self, settings: MqttSettings, receiver: Receiver, devices: Devices) -> None:
        """Check what can be checked without the broker.

        Raises:
            ConfigError: See `check`.
            DeviceError: The package that speaks MQTT is missing.
        """
        self._name = check(settings)
        self._settings = settings
        self._broker = address(settings.broker, "mqtt.broker")
        self._credentials = Credentials(settings.certificate, settings.certificate_key, settings.certificate_authority)
        self._receiver = receiver
        self._devices = devices
        self._repeats = Repeats()
        self._stopped = threading.Event()
        self._connection: Connection | None = None
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    @property
    def trouble(self) -> str:
        """Why no batch comes this way for now; empty while they may."""
        if (connection := self._connection) is not None and connection.ready:
            return ""
        return self._trouble or f"{self._broker}: not reached yet"

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Say what is to be said, and leave. Once the intake has stopped, all that was stored is answered."""
        self._stopped.set()
        if (connection := self._connection) is not None:
            connection.close()
        if self._thread.is_alive():
            self._thread.join(_TIMEOUT_S)

    def _run(self) -> None:
        failure_count = 0
        while not self._stopped.is_set():
            if self._read():
                failure_count = 0
            failure_count += 1
            self._stopped.wait(random.uniform(0.5, 1.0) * min(_LONGEST_S, 2.0 ** (failure_count - 1)))

    def _read(self) -> bool:
        """Read until the connection ends; says whether there was one."""
        try:
            connection = self._connection = Connection(
                self._broker, self._credentials, name=self._name, reads=batch_topic(self._settings.site, "+"),
                take=self._take, timeout_s=_TIMEOUT_S, largest=MAX_BATCH_BYTES)
            try:
                connection.wait_ready(time.monotonic() + _TIMEOUT_S)
                _log.info("reading %s from %s", batch_topic(self._settings.site, "+"), self._broker)
                connection.wait_ended()
                self._say(connection.ended)
                return True
            finally:
                connection.close()
        except CmnasError as error:
            self._say(str(error))
        return False

    def _say(self, trouble: str) -> None:
        self._trouble = trouble
        if not self._stopped.is_set() and self._repeats.admit(trouble) is not None:
            _log.warning("%s; cameras that send by it keep what they have", trouble)

    def _take(self, message: Message) -> None:
        """Answer one batch. Called by the connection's thread, so batches are handed on in the order they came."""
        if len(message.correlation) != CORRELATION_BYTES:
            return      # no camera of ours; there is nobody to answer
        device = device_of(message.topic)
        try:
            self._offer(message.body, device).add_done_callback(
                lambda done: self._answer(device, message.correlation, done))
        except Exception as error:      # a bug of ours, as HTTP would answer 500: this batch stays where it is
            if self._repeats.admit(type(error).__name__) is not None:
                _log.critical("a batch of %s cannot be judged: %s", device, error, exc_info=error)

    def _offer(self, body: bytes, device: str) -> Future[Answer]:
        refused: Future[Answer] = Future()
        try:
            if not any(known.name == device for known in self._devices.known()):
                if self._repeats.admit(f"unknown {device}") is not None:
                    _log.warning("%a: has a certificate, and is not enrolled; enrol it with: cmnas-edge collector "
                                 "enrol NAME --config CONFIG.toml", device[:64])
                refused.set_result(Answer(403, b"device: expected one that is enrolled, found another; enrol it on the "
                                               b"collector"))
            elif len(body) > MAX_BATCH_BYTES:
                refused.set_result(Answer(413, b"batch: found more bytes than a batch may have; send fewer records"))
            else:
                return self._receiver.offer(body, device)
        except CmnasError as error:
            refused.set_result(self._receiver.cannot(error))
        return refused

    def _answer(self, device: str, correlation: bytes, done: Future[Answer]) -> None:
        if done.exception() is not None or (connection := self._connection) is None:
            return      # the collector is about to end, or has; no word frees nothing
        answer = done.result()
        connection.publish(written_answer(answer_topic(self._settings.site, device), correlation, Answered(
            answer.status, answer.body, answer.retry_s)), expires_s=_EXPIRES_S)


def check(settings: MqttSettings) -> str:
    """Check a collector's settings for a broker without reaching it; returns its own name there.

    Raises:
        ConfigError: The address is none, or a certificate or its key cannot be used.
        DeviceError: The package that speaks MQTT is missing.
    """
    address(settings.broker, "mqtt.broker")
    Credentials(settings.certificate, settings.certificate_key, settings.certificate_authority).context()
    Connection.check()
    return _own_name(settings)


def acl(settings: MqttSettings) -> str:
    """Write the broker's ACL: a device reaches its own two topics, the collector all of them.

    Raises:
        ConfigError: The collector's certificate cannot be read.
    """
    site, name = settings.site, _own_name(settings)
    return f"""\
# Mosquitto, acl_file: who may read and write what. With it in mosquitto.conf:
#   listener 8883
#   cafile, certfile, keyfile, crlfile      your authority, the broker's own two files, certificates taken back
#   require_certificate true
#   use_identity_as_username true           a user is the common name of a certificate,
#   use_username_as_clientid true           and so is a client: nobody throws out another
#   allow_anonymous false
#   message_size_limit {MAX_BATCH_BYTES + 4096}
#   persistence false                       nothing waits at the broker; cameras keep what was not answered
# No device may have a certificate named {name!r}: it would read every device's batches.

user {name}
topic read {batch_topic(site, '+')}
topic write {answer_topic(site, '+')}

pattern write {batch_topic(site, '%u')}
pattern read {answer_topic(site, '%u')}
pattern read {modality_topic(site, '%u')}

# Who may order what a camera sees with (docs/dusk.md): nobody, unless you name a certificate's common name here.
#user operator
#topic write {modality_topic(site, '+')}
"""


def _own_name(settings: MqttSettings) -> str:
    if not is_name(name := common_name(settings.certificate)):
        raise ConfigError(f"{settings.certificate}: expected a common name of {NAME_WORDS}, found {name[:80]!a}; have "
                          "it made again")
    return name
