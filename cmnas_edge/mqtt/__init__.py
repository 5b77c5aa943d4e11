"""MQTT 5 over mutual TLS, as both rooms speak it: topics, credentials, one connection.

::

    cmnas/v1/SITE/DEVICE/batch      a device writes, the collector reads: what POST /v1/sightings carries
    cmnas/v1/SITE/DEVICE/answer     the collector writes, that device reads: what HTTP would answer
    cmnas/v1/SITE/DEVICE/modality/CAMERA    whom the ACL lets write, retained: auto, visible or infrared

A batch carries correlation data of 16 bytes, its answer the same, and the user properties
``status`` and ``retry-after``. Who a device is says the broker, which lets only the certificate
with the name DEVICE write to its topic.

A broker's word for a message (PUBACK) says that it took it, not that it kept it: Mosquitto loses
what it acknowledged when it is killed. So nothing here counts as delivered but by an answer.
"""

from __future__ import annotations

import msgspec

from cmnas_edge.mqtt.answers import Answered, read_answer, written_answer
from cmnas_edge.mqtt.connection import Connection, Message
from cmnas_edge.mqtt.credentials import Address, Credentials, address, common_name

__all__ = ["CORRELATION_BYTES", "SITE", "Address", "Answered", "Connection", "Credentials", "Message", "address",
           "answer_topic", "batch_topic", "camera_of", "common_name", "device_of", "modality_topic", "read_answer",
           "written_answer"]

SITE = msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
                    description="1 to 64 letters, digits or any of ._- with a letter or digit first")
CORRELATION_BYTES = 16


def batch_topic(site: str, device: str) -> str:
    """Where a device writes its batches; ``+`` for every device."""
    return f"cmnas/v1/{site}/{device}/batch"


def answer_topic(site: str, device: str) -> str:
    """Where a device reads what became of them."""
    return f"cmnas/v1/{site}/{device}/answer"


def modality_topic(site: str, device: str, camera: str = "+") -> str:
    """Where a device reads what one of its cameras is ordered to be; ``+`` for all of them."""
    return f"cmnas/v1/{site}/{device}/modality/{camera}"


def camera_of(topic: str) -> str:
    """Name the camera that an order is about; nothing if this is no topic of orders."""
    parts = topic.split("/")
    return parts[5] if len(parts) == 6 and parts[4] == "modality" else ""


def device_of(topic: str) -> str:
    """Name the device whose topic this is."""
    return topic.split("/")[3]
