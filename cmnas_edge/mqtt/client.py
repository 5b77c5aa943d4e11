"""The library's client, as far as this house lets a broker go: connected by us, told no more than we can hold."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from cmnas_edge.errors import DeviceError
from cmnas_edge.mqtt.credentials import Address

__all__ = ["PACKET_BYTES", "bounded", "encrypted", "open_client"]

PACKET_BYTES = 4096     # what a packet has beside its message, at most: topic and properties


def open_client(name: str, sent: Callable[[bytes], None], connected: Callable[[], ssl.SSLSocket], largest: int) -> Any:
    """Make a client that has not connected yet.

    Args:
        name: Client identifier.
        sent: Called with the bytes that were written, each time.
        connected: Makes its connection.
        largest: Bytes of a packet that it takes in; of a longer one not a byte is kept, and the connection ends.

    Raises:
        DeviceError: The package that speaks MQTT is missing.
    """
    try:
        import paho.mqtt.client as paho  # noqa: PLC0415 - an extra
        from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode  # noqa: PLC0415
    except ImportError:
        raise DeviceError("mqtt: expected the package paho-mqtt, found none; run: pip install 'cmnas-edge[mqtt]'"
                          ) from None

    class Held(paho.Client):
        """Tells what it writes, to a connection that we make.

        Attributes:
            overlong: Bytes of a packet that was not taken; 0 none.
        """

        overlong = 0

        def _create_socket(self) -> ssl.SSLSocket:
            return connected()

        def _loop(self, timeout: float = 1.0) -> MQTTErrorCode:
            """Wait once and do what there is to do, as the library's own, which cannot see descriptors above 1023."""
            own: Any = self._sock       # made by `connected`
            wake = self._sockpairR
            if own is None:
                return MQTTErrorCode.MQTT_ERR_NO_CONN
            # What TLS has taken off the wire already, no poll would tell.
            waiting = own.pending()
            watched = select.poll()
            try:
                watched.register(own, select.POLLIN | (select.POLLOUT if self.want_write() else 0))
                if wake is not None:
                    watched.register(wake, select.POLLIN)
                number, waker = own.fileno(), -1 if wake is None else wake.fileno()
            except ValueError:          # closed by another thread
                return MQTTErrorCode.MQTT_ERR_CONN_LOST
            found = dict(watched.poll(0 if waiting else 1000 * timeout))
            # An end that broke off is neither to be read nor written; reading says how.
            if waiting or found.get(number, 0) & ~select.POLLOUT:
                failed = self.loop_read()
                if failed or self._sock is None:
                    return failed
            if wake is not None and waker in found:     # something to be sent has come meanwhile
                with contextlib.suppress(BlockingIOError):
                    wake.recv(10_000)
            if waker in found or found.get(number, 0) & select.POLLOUT:
                failed = self.loop_write()
                if failed or self._sock is None:
                    return failed
            return self.loop_misc()

        def free(self) -> None:
            """Close what its thread was woken by; left to be collected, it would be said to leak."""
            self._reset_sockets()

        def _sock_send(self, buf: bytes | bytearray) -> int:
            count = super()._sock_send(buf)
            sent(bytes(buf[:count]))
            return count

        def _sock_recv(self, bufsize: int) -> bytes:
            if bufsize > largest:   # it asks for all of a packet at once, up to 256 MiB
                self.overlong = bufsize
                raise ConnectionAbortedError
            return super()._sock_recv(bufsize)

    return Held(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5, reconnect_on_failure=False)


def bounded(largest: int) -> Any:
    """What to say when connecting, so that an honest broker sends no packet of more bytes (MQTT 5, 3.1.2.11.4)."""
    from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415 - an extra
    from paho.mqtt.properties import Properties  # noqa: PLC0415

    said: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    said.MaximumPacketSize = largest
    return said


def encrypted(broker: Address, context: ssl.SSLContext, timeout_s: float,
              made: Callable[[socket.socket, ssl.SSLContext], None]) -> ssl.SSLSocket:
    """Connect and shake hands, all of it in time, however slowly the other end drips.

    Args:
        broker: Where.
        context: What encrypts.
        timeout_s: For all of it.
        made: Called with a connection that stands, before it is encrypted.

    Raises:
        OSError: It could not be had, or not in time.
    """
    deadline = time.monotonic() + timeout_s
    tcp: socket.socket = socket.create_connection(broker, timeout_s)
    try:
        made(tcp, context)
        tcp.setblocking(False)
        tcp = tls = context.wrap_socket(tcp, server_hostname=broker.host, do_handshake_on_connect=False)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            else:
                return tls
            watched = select.poll()     # select cannot look at descriptors above 1023
            watched.register(tls, wanted)
            if not watched.poll(1000 * max(0.0, deadline - time.monotonic())):
                raise TimeoutError
    except BaseException:
        tcp.close()
        raise
