"""What an admin looks after in a running collector: who is logged in, and which devices may send.

People are enrolled, and devices given tokens, by commands on the collector's machine only: what hands out rights or
secrets is no page's. What takes them away is also done from here, for it is urgent.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from cmnas_edge.collector import views
from cmnas_edge.collector.access.people import People
from cmnas_edge.collector.access.sessions import Sessions
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.errors import ConfigError

__all__ = ["Account", "AccountList", "Administration", "Device", "DeviceList", "Done", "Named"]


class Named(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom or what, by name, and why."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    reason: views.Reason = ""


class Done(Struct, frozen=True):
    """How many were ended."""

    count: int


class Account(Struct, frozen=True, kw_only=True):
    """Somebody enrolled, and in how many browsers they are logged in now."""

    name: str
    role: str
    has_password: bool
    created_at: float
    changed_at: float
    session_count: int


class AccountList(Struct, frozen=True):
    """Everybody enrolled, by name."""

    accounts: list[Account]


class Device(Struct, frozen=True):
    """A device that may send."""

    name: str
    enrolled_at: float


class DeviceList(Struct, frozen=True):
    """Every enrolled device, by name."""

    devices: list[Device]


class Administration:
    """Answers an admin's questions; `Api` has them among its own."""

    def __init__(self, people: People, sessions: Sessions, devices: Devices) -> None:
        self._people = people
        self._sessions = sessions
        self._devices = devices

    def accounts(self, asked: views.Nothing) -> AccountList:
        """List who is enrolled to log in, and who is."""
        del asked
        counts = self._sessions.counts()
        return AccountList([Account(**one._asdict(), session_count=counts.get(one.name, 0))
                            for one in self._people.known()])

    def end_sessions(self, asked: Named, *, person: str) -> Done:
        """Log somebody out of every browser, at once; they may log in again."""
        del person      # it is in the audit log
        found = self._people.find(asked.name)
        if found is None:
            raise views.Unanswerable(404, "end_sessions: expected somebody enrolled, found nobody of this "
                                          "name; look at GET /v1/accounts")
        return Done(self._sessions.end_all(found[0].name))

    def devices(self, asked: views.Nothing) -> DeviceList:
        """List the devices that may send."""
        del asked
        return DeviceList(sorted((Device(one.name, one.enrolled_at) for one in self._devices.known()),
                                 key=lambda one: one.name))

    def revoke(self, asked: Named, *, person: str) -> Done:
        """Take a device's right to send away, from its next batch on."""
        del person
        try:
            self._devices.revoke(asked.name)
        except ConfigError as error:
            if any(one.name == asked.name for one in self._devices.known()):
                raise
            raise views.Unanswerable(404, "revoke: expected an enrolled device, found none of this name; look "
                                          "at GET /v1/devices") from error
        return Done(1)
