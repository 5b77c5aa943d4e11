"""Which broker, who we are to it, and whom we believe: an address and files in PEM."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from cmnas_edge.errors import ConfigError
from cmnas_edge.private import handed, read_secret

__all__ = ["Address", "Credentials", "address", "common_name", "expired_on", "said"]


class Address(NamedTuple):
    """A broker's."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtts://{host}:{self.port}"


def address(url: str, where: str) -> Address:
    """Read a broker's address.

    Args:
        url: As in ``mqtts://broker.example:8883``.
        where: The setting it stands in.

    Raises:
        ConfigError: It is none, or would not be encrypted.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")     # as who asks for its address does, of which no OSError tells
    except ValueError:
        host = port = None
    if not host or parts.scheme != "mqtts" or parts.path.strip("/") or parts.query or parts.username is not None:
        raise ConfigError(f"{where}: expected a broker like mqtts://broker.example:8883, found another form (plain "
                          "mqtt, a user or a path are not taken: certificates say who is who); correct it")
    return Address(host, port or 8883)


class Credentials(NamedTuple):
    """Files in PEM that say who this end is and whom it believes; read anew for every connection.

    Attributes:
        certificate: Of this end, with any that lie between it and the authority.
        key: Its private key, mode 0600.
        authority: Whom it believes; None: whom the system does.
    """

    certificate: Path
    key: Path
    authority: Path | None

    def context(self) -> ssl.SSLContext:
        """Read the files.

        Raises:
            ConfigError: One is missing or not what it should be, or others may read the key.
        """
        read_secret(self.key)
        try:
            trust = ssl.create_default_context(cafile=None if self.authority is None else str(self.authority))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{self.authority}: expected certificates in PEM, found none ({said(error)}); name "
                              "the file of the authority that signed the broker's certificate") from None
        trust.keylog_filename = None    # type: ignore[assignment]  # Python takes one from the environment, unasked
        common_name(self.certificate)
        try:
            trust.load_cert_chain(self.certificate, handed(self.key), "")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{self.key}: expected the key of {self.certificate}, unencrypted, found something else "
                              f"({said(error)}); name the file that belongs to it") from None
        return trust


def common_name(certificate: Path) -> str:
    """Say whose certificate it is.

    Raises:
        ConfigError: It is none, or names nobody.
    """
    found = _certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(found) != 1 or not isinstance(found[0].value, str):
        raise ConfigError(f"{certificate}: expected one common name in its subject, found {len(found)}; have it made "
                          "again")
    return found[0].value


def _certificate(certificate: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes())
    except OSError as error:
        raise ConfigError(f"{certificate}: expected a certificate in PEM, found {error.strerror}; name its file"
                          ) from None
    except ValueError:
        raise ConfigError(f"{certificate}: expected a certificate in PEM, found something else; name its file"
                          ) from None


def expired_on(certificate: Path) -> str:
    """Say on which day a certificate expired; nothing if it did not, or cannot be read."""
    try:
        until = _certificate(certificate).not_valid_after_utc
    except ConfigError:
        return ""
    return f"{until:%Y-%m-%d}" if until < datetime.datetime.now(datetime.timezone.utc) else ""


def said(error: BaseException) -> str:
    """Say what a connection failed of."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"a certificate that is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
