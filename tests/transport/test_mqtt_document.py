"""What docs/mqtt.md says to type leads to a sighting that is stored, and to a certificate that no longer counts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmnas_edge import cli, sealing
from cmnas_edge.camera import settings as camera_settings
from cmnas_edge.camera.sending.ways import open_transport
from cmnas_edge.camera.tally import Tally
from cmnas_edge.collector import settings as collector_settings
from cmnas_edge.collector.receiving.mqtt import MqttReceiver
from cmnas_edge.errors import LinkDown
from cmnas_edge.mqtt.client import PACKET_BYTES
from cmnas_edge.sealing import Opener, Sealer
from cmnas_edge.wire import MAX_BATCH_BYTES, decode_answer, encode_batch, encode_sighting
from tests.collector.house import House
from tests.collector.people import People
from tests.transport.broker import MOSQUITTO, free_port, needs_mosquitto

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "mqtt.md"


@pytest.fixture
def etc() -> Iterator[Path]:
    """Where the broker's own user may go, who is not root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "cmnas"


def blocks(kind: str, port: int, etc: Path) -> list[str]:
    text = DOCUMENT.read_text("utf-8").replace("broker.example", "localhost").replace("8883", str(port))
    text = text.replace("/etc/mosquitto/cmnas", str(etc))
    if os.getuid():     # then the broker stays who we are
        text = text.replace(" -o mosquitto", "")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for language, block in fenced if language == kind]


def start(folder: Path) -> subprocess.Popen[bytes]:
    assert MOSQUITTO is not None
    process = subprocess.Popen([MOSQUITTO, "-c", "mosquitto.conf"], cwd=folder, stderr=subprocess.PIPE)
    time.sleep(0.05)
    assert process.poll() is None, process.stderr
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


@needs_mosquitto
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_steps_lead_where_they_say(tmp_path: Path, etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    (certificates, placing, revoking), (collector, camera) = blocks("sh", port, etc), blocks("toml", port, etc)
    broker = next(block for block in blocks("", port, etc) if block.startswith("listener"))
    subprocess.run(["sh", "-e"], input=certificates, text=True, cwd=tmp_path, check=True, capture_output=True)
    assert cli.main(["collector", "seal-key", str(tmp_path / "seal.pem")]) == 0
    (tmp_path / "collector.toml").write_text(collector)
    (tmp_path / "camera.toml").write_text(camera.replace("the 64 digits that seal-key printed",
                                                         sealing.public_key(tmp_path / "seal.pem")))
    capsys.readouterr()
    assert cli.main(["collector", "mqtt-acl", "--config", str(tmp_path / "collector.toml")]) == 0
    (tmp_path / "acl").write_text(capsys.readouterr().out)
    subprocess.run(["sh", "-e"], input=placing, text=True, cwd=tmp_path, check=True, capture_output=True)
    assert f"message_size_limit {MAX_BATCH_BYTES + PACKET_BYTES}\n" in broker
    (tmp_path / "mosquitto.conf").write_text(broker)
    settings = collector_settings.load(tmp_path / "collector.toml")
    assert settings.mqtt is not None
    house = House(settings.data, opener=Opener.read(settings.seal_keys), only_sealed=True)
    house.token("gate")
    reader = MqttReceiver(settings.mqtt, house.receiver, house.devices)
    device = camera_settings.load(tmp_path / "camera.toml")
    transport = open_transport(device, Tally())
    body = encode_batch([encode_sighting(People().sighting(1, at=10), Sealer(bytes.fromhex(device.link.seal_to)))])
    running = start(tmp_path)
    try:
        reader.start()
        for _ in range(500):
            try:
                answer = transport.post(body)
                break
            except LinkDown:    # the collector is on its way there
                time.sleep(0.02)
        assert [outcome.result for outcome in decode_answer(answer.body)] == ["stored"]
        end(running)
        subprocess.run(["sh", "-e"], input=revoking, text=True, cwd=tmp_path, check=True, capture_output=True)
        (tmp_path / "mosquitto.conf").write_text(broker + f"crlfile {etc / 'revoked.pem'}\n")
        running = start(tmp_path)
        for _ in range(500):
            try:
                transport.post(body)
            except LinkDown as error:
                said = str(error)
            else:
                raise AssertionError("a certificate that was taken back counts")
            if "revoked" in said or "taken back" in said:
                break
            time.sleep(0.02)
        assert "revoked" in said or "taken back" in said
    finally:
        transport.close()
        reader.stop()
        house.close()
        end(running)


def test_each_sentence_the_document_explains_is_one_the_camera_can_say() -> None:
    package = Path(cli.__file__).parent
    code = "".join(path.read_text("utf-8") for path in (
        *(package / "mqtt").glob("*.py"), *(package / "camera" / "sending").glob("*.py")))
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    table = DOCUMENT.read_text("utf-8").partition("| the camera says |")[2]
    said = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    assert len(said) == 8
    for sentence in said:
        if sentence != "found: Connection refused":     # the system's own words
            assert re.split(r" \(\.\.\.\)", sentence)[0] in code, sentence
