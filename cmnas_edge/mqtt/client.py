"""The library's client, as far as this house lets a broker go: connected by us, told no more than we can hold."""

from __future__ import annotations

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
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415
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
            waited: tuple[list[ssl.SSLSocket], list[ssl.SSLSocket], list[ssl.SSLSocket]]
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                waited = select.select([tls], [], [], max(0.0, deadline - time.monotonic()))
            except ssl.SSLWantWriteError:
                waited = select.select([], [tls], [], max(0.0, deadline - time.monotonic()))
            else:
                return tls
            if not any(waited):
                raise TimeoutError
    except BaseException:
        tcp.close()
        raise
