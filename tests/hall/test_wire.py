"""What may cross the wire, and that nothing else does."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from cmnas_edge import sealing, wire
from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.embedding import Packing, pack, unit
from cmnas_edge.outgoing.batch import explained
from cmnas_edge.sealing import Opener, Sealer
from cmnas_edge.sighting import MAX_DIMENSION, MAX_SEQUENCE, read_vectors
from cmnas_edge.wire import Gap, Outcome, Refusal, Sighting, WireError

F32 = npt.NDArray[np.float32]
ROOT = Path(__file__).resolve().parents[2]
SPOOL = "0123456789abcdef"
KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))


def vector(d: int = 64, seed: int = 0) -> F32:
    return unit(np.random.default_rng(seed).standard_normal((1, d)).astype(np.float32))[0]


def sighting(**changes: object) -> Sighting:
    return replace(Sighting(
        device="gate", camera="north", seen_from=1_700_000_000.0, seen_at=1_700_000_004.5, modality="infrared",
        tracklet=3, view_count=4, quality=0.75, box_width=60, box_height=180, fingerprint=bytes(range(32)),
        engine="onnxruntime", precision="fp32", packing="fp16", vector=vector(), spool=SPOOL, sequence=7), **changes)


def message(**changes: object) -> pb.Sighting:
    made = pb.Sighting.FromString(wire.encode_sighting(sighting()))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def decode(*records: bytes | Sighting, gaps: tuple[Gap, ...] = ()) -> list[Sighting | Gap | Refusal]:
    return wire.decode_batch(wire.encode_batch(records, gaps), dimension=64, device="gate")


def refusal(record: bytes) -> str:
    (item,) = decode(record)
    assert isinstance(item, Refusal), "this record was taken"
    return item.reason


def fields(item: Sighting) -> dict[str, object]:
    return {name: value for name, value in structs.asdict(item).items() if name != "vector"}


@pytest.mark.parametrize("packing", ["fp16", "int8"])
def test_a_sighting_arrives_as_it_was_sent(packing: str) -> None:
    sent = sighting(packing=packing)
    (got,) = decode(sent)
    assert isinstance(got, Sighting)
    assert fields(got) == fields(sent)
    # int8 moves an entry by half a step of max|x| / 127; fp16 by less.
    assert np.abs(got.vector - sent.vector).max() <= np.abs(sent.vector).max() / 254 + 1e-6


def _packed(packing: Packing, length: float = 1.0) -> st.SearchStrategy[bytes]:
    return st.integers(0, 9).map(lambda seed: pack(np.float32(length) * vector(seed=seed)[None], packing)[0])


@example([b"\1\0\xa0\x7f" + b"\x7f" * 64] * 2, "int8", 64)     # a scale that is a NaN, of the kind that signals
@given(st.lists(st.one_of(_packed("fp16"), _packed("int8"), _packed("fp16", 3), _packed("int8", 3),
                          st.binary(max_size=140), st.binary(min_size=68, max_size=68),
                          st.binary(min_size=128, max_size=128))),
       st.sampled_from(["fp16", "int8"]), st.sampled_from([None, 64]))
def test_vectors_looked_at_together_are_judged_as_each_alone(packed: list[bytes], packing: Packing,
                                                              dimension: int | None) -> None:
    alone = [read_vectors([data], packing, dimension)[0] for data in packed]
    for ours, theirs in zip(read_vectors(packed, packing, dimension), alone, strict=True):
        assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs
        assert isinstance(ours, str) or ours.base is None     # who keeps one keeps no other


@given(st.integers(1, 300), st.integers(0, 2**32), st.floats(0.0, 12.0), st.sampled_from(["fp16", "int8"]))
def test_no_unit_vector_is_refused_however_its_entries_are_spread(d: int, seed: int, spread: float,
                                                                  packing: str) -> None:
    rng = np.random.default_rng(seed)
    # From all entries alike to one entry that leaves the others below half precision's range.
    x = unit((rng.standard_normal((1, d)) * np.exp(spread * rng.standard_normal((1, d)))).astype(np.float32))
    sent = sighting(vector=x[0], packing=packing)
    (got,) = wire.decode_batch(wire.encode_batch([sent]), dimension=d, device="gate")
    assert isinstance(got, Sighting), got


def test_a_vector_whose_every_entry_rounds_the_same_way_is_taken() -> None:
    # The worst case for int8's norm: all entries but the largest just below a half step.
    for shape in (126.499, 0.499, 126.501):
        x = unit(np.array([[127.0] + [shape] * 299], np.float32))
        (got,) = wire.decode_batch(wire.encode_batch([sighting(vector=x[0], packing="int8")]), dimension=300,
                                   device="gate")
        assert isinstance(got, Sighting), got


@given(st.integers(2, 300), st.integers(0, 2**32), st.sampled_from(["fp16", "int8"]),
       st.floats(0.5, 2.0).filter(lambda factor: abs(factor - 1) > 0.2))
def test_a_vector_scaled_by_more_than_rounding_can_is_refused(d: int, seed: int, packing: str,
                                                              factor: float) -> None:
    x = unit(np.random.default_rng(seed).standard_normal((1, d)).astype(np.float32)) * np.float32(factor)
    got = wire.decode_batch(wire.encode_batch([sighting(vector=x[0], packing=packing)]), dimension=d, device=None)
    assert isinstance(got[0], Refusal)


def test_a_spools_address_in_front_reads_as_one_record() -> None:
    body = wire.encode_sighting(sighting(spool="", sequence=0))
    (got,) = decode(wire.address(body, SPOOL, 99))
    assert isinstance(got, Sighting)
    assert (got.spool, got.sequence, got.camera) == (SPOOL, 99, "north")


def test_gaps_travel_behind_the_sightings() -> None:
    gap = Gap(SPOOL, 2, 9, 8)
    assert decode(sighting(), gaps=(gap,))[1] == gap
    for wrong in (Gap("x", 1, 2, 1), Gap(SPOOL, 3, 2, 1), Gap(SPOOL, 0, 2, 1), Gap(SPOOL, 1, 2, 3),
                  Gap(SPOOL, 1, 2, 0)):
        assert isinstance(decode(gaps=(wrong,))[0], Refusal)


@pytest.mark.parametrize(("field", "value", "says"), [
    ("device", "other", "'gate', whose token this is"), ("camera", "", "camera"), ("camera", "a\nb", "camera"),
    ("camera", "x" * 65, "camera"), ("spool", "ABCDEF0123456789", "hexadecimal"), ("sequence", 0, "sequence"),
    ("sequence", 2**63, "sequence"), ("seen_from", math.nan, "seen_from"), ("seen_from", 1.8e9, "seen_from"),
    ("seen_at", math.inf, "seen_at"), ("modality", 0, "modality"), ("modality", 3, "modality"),
    ("view_count", 0, "view_count"), ("quality", 1.5, "quality"), ("quality", math.nan, "quality"),
    ("box_width", 0, "box_width"), ("box_height", 70000, "box_height"), ("fingerprint", b"x" * 31, "32 bytes"),
    ("engine", 0, "engine"), ("precision", 9, "precision"), ("packing", 0, "packing"), ("packing", 7, "packing"),
    ("vector", b"", "dimensions"), ("vector", b"\0" * 128, "unit length"), ("vector", b"\0\x7e" * 64, "unit length"),
    ("vector", pack(vector(65)[None], "fp16")[0], "64 dimensions"),
])
def test_each_field_has_limits_and_says_which_was_broken(field: str, value: object, says: str) -> None:
    assert says in refusal(message(**{field: value}).SerializeToString())


def test_int8_codes_must_be_what_packing_gives() -> None:
    good = pack(vector()[None], "int8")[0]
    low = good[:4] + bytes(min(b, 120) if b < 128 else max(b, 136) for b in good[4:])
    below = good[:4] + b"\x80" + good[5:]
    huge = np.float32(np.inf).tobytes() + good[4:]
    for data in (low, below, huge):
        assert "int8 codes" in refusal(message(packing=pb.PACKING_INT8, vector=data).SerializeToString())


def test_a_foreign_bundle_is_named_before_its_dimension_confuses() -> None:
    data = wire.encode_batch([sighting()])
    (item,) = wire.decode_batch(data, dimension=512, device="gate", fingerprint=b"\xff" * 32)
    assert isinstance(item, Refusal)
    assert "expected bundle ffffffffffff, found 000102030405" in item.reason
    assert not item.for_good    # it may be accepted again


def test_several_bundles_are_accepted_each_with_vectors_of_its_own_length() -> None:
    accepted = {bytes(range(32)): 64, b"\xff" * 32: 5}
    here, there = sighting(), sighting(fingerprint=b"\xff" * 32, vector=np.eye(1, 5, dtype=np.float32)[0])
    short, long = (structs.replace(one, vector=other.vector) for one, other in ((here, there), (there, here)))
    foreign, none = structs.replace(here, fingerprint=bytes(32)), structs.replace(here, fingerprint=b"x")
    found = wire.decode_batch(wire.encode_batch([here, there, short, foreign, long, none]), dimension=accepted,
                              device="gate")
    assert [len(one.vector) if isinstance(one, Sighting) else one.for_good for one in found] == [
        64, 5, True, False, True, True]
    assert "expected bundle 000102030405 or ffffffffffff, found 000000000000" in found[3].reason  # type: ignore[union-attr]


def test_an_unknown_field_is_refused_by_number_wherever_it_stands() -> None:
    body = wire.encode_sighting(sighting())
    for extra, name in ((b"\xa2\x01\x03abc", "unknown field 20"), (b"\xa0\x06\x01", "unknown field 100")):
        assert name in refusal(body + extra)
        assert name in refusal(extra + body)
    gap = pb.Gap(spool=SPOOL, first=1, last=2, count=1).SerializeToString() + b"\x2a\x01x"
    (item,) = wire.decode_batch(b"\x12" + bytes([len(gap)]) + gap, dimension=None, device=None)
    assert isinstance(item, Refusal)
    with pytest.raises(WireError, match="found field 3"):
        wire.decode_batch(wire.encode_batch([sighting()]) + b"\x1a\x01x", dimension=64, device="gate")


def test_a_field_given_twice_or_padded_is_refused() -> None:
    body = wire.encode_sighting(sighting())
    assert "a field twice" in refusal(b"\x92\x01\x05hello" + body)          # an earlier vector, overwritten
    assert "a field twice" in refusal(body + b"\x80\x01\x80\x80\x00")        # transform = 0, in three bytes


def test_one_damaged_record_is_refused_by_name_and_spoils_no_other() -> None:
    body = wire.encode_sighting(sighting(spool="", sequence=0))
    first, second, third = decode(sighting(), wire.address(body[:-40], SPOOL, 8), sighting(sequence=9))
    assert isinstance(second, Refusal)
    assert (second.spool, second.sequence) == (SPOOL, 8)
    assert isinstance(first, Sighting)
    assert isinstance(third, Sighting)


@pytest.mark.prove
@given(st.binary(max_size=400), st.integers(0, 2**32))
def test_bytes_from_anywhere_are_refused_with_a_sentence(noise: bytes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    good = bytearray(wire.encode_batch([sighting(), sighting(sequence=8)], [Gap(SPOOL, 1, 2, 2)]))
    cut = int(rng.integers(len(good)))
    for data in (noise, bytes(good[:cut]), bytes(good[:cut]) + noise):
        with contextlib.suppress(WireError):
            for item in wire.decode_batch(data, dimension=64, device="gate"):
                assert not isinstance(item, Refusal) or item.reason.isprintable()
        assert 0 <= explained(data) <= len(data)
    flipped = good.copy()
    flipped[cut] ^= 1 << int(rng.integers(8))
    with contextlib.suppress(WireError):
        wire.decode_batch(bytes(flipped), dimension=64, device="gate")


def test_a_batch_holds_so_many_records_and_bytes_and_no_more() -> None:
    with pytest.raises(WireError, match="at most 64 sightings"):
        decode(*[sighting()] * 65)
    with pytest.raises(WireError, match="at most"):
        wire.decode_batch(b"\0" * (wire.MAX_BATCH_BYTES + 1), dimension=64, device="gate")
    assert "at most 8192 bytes" in refusal(message(device="x" * 9000).SerializeToString())
    assert decode() == []


def largest() -> pb.Sighting:
    """Every field at the most bytes it can legally take."""
    x = vector(MAX_DIMENSION)
    return pb.Sighting(
        device="d" * 64, camera="c" * 64, spool="f" * 16, sequence=MAX_SEQUENCE, seen_from=1e9, seen_at=1e9,
        modality=pb.MODALITY_INFRARED, tracklet=2**64 - 1, view_count=2**32 - 1, quality=1.0, box_width=65535,
        box_height=65535, fingerprint=b"\xff" * 32, engine=pb.ENGINE_TENSORRT, precision=pb.PRECISION_INT8,
        transform=2**64 - 1, packing=pb.PACKING_FP16, vector=pack(x[None], "fp16")[0] + bytes(sealing.ADDED_BYTES),
        seal=pb.Seal(key=bytes(4), encapsulated=bytes(32), number=2**32 - 1))


def test_the_largest_legal_sighting_stays_under_8_kib() -> None:
    # Added up from the schema: tag, length, and the most each type holds within the limits.
    most = {"device": 64, "camera": 64, "spool": 16, "fingerprint": 32, "vector": 2 * MAX_DIMENSION}
    varints = {"sequence": 9, "tracklet": 10, "transform": 10, "view_count": 5, "box_width": 3, "box_height": 3,
               "modality": 1, "engine": 1, "precision": 1, "packing": 1}
    # A sealed vector is 16 bytes longer, behind the same length; the seal's key, encapsulated and number.
    most["vector"] += sealing.ADDED_BYTES
    fixed = {"seen_from": 8, "seen_at": 8, "quality": 4, "seal": 1 + (1 + 1 + 4) + (1 + 1 + 32) + (1 + 5)}
    total = 0
    for field in pb.Sighting.DESCRIPTOR.fields:
        tag = 1 if field.number < 16 else 2
        length = {True: 1 if most.get(field.name, 0) < 128 else 2, False: 0}[field.name in most]
        total += tag + length + (most | varints | fixed)[field.name]  # KeyError: a new field has no limit here
    made = largest()
    assert made.ByteSize() == total < wire.MAX_SIGHTING_BYTES == 8192
    assert explained(batch := wire.encode_batch([made.SerializeToString()])) == len(batch)
    made.vector = made.vector[:-sealing.ADDED_BYTES]
    made.ClearField("seal")
    (item,) = wire.decode_batch(wire.encode_batch([made.SerializeToString()]), dimension=None, device=None)
    assert isinstance(item, Sighting), item
    made = largest()
    full = wire.encode_batch([made.SerializeToString()] * wire.MAX_SIGHTINGS,
                             [Gap("f" * 16, MAX_SEQUENCE, MAX_SEQUENCE, 1)] * wire.MAX_GAPS)
    assert len(full) <= wire.MAX_BATCH_BYTES


@given(st.integers(0, 6), st.integers(0, 3), st.sampled_from(["fp16", "int8"]))
def test_every_byte_of_an_honest_batch_is_explained(sightings: int, gaps: int, packing: str) -> None:
    data = wire.encode_batch([sighting(packing=packing, sequence=1 + k) for k in range(sightings)],
                             [Gap(SPOOL, 1 + 200 * k, 150 + 200 * k, 1) for k in range(gaps)])
    assert explained(data) == len(data)


def crop() -> bytes:
    picture = np.random.default_rng(1).integers(0, 256, (32, 16, 3), np.uint8)
    ok, jpeg = cv2.imencode(".jpg", picture)
    assert ok
    return bytes(jpeg.tobytes())


@pytest.mark.parametrize("where", ["unknown field", "vector", "vector twice", "packing nobody knows", "camera",
                                   "device", "fingerprint", "batch field", "after the end"])
def test_a_crop_smuggled_anywhere_into_a_batch_is_not_explained(where: str) -> None:
    picture = crop()
    body = wire.encode_sighting(sighting())
    size = pb.Sighting(vector=picture).SerializeToString()[2:]  # length and bytes, without the tag
    data = {
        "unknown field": lambda: wire.encode_batch([body + b"\xa2\x01" + size]),
        "vector": lambda: wire.encode_batch([message(vector=picture[:len(picture) // 2 * 2]).SerializeToString()]),
        "vector twice": lambda: wire.encode_batch([b"\x92\x01" + size + body]),
        "packing nobody knows": lambda: wire.encode_batch([message(vector=picture, packing=9).SerializeToString()]),
        "camera": lambda: wire.encode_batch([message(camera=picture.hex()).SerializeToString()]),
        "device": lambda: wire.encode_batch([message(device=picture.hex()).SerializeToString()]),
        "fingerprint": lambda: wire.encode_batch([message(fingerprint=picture).SerializeToString()]),
        "batch field": lambda: wire.encode_batch([body]) + b"\x1a" + size,
        "after the end": lambda: wire.encode_batch([body]) + b"\xff\xff\xff\xff" + picture,
    }[where]()
    assert len(data) - explained(data) >= len(picture) - 1


def sealed_by(key: X25519PrivateKey, **changes: object) -> bytes:
    return wire.encode_sighting(sighting(**changes), Sealer(key.public_key().public_bytes_raw()))


@pytest.mark.parametrize("packing", ["fp16", "int8"])
def test_a_sealed_vector_arrives_as_it_was_sent_and_cannot_be_read_on_the_way(packing: str) -> None:
    sent = sighting(packing=packing)
    body = wire.encode_sighting(sent, Sealer(KEY.public_key().public_bytes_raw()))
    assert pack(sent.vector[None], sent.packing)[0] in wire.encode_sighting(sent)
    assert not any(pack(sent.vector[None], sent.packing)[0][at:at + 8] in body for at in range(0, 60, 4))
    batch = wire.encode_batch([wire.address(wire.encode_sighting(replace(sent, spool="", sequence=0), Sealer(
        KEY.public_key().public_bytes_raw())), SPOOL, 7)])
    (got,) = wire.decode_batch(batch, dimension=64, device="gate", opener=Opener([KEY]), only_sealed=True)
    assert isinstance(got, Sighting), got
    assert fields(got) == {**fields(sent), "sealed": True}
    assert np.array_equal(got.vector, decode(sent)[0].vector)
    assert explained(batch) == len(batch)


def test_a_seal_adds_59_to_62_bytes_to_a_record() -> None:
    sealer, plain = Sealer(KEY.public_key().public_bytes_raw()), len(wire.encode_sighting(sighting()))
    added = [len(wire.encode_sighting(sighting(), sealer)) - plain for _ in range(sealing.MOST_RECORDS)]
    assert (min(added), max(added)) == (59, 62)


def test_a_record_sealed_to_another_key_is_not_taken_but_not_for_good() -> None:
    for opener in (None, Opener([]), Opener([X25519PrivateKey.generate()])):
        items = wire.decode_batch(wire.encode_batch([sealed_by(KEY), wire.encode_sighting(sighting(sequence=8))]),
                                  dimension=64, device="gate", opener=opener)
        assert isinstance(items[0], Refusal)
        assert (items[0].spool, items[0].sequence, items[0].for_good) == (SPOOL, 7, False)
        assert "give it that key, in seal_keys" in items[0].reason
        assert isinstance(items[1], Sighting)


@pytest.mark.parametrize(("field", "value"), [("camera", "south"), ("seen_at", 1_700_000_005.0), ("tracklet", 4),
                                              ("quality", 0.5), ("transform", 9), ("modality", 1)])
def test_a_sealed_vector_cannot_be_given_to_another_record(field: str, value: object) -> None:
    made = pb.Sighting.FromString(sealed_by(KEY))
    setattr(made, field, value)
    (item,) = wire.decode_batch(wire.encode_batch([made.SerializeToString()]), dimension=64, device="gate",
                                opener=Opener([KEY]))
    assert isinstance(item, Refusal)
    assert (item.for_good, "expected one unbroken" in item.reason) == (True, True)


def test_what_is_sealed_is_judged_like_what_is_open() -> None:
    one = sighting()
    long = wire.encode_sighting(replace(one, vector=one.vector * np.float32(2)), Sealer(
        KEY.public_key().public_bytes_raw()))
    (item,) = wire.decode_batch(wire.encode_batch([long]), dimension=64, device="gate", opener=Opener([KEY]))
    assert isinstance(item, Refusal)
    assert "expected unit length, found 2" in item.reason
    made = pb.Sighting.FromString(sealed_by(KEY))
    for change, says in ((lambda m: setattr(m, "vector", m.vector + b"12"), "found 130 bytes, sealed"),
                         (lambda m: setattr(m.seal, "key", b"12345"), "expected a key of 4 bytes"),
                         (lambda m: setattr(m.seal, "encapsulated", b""), "expected a key of 4 bytes"),
                         (lambda m: setattr(m.seal, "number", 2**32), "expected a number of at most")):
        other = pb.Sighting.FromString(made.SerializeToString())
        change(other)
        assert says in refusal(other.SerializeToString())
        batch = wire.encode_batch([other.SerializeToString()])
        assert explained(batch) < len(batch) or "sealed" in says     # a vector of more dimensions
    assert "expected only fields of" in refusal(wire.encode_sighting(one) + b"\x9a\x01\x02\x20\x01")


def test_an_open_vector_is_refused_only_where_seals_are_asked_for() -> None:
    batch = wire.encode_batch([sighting()])
    (item,) = wire.decode_batch(batch, dimension=64, device="gate", opener=Opener([KEY]))
    assert isinstance(item, Sighting)
    assert not item.sealed
    (item,) = wire.decode_batch(batch, dimension=64, device="gate", opener=Opener([KEY]), only_sealed=True)
    assert isinstance(item, Refusal)
    assert (item.for_good, "set seal_to" in item.reason) == (True, True)


def test_an_answer_comes_back_item_by_item() -> None:
    outcomes = [Outcome(SPOOL, 1, "stored"), Outcome(SPOOL, 2, "duplicate"), Outcome(SPOOL, 3, "refused", "because")]
    assert wire.decode_answer(wire.encode_answer(outcomes)) == outcomes
    assert len(wire.decode_answer(wire.encode_answer([Outcome(SPOOL, 1, "refused", "x" * 999)]))[0].reason) == 300
    future = pb.Answer(outcomes=[pb.Outcome(spool=SPOOL, sequence=1, result=17)])  # type: ignore[arg-type]
    assert wire.decode_answer(future.SerializeToString()) == []
    nasty = pb.Answer(outcomes=[pb.Outcome(spool=SPOOL, sequence=1, result=pb.RESULT_REFUSED, reason="a\nb\x1b[2J")])
    assert wire.decode_answer(nasty.SerializeToString())[0].reason.isprintable()
    with pytest.raises(WireError, match="expected the collector's"):
        wire.decode_answer(b"<html>login</html>")


def test_a_vector_does_not_show_in_a_log() -> None:
    assert "vector" not in repr(sighting())


def test_regenerating_the_wire_format_changes_nothing(tmp_path: Path) -> None:
    for module in ("grpc_tools", "pkg_resources"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed; pip install 'cmnas-edge[dev]' brings it")
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}",
                    f"--pyi_out={tmp_path}", "cmnas_edge/sighting.proto"], cwd=ROOT, check=True)
    for name in ("sighting_pb2.py", "sighting_pb2.pyi"):
        assert (tmp_path / "cmnas_edge" / name).read_bytes() == (ROOT / "cmnas_edge" / name).read_bytes()
