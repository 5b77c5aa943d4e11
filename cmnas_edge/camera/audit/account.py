"""Log and recording of one device, held together: every byte that left has a line, or is a finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cmnas_edge.camera.audit import tshark
from cmnas_edge.camera.audit.elsewhere import LONGEST_TRAILER, Kind, Neighbours, cameras_of, classed, is_loopback
from cmnas_edge.camera.audit.reconcile import Agreement, Recorded, compare
from cmnas_edge.camera.audit.report import Finding, Report, Row
from cmnas_edge.camera.audit.sent import Connection, read
from cmnas_edge.camera.audit.tshark import Packet, Record
from cmnas_edge.camera.sending.sent_log import End
from cmnas_edge.camera.settings import DeviceSettings
from cmnas_edge.errors import ConfigError
from cmnas_edge.outgoing import NOTHING, Sent, Vocabulary

__all__ = ["audited"]

_APART_S = 2.0      # a line of the log is this near to its packets, on one clock
_MOST_SPOTS = 8     # told of one connection
_MOST_ASKED = 2048  # bytes of names that DNS is asked for: some forty of them
_NO_MAKER = ("", "00:00:00:00:00:00")


Counts = dict[Kind, list[int]]  # of each kind (without a size): packets and bytes


class _Side:
    """What one end of a TCP connection sent, as the recording shows it."""

    def __init__(self, first: Packet) -> None:
        self.begun_at = first.at
        self.local, self.remote = End(first.source, first.source_port), End(first.destination, first.port)
        self.records: list[Record] = []
        self.beside = 0     # bytes in packets that belong to no stretch of the connection
        self.counts: Counts = {}


class _Seen(NamedTuple):
    """What a first pass over the recording leaves.

    Attributes:
        sides: Of connections, by tshark's number and the sending end.
        begun: Numbers of those whose beginning is there.
        ended: And whose end.
        others: Packets of the device that are no TCP.
        first_at: Of all packets.
        last_at: The same.
        own_count: Packets of the device.
        cut_count: Of these, recorded in part.
        again_bytes: That TCP sent again.
        asked: Names that DNS was asked for.
    """

    sides: dict[tuple[int, End], _Side]
    begun: set[int]
    ended: set[int]
    others: Counts
    first_at: float
    last_at: float
    own_count: int
    cut_count: int
    again_bytes: int
    asked: set[str]


def audited(settings: DeviceSettings, capture: Path, logs: Sequence[Path], *, keys: Path | None = None,
            addresses: Iterable[str] = (), expected: Iterable[str] = ()) -> Report:
    """Account for everything.

    Args:
        settings: Of the device: its cameras, and who it is.
        capture: A recording of its network.
        logs: Its sent logs.
        keys: Of its TLS sessions; None compares what is encrypted by lengths.
        addresses: Further addresses of its own.
        expected: Whom else it was meant to talk to; what goes there is counted, and is no finding.

    Raises:
        ConfigError: A file is not what it should be, nothing says which addresses are the device's, or a
            collector is among the expected.
        DeviceError: There is no tshark here.
    """
    notes: list[str] = []
    connections = read(logs, notes)
    own = {*addresses, *(connection.opened.local.address for connection in connections)}
    if not own:
        raise ConfigError(f"{', '.join(map(str, logs))}: expected the device's connections, found none; let the daemon "
                          "write its log first ('sent_log' in [link]), or name its address with --address")
    declared = frozenset(expected)
    if judged := declared & {connection.opened.remote.address for connection in connections}:
        raise ConfigError(f"--expect: expected somebody else than the collector, found {min(judged)}; what goes there "
                          "is what an audit is for")
    near = Neighbours(cameras_of(settings.cameras), connections[-1].opened.remote.port if connections else 0,
                      any(is_loopback(address) for address in own))
    tls_ports = {connection.opened.remote.port for connection in connections if connection.opened.is_tls}
    seen = _seen(tshark.packets(capture, tls_ports, notes), own, near)
    findings: list[Finding] = []
    if seen.own_count == 0:
        findings.append(Finding(where=str(capture), found=f"shows no packet of {' or '.join(sorted(own))}; record on "
                                "the interface that leads to the collector"))
    if seen.cut_count:
        findings.append(Finding(where=str(capture), found=f"holds {seen.cut_count} packets of the device in part; "
                                "record them whole (tcpdump -s 0)"))
    if seen.again_bytes:
        notes.append(f"{seen.again_bytes:,} bytes were sent again by TCP, and are counted once")
    pairs = _paired(connections, seen.sides)
    followed = tshark.followed(capture, {number: connections[row].opened.local for row, number in pairs.items()},
                               tls_ports, keys, seen.begun, is_again=bool(seen.again_bytes))
    if unseen := sum(one.altered is None for one in followed.values()):
        notes.append(f"{_many(unseen, 'connection')} began before the recording, so what TCP sent again there is not "
                     "held against what it sent at first")
    agreed = {row: compare(connections[row], Recorded(
        followed[number], seen.sides[number, connections[row].opened.local].records, number in seen.begun,
        number in seen.ended)) for row, number in pairs.items()}
    words = Vocabulary((camera.name for camera in settings.cameras), len(logs))
    rows, total = _collectors(connections, agreed, findings, notes, keys, words)
    for row, number in pairs.items():
        side = seen.sides[number, connections[row].opened.local]
        if side.beside:
            findings.append(Finding(where=f"{_at(side.local)} -> {_at(side.remote)}", unexplained_bytes=side.beside,
                                    found=f"{side.beside:,} bytes in packets that break it off, or behind its packets"))
    if (asked := sum(map(len, seen.asked))) > _MOST_ASKED:
        findings.append(Finding(where="DNS", unexplained_bytes=asked, found=f"{len(seen.asked):,} different names of "
                                f"{asked:,} bytes were asked for, as {min(seen.asked, key=len)[:64]!a}; a device asks "
                                "for few"))
    _absent(connections, agreed, seen, findings, notes)
    late_count = 0
    for (number, _), side in seen.sides.items():
        if number not in pairs.values():
            late_count += number not in seen.begun and not all(kind.is_known for kind in side.counts)
            _add(seen.others, side.counts)
    if late_count:
        notes.append(f"{_many(late_count, 'connection')} without a line in the log began before the recording; the log "
                     "must be kept when they begin: start the daemon anew while the network is recorded")
    rows += _elsewhere(seen.others, findings, declared, notes)
    return Report(device=settings.device, addresses=sorted(own), is_accounted_for=not findings,
                  embedding_bytes=total.embedding, header_bytes=total.header, unexplained_bytes=total.unexplained,
                  rows=rows, findings=findings, notes=notes)


def _seen(packets: Iterable[Packet], own: set[str], near: Neighbours) -> _Seen:
    sides: dict[tuple[int, End], _Side] = {}
    begun: set[int] = set()
    ended: set[int] = set()
    others: Counts = {}
    by_maker: dict[str, Counts] = {}
    makers: set[str] = set()
    first_at = last_at = 0.0
    asked: set[str] = set()
    own_count = cut_count = again_bytes = 0
    for packet in packets:
        first_at, last_at = first_at or packet.at, packet.at
        if packet.stream is not None:
            if packet.is_syn:
                begun.add(packet.stream)
            if packet.is_end:
                ended.add(packet.stream)
        if packet.is_part:      # counted where it is put together
            continue
        kind = classed(packet, near)
        counted = 0 if packet.is_again else kind.size
        if packet.source not in own:
            if packet.maker not in _NO_MAKER:
                _add(by_maker.setdefault(packet.maker, {}), {kind._replace(size=0): [1, counted]})
            continue
        own_count += 1
        makers.add(packet.maker)
        cut_count += packet.is_cut
        again_bytes += packet.payload if packet.is_again else 0
        asked.update(packet.asked)
        counts = others
        if packet.stream is not None:
            side = sides.setdefault((packet.stream, End(packet.source, packet.source_port)), _Side(packet))
            side.records += packet.records
            side.beside += packet.payload * packet.is_reset + packet.behind * (packet.behind > LONGEST_TRAILER)
            counts = side.counts
        _add(counts, {kind._replace(size=0): [1, counted]})
    for maker in makers.difference(_NO_MAKER):  # whatever address it gives itself
        _add(others, by_maker.get(maker, {}))
    return _Seen(sides, begun, ended, others, first_at, last_at, own_count, cut_count, again_bytes, asked)


def _add(counts: Counts, more: Counts) -> None:
    for kind, (count, size) in more.items():
        before = counts.setdefault(kind, [0, 0])
        before[0] += count
        before[1] += size


def _paired(connections: Sequence[Connection], sides: dict[tuple[int, End], _Side]) -> dict[int, int]:
    """Give each connection of the log tshark's number of it; of several between the same ends the nearest in time."""
    near = sorted((abs(side.begun_at - connection.opened.at), row, number)
                  for row, connection in enumerate(connections) for (number, _), side in sides.items()
                  if (side.local, side.remote) == (connection.opened.local, connection.opened.remote))
    pairs: dict[int, int] = {}
    for _, row, number in near:
        if row not in pairs and number not in pairs.values():
            pairs[row] = number
    return pairs


def _collectors(connections: Sequence[Connection], agreed: dict[int, Agreement], findings: list[Finding],
                notes: list[str], keys: Path | None, words: Vocabulary) -> tuple[list[Row], Sent]:
    """Rows of the ends that the log knows, and what it holds in all."""
    total = NOTHING
    sums: dict[tuple[End, str], list[int]] = {}
    around: dict[End, int] = {}
    by_lengths = late = 0
    for row, connection in enumerate(connections):
        opened = connection.opened
        where = f"{_at(opened.local)} -> {_at(opened.remote)}"
        sent, spots = connection.judged(words)
        total += sent
        findings += [Finding(where=where, unexplained_bytes=spot.unexplained, found=(
            f"{spot.unexplained:,} of the {spot.size:,} bytes at offset {spot.offset:,} are no field that a device has "
            "reason to send")) for spot in spots[:_MOST_SPOTS]]
        if len(spots) > _MOST_SPOTS:
            rest = sum(spot.unexplained for spot in spots[_MOST_SPOTS:])
            findings.append(Finding(where=where, unexplained_bytes=rest,
                                    found=f"{rest:,} more bytes of that kind, at {len(spots) - _MOST_SPOTS} offsets"))
        for offset, size in connection.holes:
            notes.append(f"{where}: the log lacks {size:,} bytes at offset {offset:,}")
        one = agreed.get(row)
        what = f"collector, {opened.protocol.upper()}{' over TLS' if opened.is_tls else ''}"
        add = (1, one.seen if one else 0, len(connection.data), sent.unexplained + (one.extra if one else 0))
        sums[opened.remote, what] = [before + more for before, more in
                                     zip(sums.get((opened.remote, what), [0, 0, 0, 0]), add, strict=True)]
        if one is None:
            continue
        around[opened.remote] = around.get(opened.remote, 0) + one.around
        by_lengths += one.by == "lengths"
        late += one.is_late
        if one.extra:
            findings.append(Finding(where=where, unexplained_bytes=one.extra, found=f"{one.extra:,} bytes at offset "
                                    f"{one.at:,} of what was recorded are not in the log"))
        findings += [Finding(where=where, found=complaint) for complaint in one.complaints]
        notes += [f"{where}: {note}" for note in one.notes]
        if one.unsent:
            notes.append(f"{where}: {one.unsent:,} bytes at the end of the log are not in the recording, which ended "
                         "before, or they never left")
    if late:
        notes.append(f"{_many(late, 'connection')} of the log began before the recording; of these it shows the rest")
    if by_lengths:
        notes.append(f"{_many(by_lengths, 'connection')} over TLS compared by the lengths of records"
                     + ("; --keys does not open them" if keys is not None else "; with --keys, by their bytes"))
    rows = [Row(destination=_at(remote), what=f"{what}, {_many(count, 'connection')}", capture_bytes=seen,
                log_bytes=logged, unexplained_bytes=unexplained)
            for (remote, what), (count, seen, logged, unexplained) in sums.items()]
    rows += [Row(destination=_at(remote), what="handshakes, heads and tags of TLS", capture_bytes=size, log_bytes=None,
                 unexplained_bytes=0) for remote, size in around.items() if size]
    return rows, total


def _absent(connections: Sequence[Connection], agreed: dict[int, Agreement], seen: _Seen, findings: list[Finding],
            notes: list[str]) -> None:
    outside = 0
    for row, connection in enumerate(connections):
        if row in agreed:
            continue
        opened = connection.opened
        if seen.first_at + _APART_S < opened.at and connection.last_at < seen.last_at - _APART_S:
            findings.append(Finding(where=f"{_at(opened.local)} -> {_at(opened.remote)}", found="is in the log and not "
                                    "in the recording of that time; record on the interface it goes by"))
        else:
            outside += 1
    if outside:
        notes.append(f"{_many(outside, 'connection')} of the log outside of the time that was recorded; what they "
                     "sent is decoded, and compared with nothing")


def _elsewhere(counts: Counts, findings: list[Finding], declared: frozenset[str], notes: list[str]) -> list[Row]:
    rows, unread = [], dict[str, int]()
    for kind, (count, size) in sorted(counts.items(), key=lambda one: (one[0].is_known, -one[1][1])):
        rows.append(Row(destination=kind.destination, what=f"{kind.what}, {_many(count, 'packet')}", capture_bytes=size,
                        log_bytes=None, unexplained_bytes=0 if kind.is_known else size))
        forms = (kind.destination, kind.destination.rpartition(":")[0].strip("[]"))    # without and with a port
        if not kind.is_known and (address := next((form for form in forms if form in declared), "")):
            unread[address] = unread.get(address, 0) + size
        elif not kind.is_known:
            findings.append(Finding(where=kind.destination, unexplained_bytes=size, found=f"{size:,} bytes of "
                                    f"{kind.what} in {_many(count, 'packet')}, which no line of the log explains"))
    notes += [f"{size:,} bytes that went to {address} were declared with --expect; nobody looked into them"
              for address, size in unread.items()]
    return rows


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _at(end: End) -> str:
    return f"[{end.address}]:{end.port}" if ":" in end.address else f"{end.address}:{end.port}"
