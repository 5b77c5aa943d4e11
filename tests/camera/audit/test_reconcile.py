"""What differs between a log and a recording, as a law, and for kinds of records that no honest program sends."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge import cli
from cmnas_edge.camera.audit import account
from cmnas_edge.camera.audit.elsewhere import Neighbours, cameras_of, classed
from cmnas_edge.camera.audit.reconcile import Recorded, compare, differing
from cmnas_edge.camera.audit.sent import Connection, read
from cmnas_edge.camera.audit.tshark import Followed, Packet, Record
from cmnas_edge.camera.sending.sent_log import End, Opened, Written
from cmnas_edge.camera.settings import CameraSettings, SourceSettings
from cmnas_edge.wire import encode_batch
from tests.camera.audit.network import settings
from tests.demo.test_tap import request, sighting

NEAR = Neighbours(frozenset({("10.0.0.9", 554)}), 8700, False)
HELLO = [Record(22, 512, False), Record(20, 1, False)]


@given(st.binary(max_size=300), st.data())
def test_what_was_put_in_shows_with_its_size_wherever_it_stands(sent: bytes, data: st.DataObject) -> None:
    extra = data.draw(st.binary(max_size=50))
    at = data.draw(st.integers(0, len(sent)))
    end = data.draw(st.integers(0, len(sent)))
    assert differing(sent[:end], sent) == (end, 0, len(sent) - end)
    begins, size, left = differing(sent[:at] + extra + sent[at:], sent)
    assert (size, left) == (len(extra), 0)
    # It cannot be told from equal bytes beside it, so it may show a little later, never earlier.
    assert at <= begins <= at + len(extra) + len(sent) if extra else begins == len(sent)


@given(st.binary(min_size=1, max_size=300), st.integers(0, 300))
def test_a_stretch_from_the_middle_is_found_where_it_belongs(sent: bytes, start: int) -> None:
    part = sent[min(start, len(sent) - 1):]
    assert differing(part, sent, from_start=False)[1] == 0
    assert differing(part + b"more", sent, from_start=False)[1] > 0 or part + b"more" in sent


def connection(*writes: bytes, protocol: str = "http", is_tls: bool = True) -> Connection:
    made = Connection(Opened("a", 1.0, protocol, End("10.0.0.5", 4000), End("10.0.0.2", 8700), is_tls))
    offset = 0
    for data in writes:
        made.add(Written("a", 1.0, offset, data))
        offset += len(data)
    return made


def shown(*records: Record, begins: bool = True, ends: bool = True, beside: int = 0) -> Recorded:
    size = sum(record.length + 5 for record in records) + beside
    return Recorded(Followed(bytes(size), 0, (b"", b"")), records, begins, ends)


def data(*sizes: int) -> list[Record]:
    return [Record(23, size, True) for size in sizes]


@pytest.mark.parametrize(("records", "extra"), [
    ([*HELLO, *data(69, 117, 16401, 3633)], 0),
    ([*HELLO, *data(25, 53, 117, 16401, 3633, 19)], 0),     # asked for a certificate; says good-bye
    ([*HELLO, *data(69, 117, 16401, 3633, 19, 19)], 2),     # twice
    ([*HELLO, *data(69, 117, 518, 16401, 3633)], 501),
    ([*HELLO, *data(900, 69, 117, 16401, 3633)], 883 + 52), # a certificate where none is due: nothing is a greeting
    ([*HELLO, *data(117, 16401, 3633)], 0),
    ([*HELLO, Record(22, 9000, False), *data(69, 117, 16401, 3633)], 9000),
    ([*HELLO, *data(69, 117, 16401, 3633), Record(21, 300, False)], 300),
    ([*HELLO, *data(69, 117), Record(20, 1, False), *data(16401, 3633)], 1),
    ([Record(20, 50, False), *HELLO, *data(69, 117, 16401, 3633)], 50),
])
def test_a_record_that_no_write_explains_counts(records: list[Record], extra: int) -> None:
    found = compare(connection(bytes(100), bytes(20_000)), shown(*records))
    assert (found.extra, found.by) == (extra, "lengths")


def test_bytes_beside_records_may_stand_only_where_the_recording_begins_or_ends() -> None:
    log = connection(bytes(100), bytes(200))
    late = [Record(23, 217, False)]
    assert compare(log, shown(*late, begins=False, beside=70)).extra == 0
    assert compare(log, shown(*late, begins=False, beside=40_000)).extra == 40_000
    assert compare(log, shown(*late, Record(23, 19, False), begins=False)).extra == 0
    assert compare(log, shown(*data(69, 117, 217), begins=False)).extra == 0, "begun between hello and Finished"
    assert compare(log, shown(*data(900, 117, 217), begins=False)).extra > 800
    whole = [*HELLO, *data(69, 117, 217)]
    assert compare(log, shown(*whole, beside=70)).extra == 70
    assert compare(log, shown(*whole, ends=False, beside=70)).extra == 0


def test_tls_1_2_is_told_by_its_tags() -> None:
    log = connection(bytes(100), bytes(200))
    for tag in (24, 16):
        old = [Record(22, 200, False), Record(20, 1, False), Record(22, 40, False), Record(23, 100 + tag, False),
               Record(23, 200 + tag, False), Record(21, 26, False)]
        assert compare(log, shown(*old)).extra == 0
        assert compare(log, shown(*old, Record(23, 1000, False))).extra == 1000 - tag


def test_keys_that_open_only_a_part_prove_nothing_about_the_rest() -> None:
    log = connection(b"a" * 100, b"b" * 200)
    whole = shown(*HELLO, *data(69, 117, 217))
    half = whole._replace(followed=whole.followed._replace(decrypted=(b"a" * 100, b"answers")))
    assert compare(log, half).by == "lengths"
    full = whole._replace(followed=whole.followed._replace(decrypted=(b"answers", b"a" * 100 + b"b" * 200)))
    assert (compare(log, full).by, compare(log, full).extra) == ("bytes", 0)
    other = whole._replace(followed=whole.followed._replace(decrypted=(b"a" * 100 + b"x" * 200, b"answers")))
    assert (compare(log, other).extra, compare(log, other).at) == (200, 100), "of equal length, and another content"


def test_a_log_is_judged_write_by_write_and_says_where(tmp_path: Path) -> None:
    good = request(encode_batch([sighting(1)]))
    head, _, body = good.partition(b"\r\n\r\n")
    made = connection(head + b"\r\n\r\n", body, good + b"smuggled", b" behind")
    sent, spots = made.judged()
    assert sum(sent) == 2 * len(good) + 15
    assert sum(spot.unexplained for spot in spots) == sent.unexplained == 15
    assert spots[-1].offset + spots[-1].size == sum(sent)


def test_a_hole_in_the_log_shows_in_the_recording_and_what_comes_after_it_is_judged_afresh() -> None:
    good = request(encode_batch([sighting(1)]))
    made = connection(good, good[:-9], is_tls=False)
    made.add(Written("a", 2.0, 2 * len(good), good))
    assert made.holes == [(2 * len(good) - 9, 9)]
    sent, (spot,) = made.judged()   # of the body that broke off, what is whole in it explains itself
    assert spot.offset + spot.size == 2 * len(good) - 9
    assert sent.unexplained == spot.unexplained < len(good), "not the request behind it, too"
    recorded = Recorded(Followed(good + good[:-9] + bytes(9) + good, 0, (b"", b"")), (), True, True)
    assert compare(made, recorded)[2:4] == (9, 2 * len(good) - 9)


def test_a_connection_is_paired_by_its_ends_and_of_several_between_the_same_by_time() -> None:
    def side(at: float, port: int) -> account._Side:
        return account._Side(packet("eth", "ip", "tcp", to="10.0.0.2", port=8700, at=at, source_port=port))

    def opened(at: float, port: int) -> Connection:
        return Connection(Opened("a", at, "http", End("10.0.0.5", port), End("10.0.0.2", 8700), True))

    sides = {(number, End("10.0.0.5", port)): side(at, port) for number, (at, port) in enumerate(
        [(1.0, 4001), (1.0, 4000), (50.0, 4000), (99.0, 4000)])}
    assert account._paired([opened(1.0, 4000), opened(99.1, 4000), opened(200.0, 4002)], sides) == {0: 1, 1: 3}


def test_lines_of_a_log_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(b'{"line":"opened","conn\n\n{"line":"written","connection":"b","at":1,"offset":0,'
                                    b'"data":"AAAA"}\n\xff\xfe\n')
    notes: list[str] = []
    assert read([tmp_path / "sent"], notes) == []
    (note,) = notes
    assert note.startswith(f"{tmp_path / 'sent'}: 3 lines are cut off or of connections that are not in it")


def packet(*names: str, to: str = "10.0.0.1", port: int = 0, payload: int = 0, size: int = 60, **changes: object
           ) -> Packet:
    plain = Packet(1.0, False, size, names, "02:00:00:00:00:01", "10.0.0.5" if to else "", to, None, 40000, port,
                   payload, False, False, False, False, False, ())
    return plain._replace(**changes)


@pytest.mark.parametrize(("one", "what", "is_known"), [
    (packet("eth", "ethertype", "arp", to="", size=42), "ARP", True),
    (packet("eth", "ethertype", "arp", to="", size=900), "ARP", False),
    (packet("eth", "llc", "data", to=""), "no IP (data)", False),
    (packet("eth", "ethertype", "ip", "icmp", "ip", "udp", "data", port=53), "ICMP", True),
    (packet("eth", "ethertype", "ipv6", "ipv6.hopopts", "icmpv6", to="ff02::16"), "ICMP", True),
    (packet("eth", "ethertype", "ip", "igmp", to="224.0.0.22"), "IGMP", True),
    (packet("eth", "ethertype", "ip", "udp", "dns", port=53, payload=40), "DNS", True),
    (packet("eth", "ethertype", "ip", "udp", "dns", port=53, payload=40, is_malformed=True), "DNS", False),
    (packet("eth", "ethertype", "ip", "udp", "dns", port=53, payload=1400), "DNS", False),
    (packet("eth", "ethertype", "ip", "udp", "dns", port=54, payload=40), "UDP", False),
    (packet("eth", "ethertype", "ip", "udp", "ntp", port=123, payload=48), "NTP", True),
    (packet("eth", "ethertype", "ip", "udp", "data", port=123, payload=48), "NTP", False),
    (packet("eth", "ethertype", "ip", "udp", "dhcp", port=67, payload=300), "DHCP", True),
    (packet("eth", "ethertype", "ip", "udp", "quic", port=443, payload=1200), "UDP", False),
    (packet("eth", "ethertype", "ip", "gre", "ip", "tcp", port=8700), "IP that carries gre", False),
    (packet("eth", "ethertype", "ip", "data"), "IP that carries data", False),
    (packet("eth", "ethertype", "ip", "tcp", "rtsp", to="10.0.0.9", port=554, payload=90), "camera", True),
    (packet("eth", "ethertype", "ip", "tcp", to="10.0.0.9", port=555, payload=90), "TCP", False),
    (packet("eth", "ethertype", "ip", "udp", "rtcp", to="10.0.0.9", port=6001, payload=52), "camera, UDP", True),
    (packet("eth", "ethertype", "ip", "tcp", port=8700, is_syn=True), "TCP without data", True),
    (packet("eth", "ethertype", "ip", "tcp", port=8701, is_syn=True), "TCP", False),
    (packet("eth", "ethertype", "ip", "tcp", port=8701), "TCP without data", True),
    (packet("eth", "ethertype", "ip", "tcp", to="127.0.0.1", port=9, payload=9), "loopback, which is no leaving", True),
    (packet("eth", "ethertype", "ip", "udp", to="::1", port=9, payload=9), "loopback, which is no leaving", True),
])
def test_every_other_packet_is_something_a_network_needs_or_a_finding(one: Packet, what: str, is_known: bool) -> None:
    assert classed(one, NEAR)[::2] == (what, is_known)


def test_loopback_is_judged_where_the_collector_is_reached_by_it() -> None:
    away = packet("eth", "ethertype", "ip", "tcp", to="127.0.0.1", port=9, payload=9)
    assert classed(away, NEAR._replace(is_loopback_judged=True))[::2] == ("TCP", False)


def test_cameras_are_those_of_the_settings_that_are_on_a_network() -> None:
    def at(location: str) -> CameraSettings:
        return CameraSettings(name="x", source=SourceSettings(location=location))

    assert cameras_of(map(at, ("rtsp://u:p@10.0.0.9/a", "http://10.0.0.8:8080/b", "/dev/video0", "walk.mp4", "csi://0",
                               "rtsp://[fd00::9]:8554/c", "rtsp://10.0.0.7:99999/d"))) == {
        ("10.0.0.9", 554), ("10.0.0.8", 8080), ("fd00::9", 8554)}


def test_what_an_audit_cannot_begin_with_is_said_in_a_sentence(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config, log = settings(tmp_path), tmp_path / "sent"

    def said(*words: str) -> tuple[int, str]:
        return cli.main(["audit", str(config), str(tmp_path / "capture.pcap"), *words]), capsys.readouterr().err

    assert said()[0] == 78
    assert "expected 'sent_log' in [link], found none; let the daemon write one, or name it with --log" in said()[1]
    assert "sent: expected a sent log, found No such file or directory; name it" in said("--log", str(log))[1]
    log.touch()
    assert "expected the device's connections, found none" in said("--log", str(log))[1]
    words = ("--log", str(log), "--address", "10.0.0.5")
    assert "--address: expected a numeric address, found 'gate'" in said("--log", str(log), "--address", "gate")[1]
    assert "none.keys: expected keys of TLS sessions, found no file" in said(*words, "--keys", "none.keys")[1]
    monkeypatch.setenv("PATH", str(tmp_path))
    sentence = "cmnas-edge audit: tshark: expected Wireshark's dissector, found none; install it: apt install tshark\n"
    assert said(*words) == (69, sentence)


def test_a_file_that_is_no_recording_is_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    config, log = settings(tmp_path), tmp_path / "sent"
    log.touch()
    for capture, found in ((config, "expected a recording of the network, found another file (The file "),
                           (tmp_path / "none", "none: expected a recording of the network, found no file")):
        assert cli.main(["audit", str(config), str(capture), "--log", str(log), "--address", "10.0.0.5"]) == 78
        assert found in capsys.readouterr().err
