"""What an operator can set about a collector, and where each path leads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cmnas_edge import config, private
from cmnas_edge.bundle import Trust
from cmnas_edge.errors import ConfigError
from cmnas_edge.monitoring import health
from cmnas_edge.mqtt import SITE

__all__ = ["AccessSettings", "CollectorSettings", "MqttSettings", "load"]


SiteKeyId = Annotated[str, msgspec.Meta(
    pattern=r"^(?:(?!0{16})[0-9a-f]{16})?\Z", description="the 16 hexadecimal digits that `cmnas-edge key show` "
    "prints, never all of them 0, or nothing where cameras have no key")]


_DEVICES = {"device", "cameras"}    # which every device's settings have, and no collector's
_MOST = 10**9


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A broker (MQTT 5) that cameras may send by, beside HTTP.

    Attributes:
        broker: ``mqtts://host:port``; always TLS, and both ends show certificates.
        certificate: PEM file that says who this collector is; the ACL lets its common name read every device.
        certificate_key: The key of that certificate, PEM, mode 0600.
        certificate_authority: PEM file to trust instead of the system's.
        site: The part of the topics that names this site; the cameras' is the same.
    """

    broker: str
    certificate: Path
    certificate_key: Path
    certificate_authority: Path | None = None
    site: Annotated[str, SITE] = "site"


class AccessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """People who log in (``cmnas-edge collector person add NAME``), and what they have to say.

    Attributes:
        idle_h: Whoever did nothing for so long logs in again; a page that is open does something.
        longest_h: And after so long in any case.
        reasons: Which questions need a reason, which goes into the audit log with them: ``search``, ``export``,
            ``erasure``, ``decision``. Without one they are refused.
        audit_days: Entries of the audit log are kept for so many days, and until the file they are in is over, 31 days
            more at most; then that file goes, and the log says so. 0: for good.
    """

    idle_h: Annotated[float, msgspec.Meta(ge=0.05, le=168)] = 2.0
    longest_h: Annotated[float, msgspec.Meta(ge=0.05, le=168)] = 12.0
    reasons: tuple[Literal["search", "export", "erasure", "decision"], ...] = ("export", "erasure")
    audit_days: Annotated[float, msgspec.Meta(ge=0)] = 400.0


class CollectorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of one collector; relative paths are relative to the settings file.

    Attributes:
        data: Folder of the journal and the enrolled devices; made when absent, mode 0700.
        bundle: Model bundle that leads: its fingerprint is accepted, and its thresholds decide wherever it saw both.
            Empty: the bundle shipped with this package.
        calibration: File that ``cmnas-edge collector calibrate`` made on this site, to judge by instead of the
            bundle's thresholds; of the same fingerprint. Empty: the bundle's.
        also: Further bundles that are accepted, while cameras change from one to another (docs/rollout.md). Vectors of
            two bundles are never compared; who is seen by both stays who they are.
        also_calibration: Files as of ``calibration`` for those; each says which it is for. Without one a bundle is
            judged by its own thresholds.
        trust: Whose bundles are used: ``keys``, and ``allow_unsigned_bundle``.
        site_key_id: Number of the site key that turns vectors on every camera, as ``cmnas-edge key show``
            prints it; sightings of another key, or of none, stay on their camera. Empty: cameras have no key.
        seal_keys: Files with keys that cameras seal vectors to, mode 0600 (``cmnas-edge collector seal-key
            FILE``). The first is the one ``enrol`` gives to devices; the others open what was sealed before.
            Records sealed to a key that is not here stay on their camera until it is.
        only_sealed: Refuse vectors that come open, for good: set it when every camera has its ``seal_to`` and
            has sent what waited. Without it they are taken, and the log names the device.
        mqtt: A broker that cameras may send by, too; see `MqttSettings`. Empty: none.
        listen: ``address:port``; port 0 takes a free one, which the log names.
        hot_window_h: Sightings received in these last hours are matched and shown.
        hot_limit: At most this many of them are kept in memory; the oldest leave first.
        index: ``http://host:port`` or ``https://`` of a Milvus that keeps the hot window's vectors, where memory is
            not to (extra ``milvus``, docs/milvus.md). Empty: memory does.
        index_token: File with the token that Milvus asks for, mode 0600: ``user:password``, or a key. Empty: none.
        index_authority: PEM file to trust for it instead of the system's.
        index_collection: What its collections' names begin with; each collector on one Milvus has a name of its own.
        retention_h: What was received longer ago is deleted, from the journal and every index, within a minute; when
            a UTC day is over so, its key is dropped, and no backup of it opens any more. What people decided or
            devices reported about it goes with it. See docs/privacy.md.
        keys: Folder of the days' keys; on another disk than backups are made of. Empty: ``keys`` in ``data``.
        master_key: File of the key that wraps them, mode 0600; made at the first start. Empty: ``master.key`` in
            ``keys``.
        keys_copy: Folder that holds a copy of the days' keys, kept up as they come and go; backups are opened with
            it where the machine is lost. It must not keep what was deleted, as snapshots do. Empty: none.
        journal_mib: Size of the journal from which on no sightings are stored: cameras are told to wait and keep what
            they have. What is decided about those that are, and letting go of them, may take 4 MiB more. 0 leaves it
            to the disk.
        device_rate: Records a second that one device may send over time, with up to ten seconds of them at once;
            it keeps what is more until it may. 0: no limit.
        tls_certificate: PEM file; with ``tls_key`` the collector speaks HTTPS.
        tls_key: PEM file, mode 0600.
        device_authority: PEM file of an authority whose certificates name devices (mutual TLS). An enrolled device
            that shows one of its own name needs no token; one that shows both is who both say. Needs TLS.
        only_certificates: Refuse devices that show no certificate, whatever their token.
        allow_plain_http_off_loopback: Accept that tokens and embeddings travel readable.
            Without it and without TLS the collector listens on loopback only. People never log in so.
        health: Address and port on this machine, as ``127.0.0.1:9465``, where ``/metrics`` (extra ``metrics``),
            ``/healthz`` and ``/readyz`` answer without a log-in; None: nowhere.
        allow_health_off_loopback: Let other machines ask there, too; nobody is asked who they are.
        access: How long people stay logged in, and what they give reasons for; see `AccessSettings`.
    """

    data: Path
    bundle: Path | None = None
    calibration: Path | None = None
    also: tuple[Path, ...] = ()
    also_calibration: tuple[Path, ...] = ()
    trust: Trust = Trust()
    site_key_id: SiteKeyId = ""
    seal_keys: tuple[Path, ...] = ()
    only_sealed: bool = False
    mqtt: MqttSettings | None = None
    listen: str = "127.0.0.1:8700"
    hot_window_h: float = 24.0
    hot_limit: int = 200_000
    index: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s/]+:[0-9]{1,5})?\Z", description="http:// or "
        "https://, a name or address, and a port, as in https://milvus.example:19530; or nothing")] = ""
    index_token: Path | None = None
    index_authority: Path | None = None
    index_collection: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}\Z", description="up to 100 "
        "letters, digits and _, the first no digit")] = "cmnas"
    retention_h: float = 72.0
    keys: Path | None = None
    master_key: Path | None = None
    keys_copy: Path | None = None
    journal_mib: int = 0
    device_rate: float = 1000.0
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    device_authority: Path | None = None
    only_certificates: bool = False
    allow_plain_http_off_loopback: bool = False
    health: str | None = None
    allow_health_off_loopback: bool = False
    access: AccessSettings = AccessSettings()


def _refuse_shared_folders(settings: CollectorSettings, path: Path) -> None:
    """Keys in the folder that backups are made of would open them, and a copy where the keys are is none."""
    data, keys = settings.data.resolve(), (settings.keys or settings.data / "keys").resolve()
    copy = None if settings.keys_copy is None else settings.keys_copy.resolve()
    for name, found, other, what in (("keys", keys, data, "data"), ("keys_copy", copy, data, "data"),
                                     ("keys_copy", copy, keys, "the keys")):
        if found == other:
            raise ConfigError(f"{path}: {name}: expected a folder of its own, found that of {what} ({other}); name "
                              "another, best on another disk")


def load(path: Path) -> CollectorSettings:
    """Read a settings file and refuse what cannot work.

    Raises:
        ConfigError: See `cmnas_edge.config.load`; or it is a device's file, a value is out of range, a TLS file is
            missing, or plain HTTP would leave this machine.
    """
    if "data" not in (found := config.keys(path) or set()) and found >= _DEVICES:
        raise ConfigError(f"{path}: expected a collector's settings (data), found those of a device "
                          f"({', '.join(sorted(_DEVICES))}); name the collector's file")
    settings = config.load(path, CollectorSettings)
    host, _ = config.address(settings.listen, f"{path}: listen")
    if settings.health is not None:
        health.check(settings.health, f"{path}: health", anywhere=settings.allow_health_off_loopback)
    for name, value, least in (("hot_window_h", settings.hot_window_h, 0.01), ("hot_limit", settings.hot_limit, 1),
                               ("retention_h", settings.retention_h, settings.hot_window_h),
                               ("journal_mib", settings.journal_mib, 0), ("device_rate", settings.device_rate, 0)):
        if not value >= least:
            raise ConfigError(f"{path}: {name}: expected at least {least:g}, found {value:g}; raise it")
    for name, count in (("hot_limit", settings.hot_limit), ("journal_mib", settings.journal_mib)):
        if count > _MOST:
            raise ConfigError(f"{path}: {name}: expected at most {_MOST}, found {count:g}; lower it")
    _refuse_shared_folders(settings, path)
    if settings.only_sealed and not settings.seal_keys:
        raise ConfigError(f"{path}: only_sealed: expected seal_keys to open vectors with, found none; name a file that "
                          "'cmnas-edge collector seal-key' made")
    if settings.index.startswith("http://") and not settings.allow_plain_http_off_loopback and (
            not re.match(r"http://(localhost|127\.[0-9.]+|\[::1\]):", settings.index)):
        raise ConfigError(f"{path}: index: {settings.index} is another machine, and vectors would travel there "
                          "readable; write https://, or allow_plain_http_off_loopback = true")
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise ConfigError(f"{path}: tls_certificate and tls_key: expected both or neither, found one; "
                          "name the other PEM file")
    if settings.tls_certificate is not None and settings.tls_key is not None:
        private.read_secret(settings.tls_key)
        if not settings.tls_certificate.is_file():
            raise ConfigError(f"{path}: tls_certificate: expected a PEM file, found none at "
                              f"{settings.tls_certificate}; create it or correct the path")
    if settings.device_authority is not None and settings.tls_certificate is None:
        raise ConfigError(f"{path}: device_authority: expected tls_certificate and tls_key with it, found none: "
                          "without TLS nobody shows a certificate; set them")
    if settings.device_authority is not None and not settings.device_authority.is_file():
        raise ConfigError(f"{path}: device_authority: expected a PEM file, found none at {settings.device_authority}; "
                          "create it or correct the path")
    if settings.only_certificates and settings.device_authority is None:
        raise ConfigError(f"{path}: only_certificates: expected device_authority, which says whose certificates count, "
                          "found none; set it")
    if settings.tls_certificate is None and not host.is_loopback and not settings.allow_plain_http_off_loopback:
        raise ConfigError(
            f"{path}: listen: {settings.listen} can be reached from other machines, and without TLS tokens "
            "and embeddings would travel readable; set tls_certificate and tls_key, listen on 127.0.0.1, "
            "or write allow_plain_http_off_loopback = true")
    return settings
