"""Devices and browsers over real TLS, with the certificates that ``make certificates`` makes."""

from __future__ import annotations

import shutil
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cmnas_edge.camera.sending.transport import HttpTransport
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.collector import settings
from cmnas_edge.errors import ConfigError
from cmnas_edge.wire import encode_batch
from tests.collector.people import People
from tests.collector.process import Process
from tests.collector.receiving.certificates import elsewhere, make

pytestmark = pytest.mark.skipif(not (shutil.which("make") and shutil.which("openssl")),
                                reason="make or openssl is not installed")
PASSWORD = "correct horse & battery=staple"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papers")
    made = make(folder, f"collector.example 127.0.0.1 ::1 {elsewhere()}", "gate yard stranger")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, papers: Path) -> Iterator[Process]:
    """A collector with TLS on every address, which asks devices for certificates."""
    with Process(tmp_path_factory.mktemp("secured") / "collector", f'tls_certificate = "{papers}/collector.pem"\n'
                 f'tls_key = "{papers}/collector-key.pem"\ndevice_authority = "{papers}/authority.pem"\n',
                 listen="0.0.0.0:0") as collector:
        yield collector


@pytest.mark.parametrize("device", ["authority", "collector", "../gate"])
def test_no_device_takes_the_file_of_another(tmp_path: Path, device: str) -> None:
    assert make(tmp_path / "papers", "127.0.0.1", "gate").returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "papers").iterdir()}
    made = make(tmp_path / "papers", "", f"yard {device}")
    assert made.returncode == 2
    assert f"found {device}, whose file is another's" in made.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "papers").iterdir()} == before
    assert not (tmp_path / "gate.pem").exists()


def trusting(papers: Path, device: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=papers / "authority.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if device:
        context.load_cert_chain(papers / f"{device}.pem", papers / f"{device}-key.pem")
    return context


def test_what_is_made_is_whole_private_and_kept(papers: Path) -> None:
    for path in papers.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    names = sorted(path.name for path in papers.iterdir())
    assert names == sorted(f"{who}{what}.pem" for who in ("authority", "collector", "gate", "yard", "stranger")
                           for what in ("", "-key"))
    before = {path.name: path.read_bytes() for path in papers.iterdir()}
    assert make(papers, "", "stranger").returncode == 0
    after = {path.name: path.read_bytes() for path in papers.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"stranger.pem", "stranger-key.pem"}
    nobody = make(papers, "", "")
    assert (nobody.returncode != 0, "expected whom to certify" in nobody.stderr) == (True, True)


def test_devices_show_a_token_or_a_certificate_and_both_must_name_one_device(secured: Process, papers: Path) -> None:
    token = secured.enrol("gate")
    secured.enrol("yard")
    secured.start()
    port = int(secured.url.rpartition(":")[2])
    body = {name: encode_batch([People().sighting(1, at=10, device=name)], []) for name in ("gate", "yard")}

    def post(device: str = "", bearer: str = "", of: str = "gate") -> int:
        with httpx.Client(verify=trusting(papers, device)) as wire:
            answer = wire.post(f"https://127.0.0.1:{port}/v1/sightings", content=body[of],
                               headers={"Authorization": f"Bearer {bearer}"} if bearer else {})
        return answer.status_code

    assert post(bearer=token) == 200
    assert post("gate") == 200
    assert post("gate", token) == 200
    assert post("yard", of="yard") == 200
    assert post("yard", token) == 401, "the token of one, the certificate of another"
    assert post("gate", "cmnas_wrong") == 401, "a wrong token is not made good by a certificate"
    assert post() == 401
    assert post("stranger") == 401, "a certificate of the authority, and nobody enrolled it"
    done = secured.command("revoke", "gate", "--config", str(secured.config))
    assert done.returncode == 0, done.stderr
    assert post("gate") == post(bearer=token) == post("gate", token) == 401
    other = papers.parent / "other"
    assert make(other, "", "gate").returncode == 0
    forged = trusting(papers)
    forged.load_cert_chain(other / "gate.pem", other / "gate-key.pem")
    # Of another authority, or the collector's own, which is no device's: no connection at all.
    for context in (forged, trusting(papers, "collector")):
        with httpx.Client(verify=context) as wire, pytest.raises(httpx.TransportError):
            wire.post(f"https://127.0.0.1:{port}/v1/sightings", content=body["gate"])
    assert secured.stop() == 0
    assert "Traceback" not in secured.said


def test_a_camera_shows_its_certificate(secured: Process, papers: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(secured.command("enrol", "yard", "--rotate", "--config", str(secured.config)).stdout)
    token.chmod(0o600)
    text = secured.config.read_text()
    secured.config.write_text(text.replace("device_authority", "only_certificates = true\ndevice_authority"))
    secured.start()
    secured.config.write_text(text)
    port = int(secured.url.rpartition(":")[2])
    body = encode_batch([People().sighting(2, at=20, device="yard")], [])
    for certificate, status in ((None, 401), ("yard", 200), ("gate", 401)):
        link = LinkSettings(certificate_authority=papers / "authority.pem", **({} if certificate is None else {
            "certificate": papers / f"{certificate}.pem", "certificate_key": papers / f"{certificate}-key.pem"}))
        way = HttpTransport(f"https://127.0.0.1:{port}", token, link, Tally())
        try:
            assert way.post(body).status == status
        finally:
            way.close()
    with pytest.raises(ConfigError, match="expected a PEM certificate and its key"):
        HttpTransport(f"https://127.0.0.1:{port}", token, LinkSettings(
            certificate=papers / "yard.pem", certificate_key=papers / "gate-key.pem"), Tally())
    assert secured.stop() == 0


@pytest.mark.skipif(not elsewhere(), reason="this machine has no address but loopback")
def test_people_log_in_from_another_address_over_tls(secured: Process, papers: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    secured.start()
    url = f"https://{elsewhere()}:{secured.url.rpartition(':')[2]}"
    with httpx.Client(base_url=url, verify=trusting(papers)) as anna:
        refused = anna.get("/v1/health")
        assert (refused.status_code, "while nobody is enrolled" in refused.json()["error"]) == (403, True)
        done = secured.command("person", "add", "anna", "--role", "viewer", "--password-file", str(secret),
                               "--config", str(secured.config))
        assert done.returncode == 0, done.stderr
        assert anna.get("/", headers={"Accept": "text/html"}).headers["location"] == "/log-in"
        assert anna.post("/log-in", data={"name": "anna", "password": PASSWORD}).status_code == 303
        assert all(cookie.secure and cookie.name.startswith("__Host-") for cookie in anna.cookies.jar)
        assert anna.get("/v1/session").json()["name"] == "anna"
        assert anna.post("/log-out").status_code == 303
        assert anna.get("/v1/session").status_code == 401
    assert secured.stop() == 0


@pytest.mark.parametrize(("more", "says"), [
    ('device_authority = "authority.pem"', "expected tls_certificate and tls_key with it"),
    ("only_certificates = true", "expected device_authority"),
    ('device_authority = "none.pem"\ntls_certificate = "collector.pem"\ntls_key = "collector-key.pem"', "none.pem")])
def test_a_setting_of_certificates_that_cannot_work_is_one_sentence(papers: Path, more: str, says: str) -> None:
    path = papers / "collector.toml"
    path.write_text(f'data = "data"\n{more}\n')
    try:
        with pytest.raises(ConfigError, match=says):
            settings.load(path)
    finally:
        path.unlink()
