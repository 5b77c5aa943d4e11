"""An operator's retained message says what a camera sees with; the broker's ACL says who is an operator."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmnas_edge.camera.override import Orders
from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.mqtt import MqttTransport
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.collector.receiving.mqtt import acl
from cmnas_edge.collector.settings import MqttSettings
from cmnas_edge.mqtt import Connection, Credentials, address, answer_topic, camera_of, modality_topic
from tests.transport.broker import SITE, Authority, Broker, free_port, needs_mosquitto

TAKEN = (0x00, 0x10)    # 0x10: taken, and nobody listens just now
_names = itertools.count(1)


class Works:
    """A broker with the ACL that is printed, its last lines taken into use, and who may come there."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "authority")
        self.papers = {name: self.authority.issue(name) for name in ("collector", "gate", "yard", "operator")}
        port, mine = free_port(), self.papers["collector"]
        rules = acl(MqttSettings(broker=f"mqtts://127.0.0.1:{port}", certificate=mine.certificate,
                                 certificate_key=mine.key, certificate_authority=self.authority.certificate, site=SITE))
        assert "\n#user operator\n#topic write" in rules
        rules = rules.replace("#user", "user").replace("#topic", "topic")
        self.broker = Broker(folder / "broker", self.authority, rules, port=port)

    def device(self, tell: Callable[[str, bytes], object], name: str = "gate") -> MqttTransport:
        papers = self.papers[name]
        return MqttTransport(self.broker.url, name, LinkSettings(
            timeout_s=5.0, site=SITE, certificate=papers.certificate, certificate_key=papers.key,
            certificate_authority=self.authority.certificate), Tally(), tell)

    def order(self, topic: str, body: bytes, name: str = "operator") -> int | None:
        """Publish a retained message; returns the broker's word for it."""
        papers = self.papers[name]
        connection = Connection(address(self.broker.url, ""), Credentials(*papers, self.authority.certificate),
                                name=f"{name} {next(_names)}", reads=answer_topic(SITE, name), take=lambda _: None,
                                timeout_s=5.0, largest=1 << 20)
        connection.wait_ready(time.monotonic() + 5)
        number = connection._client.publish(topic, body, 1, retain=True).mid
        until(lambda: connection.verdict(number) is not None)
        connection.close()
        return connection.verdict(number)


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    made = Works(tmp_path_factory.mktemp("works"))
    made.broker.start()
    yield made
    made.broker.close()


def test_topics_of_orders_name_one_camera_of_one_device() -> None:
    assert modality_topic("works", "gate", "north 2") == "cmnas/v1/works/gate/modality/north 2"
    assert camera_of(modality_topic("works", "gate", "north 2")) == "north 2"
    for topic in (answer_topic("works", "gate"), "cmnas/v1/works/gate/modality", "cmnas/v1/works/gate/modality/a/b"):
        assert camera_of(topic) == ""


@needs_mosquitto
def test_a_retained_order_reaches_a_device_that_has_nothing_to_send(works: Works, tmp_path: Path) -> None:
    assert works.order(modality_topic(SITE, "gate", "north"), b"infrared") in TAKEN
    orders = Orders(["north", "south"])
    device = works.device(orders.tell)
    with Spool(tmp_path / "spool.db", 8 << 20) as spool:
        link = Link(spool, device, LinkSettings(), Tally())
        assert link.step() > 0  # nobody was seen: no batch, and yet a connection
        until(lambda: orders.of("north") == "infrared")
        assert orders.of("south") == "auto"
        works.order(modality_topic(SITE, "gate", "north"), b"")     # cleared
        until(lambda: orders.of("north") == "auto")
    device.close()


@needs_mosquitto
def test_only_whom_the_acl_names_orders_anything_and_a_device_hears_of_its_own_cameras(works: Works) -> None:
    heard: list[tuple[str, bytes]] = []
    device = works.device(lambda camera, body: heard.append((camera, body)))
    device.stand_by()
    assert device._connection is not None
    device._connection.wait_ready(time.monotonic() + 10)
    for name in ("gate", "yard", "collector"):
        assert works.order(modality_topic(SITE, "gate", "north"), b"infrared", name) == 0x87
    assert works.order(modality_topic(SITE, "yard", "north"), b"infrared") in TAKEN
    assert works.order(modality_topic(SITE, "gate", "north"), b"visible") in TAKEN
    until(lambda: heard)
    assert heard == [("north", b"visible")]
    works.order(modality_topic(SITE, "gate", "north"), b"")
    device.close()


@needs_mosquitto
def test_a_device_hears_orders_again_after_the_broker_was_away(works: Works) -> None:
    heard: list[tuple[str, bytes]] = []
    device = works.device(lambda camera, body: heard.append((camera, body)))
    device.stand_by()
    assert device._connection is not None
    device._connection.wait_ready(time.monotonic() + 10)
    works.broker.stop()
    until(lambda: device._connection is None or device._connection.ended)
    device.stand_by()
    works.broker.start()
    works.order(modality_topic(SITE, "gate", "north"), b"infrared")

    def listens() -> object:
        device._stand_by_from = 0.0     # else it would be patient
        device.stand_by()
        return heard

    until(listens)
    assert heard == [("north", b"infrared")]
    works.order(modality_topic(SITE, "gate", "north"), b"")
    device.close()


@needs_mosquitto
def test_who_asks_for_no_orders_reads_none(works: Works) -> None:
    papers = works.papers["gate"]
    device = MqttTransport(works.broker.url, "gate", LinkSettings(
        site=SITE, certificate=papers.certificate, certificate_key=papers.key,
        certificate_authority=works.authority.certificate), Tally())
    device.stand_by()
    assert device._connection is None
