"""The Python side of `libnvinfer.cpp`: what each slot of a virtual table means, and who answers.

A slot gets its name the first time it is reached: `Library.learn` says which method is about to be called through the
real bindings, and the slot that call arrives at has that name from then on, for every object of that kind. Such a call
is recorded, and answered by the method of that name of the object's stand-in (`building.py`, `loading.py`). A slot
nobody named is an error: the project would use more of TensorRT than was rehearsed.

A stand-in's annotations say how to read arguments: `str` is a C string, `int` 64 bits, `Small` 32 bits and signed,
`bool` a byte, `Dims` a pointer to dimensions, `Data` a pointer to memory and the size that follows it, `Weights` the
struct on the stack, anything else the stand-in behind a pointer (None if it is null).
"""

from __future__ import annotations

import ctypes
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

U64 = ctypes.c_uint64
LISTENER = ctypes.CFUNCTYPE(U64, U64, ctypes.c_int, *[U64] * 6)
MAKERS = {-1: "builder", -2: "runtime", -3: "refitter", -4: "parser", -5: "parser_refitter"}


class Small(int):
    """A signed number of 32 bits, as enums and indices are."""


class Data(bytes):
    """Memory given by its address and size."""


class Dims(tuple[int, ...]):
    """Dimensions: a struct of a count and eight numbers."""

    __slots__ = ()


class Weights(NamedTuple):
    """Values of one type at an address."""

    kind: int
    address: int
    count: int


class Call(NamedTuple):
    """One call that reached the library."""

    number: int  # the object's, counted from 1
    name: str  # "context.set_input_shape"
    arguments: tuple[Any, ...]
    thread: str


@dataclass
class StandIn:
    """One object of TensorRT's. Subclasses answer its methods and say their kind."""

    library: Library
    number: int = field(init=False)
    address: int = field(init=False)
    alive: bool = field(init=False, default=True)
    logger: int = field(init=False, default=0)
    kind = ""

    def __post_init__(self) -> None:
        self.address = self.library.adopt(self)
        self.number = len(self.library.things)

    def destroy(self) -> None:
        """The bindings deleted it."""
        self.library.rule(self.alive, f"{self.kind} deleted twice")
        self.alive = False


class Library:
    """Listens to the compiled library and lets stand-ins answer.

    Attributes:
        calls: Every call since a test began, in order.
        events: The names of them, among what happened on the GPU.
        broken: Rules of TensorRT that calls broke, and what went wrong in here; a test wants none.
        taught: By name of a method, what is done instead, given the logger and what would have been done.
        ending: Whether a slot that nobody named is a destructor.
    """

    def __init__(self, path: Path, events: list[str]) -> None:
        self.events = events
        self.native = ctypes.CDLL(str(path))
        self.native.fake_object.restype = ctypes.c_void_p
        self.native.fake_call.restype = U64
        self.native.fake_call.argtypes = [ctypes.c_void_p, ctypes.c_int, U64, U64, U64]
        self.makers: dict[str, Callable[[int, StandIn | None], StandIn | None]] = {}
        self.names: dict[tuple[str, int], str] = {}
        self.things: dict[int, StandIn] = {}
        self.calls: list[Call] = []
        self.broken: list[str] = []
        self.ending = False
        self.taught: dict[str, Callable[[int, Callable[[], Any]], Any]] = {}
        self._expected: list[str] = []
        self._memory: dict[str | bytes, ctypes.Array[ctypes.c_char]] = {}
        self._listener = LISTENER(self._called)  # ctypes keeps no reference of its own
        self.native.fake_listen(self._listener)

    def leave(self) -> None:
        """Listen no more: objects deleted while Python ends have nobody to ask."""
        self.native.fake_listen(None)

    def adopt(self, thing: StandIn) -> int:
        """Give a stand-in the address that the bindings know it by."""
        address = int(self.native.fake_object() or 0)
        assert address, "the library holds no more objects"
        self.things[address] = thing
        return address

    def rule(self, kept: bool, broken: str) -> bool:
        """Note a rule that was broken."""
        if not kept:
            self.broken.append(broken)
        return kept

    def learn(self, names: str, act: Callable[[], Any]) -> Any:
        """Call a method through the bindings; the new slots it reaches have these names, in the order reached."""
        self._expected = names.split()
        try:
            value = act()
        except Exception:
            assert not self.broken, f"{names}: {self.broken}"
            raise
        assert not self.broken, f"{names}: {self.broken}"
        assert not self._expected, f"{self._expected} of {names!r} reached no slot of its own"
        return value

    @contextmanager
    def watched(self) -> Iterator[list[Call]]:
        """The calls within a block; on leaving it none may have broken a rule."""
        self.calls = calls = []
        self.broken.clear()
        yield calls
        assert not self.broken, "; ".join(self.broken)

    def call(self, address: int, slot: int, *arguments: str | int) -> int:
        """Call a virtual function of an object that Python made, such as a logger."""
        raw = [self.text(value) if isinstance(value, str) else value for value in arguments]
        return int(self.native.fake_call(address, slot, *raw, *[0] * (3 - len(raw))))

    def text(self, value: str | bytes) -> int:
        """The address of a C string, or of bytes, that stays."""
        if value not in self._memory:
            raw = value.encode() if isinstance(value, str) else value
            self._memory[value] = ctypes.create_string_buffer(raw, len(raw) + 1)
        return ctypes.addressof(self._memory[value])

    def _called(self, address: int, slot: int, result: int, *raw: int) -> int:
        try:
            return self._answer(address, slot, result, raw[:4], raw[4])
        except BaseException:
            self.broken.append(traceback.format_exc())
            return 0

    def _answer(self, address: int, slot: int, result: int, registers: tuple[int, ...], stack: int) -> int:
        if not address:
            name = f"make.{MAKERS[slot]}"
            logger, of = registers[0], self.things.get(registers[1])
            made = self._done(name, logger, lambda: self.makers[MAKERS[slot]](logger, of))
            self._noted(made.number if made else 0, name, ())
            return made.address if made else 0
        thing = self.things[address]
        name = self.names.get((thing.kind, slot))
        if name is None:
            assert self._expected or self.ending, f"{thing.kind}: slot {slot} was called, which nobody rehearsed"
            name = self.names[thing.kind, slot] = self._expected.pop(0) if self._expected else "destroy"
        self.rule(thing.alive, f"{thing.kind}.{name} was called after the {thing.kind} was deleted")
        method = getattr(thing, name)
        arguments = tuple(self._arguments(_wanted(type(thing), name), registers, stack))
        self._noted(thing.number, f"{thing.kind}.{name}", arguments)
        return self._returned(self._done(f"{thing.kind}.{name}", thing.logger, lambda: method(*arguments)), result)

    def _noted(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        self.calls.append(Call(number, name, arguments, threading.current_thread().name))
        self.events.append(name)

    def _done(self, name: str, logger: int, do: Callable[[], Any]) -> Any:
        """What was taught instead of it, else it."""
        lesson = self.taught.get(name)
        return do() if lesson is None else lesson(logger, do)

    def _arguments(self, kinds: tuple[Any, ...], registers: tuple[int, ...], stack: int) -> Iterator[Any]:
        rest = iter(registers)
        for wanted in kinds:
            if wanted is Weights:
                kind, address, count = (U64 * 3).from_address(stack)
                yield Weights(kind & 0xFFFFFFFF, address, count)
                continue
            value = next(rest)
            if wanted is int:
                yield value
            elif wanted is Small:
                yield ctypes.c_int32(value & 0xFFFFFFFF).value
            elif wanted is bool:
                yield bool(value & 0xFF)
            elif wanted is str:
                yield ctypes.string_at(value).decode() if value else ""
            elif wanted is Data:
                yield ctypes.string_at(value, next(rest))
            elif wanted is Dims:
                count = ctypes.c_int32.from_address(value).value
                yield Dims((ctypes.c_int64 * count).from_address(value + 8))
            else:
                yield self.things.get(value)

    def _returned(self, value: Any, result: int) -> int:
        if isinstance(value, Dims):
            ctypes.c_int64.from_address(result).value = len(value)
            (ctypes.c_int64 * 8).from_address(result + 8)[:len(value)] = list(value)
            return result
        if isinstance(value, Weights):
            (U64 * 3).from_address(result)[:] = list(value)
            return result
        if isinstance(value, StandIn):
            return value.address
        if isinstance(value, str | bytes):
            return self.text(value)
        return int(value or 0) & (2**64 - 1)


@cache
def _wanted(kind: type[StandIn], name: str) -> tuple[Any, ...]:
    """What a method's arguments are, by its annotations."""
    return tuple(hint for argument, hint in get_type_hints(getattr(kind, name)).items() if argument != "return")
