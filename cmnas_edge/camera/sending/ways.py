"""Which way leads to the collector: the address says it."""

from __future__ import annotations

from collections.abc import Callable

from cmnas_edge.camera.sending.transport import HttpTransport, Transport
from cmnas_edge.camera.settings import DeviceSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.errors import ConfigError

__all__ = ["open_transport"]


def open_transport(settings: DeviceSettings, tally: Tally,
                   tell: Callable[[str, bytes], object] | None = None) -> Transport:
    """Make ready to send, without reaching out yet.

    Args:
        settings: ``collector`` is a broker's address (``mqtts://``) or the collector's own.
        tally: Where bytes sent are counted.
        tell: Takes a camera's name and what a message, by way of a broker, orders it to be.

    Raises:
        ConfigError: The address is none, or what it takes to be let in is missing.
        DeviceError: The package that speaks MQTT is missing.
    """
    if settings.collector.startswith(("mqtt:", "mqtts:")):
        from cmnas_edge.camera.sending.mqtt import MqttTransport  # noqa: PLC0415 - most cameras need none of it

        return MqttTransport(settings.collector, settings.device, settings.link, tally, tell)
    if settings.token is None:
        raise ConfigError("token: expected the file with the token that 'cmnas-edge collector enrol' printed, found "
                          "none; name it")
    return HttpTransport(settings.collector, settings.token, settings.link, tally)
