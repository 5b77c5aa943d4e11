"""One connection to a broker: made in time, read by a thread of its own, and when it has ended, ended for good."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from cmnas_edge.errors import LinkDown
from cmnas_edge.mqtt.client import PACKET_BYTES, bounded, encrypted, open_client
from cmnas_edge.mqtt.credentials import Address, Credentials, expired_on, said

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

__all__ = ["Connection", "Message"]

_KEEPALIVE_S = 30       # a connection that says nothing for half as long again is given up by either end
_NOBODY = 0x10          # PUBACK, "No matching subscribers"
_NOT_AUTHORIZED = 0x87
_VERDICTS = 64
_PROTOCOL = "Protocol error"    # how the library calls what it cannot read
_NO_MQTT = "something there that does not speak MQTT 5 as it should"
_ALERT = re.compile(r"ALERT_([A-Z_]+)")


class Message(NamedTuple):
    """What came, as far as this house uses it."""

    topic: str
    body: bytes
    correlation: bytes
    properties: dict[str, str]


class Connection:
    """One connection to a broker, subscribed to one filter. When it has ended, make another.

    Attributes:
        ended: Why there is no connection any more; empty while there is, or may be.
    """

    def __init__(self, broker: Address, credentials: Credentials, *, name: str, reads: str,
                 take: Callable[[Message], None], timeout_s: float, largest: int, also: str = "",
                 sent: Callable[[bytes], None] = lambda _: None,
                 made: Callable[[socket.socket, ssl.SSLContext], None] = lambda *_: None) -> None:
        """Begin to connect, in a thread of its own.

        Args:
            broker: Where.
            credentials: Who this end is.
            name: Client identifier.
            reads: Topic filter to subscribe to.
            take: Called with each message, by the connection's thread; must not raise.
            timeout_s: For connecting.
            largest: Bytes of a message that comes; a broker that sends more loses this connection.
            also: Another filter; a broker that refuses it is used all the same.
            sent: Called with the bytes of MQTT that were written, each time.
            made: Called with a connection that stands, and what it will be encrypted by, before it is.

        Raises:
            ConfigError: As `Credentials.context`.
            DeviceError: The package that speaks MQTT is missing.
        """
        self.ended = ""
        self._broker = broker
        self._certificate = credentials.certificate
        self._reads, self._also, self._reads_number = reads, also, 0
        self._take = take
        self._made = made
        self._changed = threading.Condition(threading.RLock())
        self._ready = False
        self._verdicts: dict[int, int] = {}     # of the broker, on what was published last, by its number
        self._alert = ""                    # what TLS said last
        context = credentials.context()
        self._largest = largest + PACKET_BYTES
        client = self._client = open_client(name, sent, lambda: self._connected(context, timeout_s), self._largest)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.on_log = self._on_log
        self._looping = self._gone = False
        threading.Thread(target=self._run, name="mqtt", daemon=True).start()

    @staticmethod
    def check() -> None:
        """See whether this machine can speak MQTT at all.

        Raises:
            DeviceError: The package for it is missing.
        """
        open_client("", lambda _: None, lambda: None, 0)    # type: ignore[arg-type, return-value]

    @property
    def ready(self) -> bool:
        """Whether it can be used."""
        return self._ready and not self.ended

    def wait_ready(self, deadline: float) -> None:
        """Wait until it can be used.

        Raises:
            LinkDown: It ended, or took too long.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self.ended, deadline - time.monotonic())
            if self.ended or not self._ready:
                raise LinkDown(self.ended or self._sentence("no answer in time"))

    def wait_ended(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended; says whether it has."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended, timeout_s)
            return bool(self.ended)

    def publish(self, message: Message, *, expires_s: int) -> int:
        """Hand a message to the broker, QoS 1; does not wait for it. Returns its number. Any thread may call it."""
        from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415 - an extra
        from paho.mqtt.properties import Properties  # noqa: PLC0415

        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = message.correlation
        properties.MessageExpiryInterval = expires_s
        if message.properties:
            properties.UserProperty = list(message.properties.items())
        try:
            # Not under our condition: the client calls back holding a lock that it takes here.
            return int(self._client.publish(message.topic, message.body, 1, properties=properties).mid)
        except (OSError, AttributeError):   # closed by another thread just now; whoever waits is told so
            return 0

    def verdict(self, number: int) -> int | None:
        """Say what the broker said of a message published last: 0 that it took it; None nothing yet."""
        return self._verdicts.get(number)

    def wait_until(self, done: Callable[[], bool], deadline: float, *, about: int) -> None:
        """Wait for something that ``take`` brings about.

        Args:
            done: Says whether it has come.
            deadline: Monotonic seconds.
            about: Number of the message that asked for it.

        Raises:
            LinkDown: It cannot come any more: the connection ended, the broker refused the message or nobody
                reads it, or time is over.
        """
        with self._changed:
            self._changed.wait_for(lambda: done() or self.ended or self._refused(about), deadline - time.monotonic())
            if done():
                return
            raise LinkDown(self.ended or self._refused(about) or
                           f"{self._broker}: expected the collector's answer, found none in time; look at the "
                           "collector's log")

    def close(self, patience_s: float = 1.0) -> None:
        """End it; again is harmless. Whoever waits on it stops waiting."""
        with self._changed:
            was_ready, looping, self._looping = self._ready and not self.ended, self._looping, False
            self._end("closed")
        if not looping:     # not yet: whoever connects will see that it has ended
            return
        if was_ready:
            self._client.disconnect()
            with self._changed:
                self._changed.wait_for(lambda: self._gone, patience_s)
        own = self._client.socket()
        with contextlib.suppress(OSError):  # it may be gone
            if isinstance(own, socket.socket):
                # The plain socket's, since TLS keeps its state for the thread that reads.
                socket.socket.shutdown(own, socket.SHUT_RDWR)
        self._client.loop_stop()
        self._client.free()

    def _connected(self, context: ssl.SSLContext, timeout_s: float) -> ssl.SSLSocket:
        """Connect and shake hands, all of it in time."""
        tls = encrypted(self._broker, context, timeout_s, self._made)
        if self.ended:      # by us, meanwhile; greeting the broker now would throw out who came after
            tls.close()
            raise ConnectionAbortedError
        return tls

    def _run(self) -> None:
        try:
            self._client.connect(self._broker.host, self._broker.port, _KEEPALIVE_S, properties=bounded(self._largest))
        except Exception as error:      # whatever it was, it is over, and somebody waits to hear why
            self._end(self._sentence(said(error)))
            return
        with self._changed:
            if not self.ended:
                self._looping = True
                self._client.loop_start()
                return
        if (own := self._client.socket()) is not None:
            own.close()

    def _on_connect(self, client: Client, _: Any, __: Any, code: Any, ___: Any) -> None:
        if code.is_failure:
            self._end(self._sentence(f"it let nobody in ({code})"))
            client.disconnect()
        else:
            self._reads_number = client.subscribe(self._reads, 1)[1] or 0
            if self._also:
                client.subscribe(self._also, 1)     # a packet of its own, as each has

    def _on_subscribe(self, client: Client, _: Any, number: int, codes: list[Any], ___: Any) -> None:
        if number != self._reads_number:
            return
        if not codes:
            self._end(self._sentence(_NO_MQTT))
            client.disconnect()
            return
        if any(code.is_failure for code in codes):
            self._end(f"{self._broker}: expected to read {self._reads}, found that the broker does not let this "
                      f"certificate ({codes[0]}); correct the broker's ACL, or the certificate's common name")
            client.disconnect()
            return
        with self._changed:
            self._ready = True
            self._changed.notify_all()

    def _on_publish(self, _: Client, __: Any, number: int, code: Any, ___: Any) -> None:
        with self._changed:
            self._verdicts.pop(number, None)    # numbers come round again
            self._verdicts[number] = code.value
            if len(self._verdicts) > _VERDICTS:
                del self._verdicts[next(iter(self._verdicts))]
            self._changed.notify_all()

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        properties = message.properties
        correlation = getattr(properties, "CorrelationData", b"")
        pairs = dict(getattr(properties, "UserProperty", ()))
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._end(self._sentence(_NO_MQTT))
            self._client.disconnect()
            return
        try:
            self._take(Message(topic, bytes(message.payload), bytes(correlation), pairs))
        except BaseException as error:  # else this thread would end and nobody would know
            self._end(f"{self._broker}: a message could not be dealt with ({error!r})")
            raise
        with self._changed:
            self._changed.notify_all()

    def _on_log(self, _: Client, __: Any, ___: int, text: str) -> None:
        if found := _ALERT.search(text):    # TLS 1.3 tells of our certificate only after the handshake
            self._alert = found[1].lower().replace("_", " ")

    def _on_disconnect(self, _: Client, __: Any, ___: Any, code: Any, ____: Any) -> None:
        overlong = self._client.overlong
        self._end(self._sentence(
            f"it said {self._alert!r} of this certificate" if self._alert else
            f"it sent a packet of {overlong:,} bytes, and nobody here takes so many" if overlong else
            _NO_MQTT if str(code) == _PROTOCOL else f"the connection ended ({code})" if self._ready else
            "it ended the connection; it may hold this certificate to be expired, taken back, or of another authority"))
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _refused(self, number: int) -> str:
        verdict = self._verdicts.get(number, 0)
        if verdict == 0:
            return ""
        if verdict == _NOBODY:
            return f"{self._broker}: expected the collector there, found nobody who reads; start the collector"
        if verdict == _NOT_AUTHORIZED:
            return (f"{self._broker}: expected to be let write, found that the broker does not let this certificate; "
                    "its common name must be this device's name, 'site' the collector's, and the broker's ACL that of "
                    "cmnas-edge collector mqtt-acl")
        return (f"{self._broker}: expected the batch taken, found it refused (reason {verdict:#04x}); look at "
                "the broker's log")

    def _sentence(self, found: str) -> str:
        if day := expired_on(self._certificate):
            found += f" (and {self._certificate} expired on {day})"
        return (f"{self._broker}: expected a broker that lets this certificate in, found: {found}; "
                "check that it runs and that this network reaches it")

    def _end(self, why: str) -> None:
        with self._changed:
            self.ended = self.ended or why
            self._changed.notify_all()

