"""Keys that only systemd's copy of can be read serve both rooms as their own files would."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmnas_edge.collector.serving import server_config
from cmnas_edge.collector.settings import CollectorSettings
from cmnas_edge.errors import ConfigError
from cmnas_edge.mqtt import Credentials
from tests.transport.broker import Authority, Papers


@pytest.fixture
def papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Papers:
    """A certificate whose key lies in systemd's folder only, with the mode it has there."""
    made = Authority(tmp_path / "authority").issue("gate", hosts=["127.0.0.1"])
    handed = tmp_path / "credentials"
    handed.mkdir()
    made.key.rename(handed / made.key.name).chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    return made


def test_a_brokers_certificate_goes_with_its_key(papers: Papers, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = Credentials(papers.certificate, papers.key, None)
    assert credentials.context().verify_mode
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match="expected a file with a secret"):
        credentials.context()


def test_a_collectors_certificate_goes_with_its_key(
        papers: Papers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = CollectorSettings(data=tmp_path, tls_certificate=papers.certificate, tls_key=papers.key)
    assert server_config(settings, lambda *_: None).is_ssl
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match="expected a PEM certificate and its key"):
        server_config(settings, lambda *_: None)
