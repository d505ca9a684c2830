"""Which devices can start something now: idle, answering, not somebody else's, on a host with room."""

from __future__ import annotations

from zmlx_bench.fleet.items import Item, Slot


class Openings:
    """The devices that can start something, by group; a change of one device costs a look at those of its host."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._hosts: dict[str, dict[str, Slot]] = {}
        self._load: dict[str, int] = {}
        self.free: dict[str, dict[str, None]] = {}
        """By group, devices that can start anything; in the order in which they became free."""
        self.resuming: dict[str, None] = {}
        """Devices that can go on with what they have half of."""
        self.changed: dict[str, None] = {}
        """Groups in which something may be started."""

    def add(self, slot: Slot) -> None:
        """Know of a device."""
        self._hosts.setdefault(slot.about.host, {})[slot.about.device] = slot
        self.free.setdefault(slot.about.group, {})

    def remove(self, slot: Slot) -> None:
        """Let a device start nothing, until it is placed again."""
        self.free[slot.about.group].pop(slot.about.device, None)
        self.resuming.pop(slot.about.device, None)

    def take(self, slot: Slot, item: Item, now: float) -> None:
        """Let an item run on a device."""
        slot.item, slot.pinned = item, None
        self._load[slot.about.host] = self._load.get(slot.about.host, 0) + 1
        self.place_host(slot, now)

    def release(self, slot: Slot) -> Item:
        """Take the item that runs off its device and return it; the host has room for another, once it is placed."""
        item = slot.item
        assert item is not None
        slot.item = None
        self._load[slot.about.host] -= 1
        return item

    def place_host(self, slot: Slot, now: float) -> None:
        """Look again at every device of a device's host."""
        for one in self._hosts[slot.about.host].values():
            self.place(one, now)

    def place(self, slot: Slot, now: float) -> None:
        """Put a device among those that can start something, or take it from them."""
        device, group, pinned = slot.about.device, slot.about.group, slot.pinned
        room = self._load.get(slot.about.host, 0) < self._per_host
        idle = slot.alive and slot.refused is None and slot.item is None and slot.aside_until <= now
        anything = idle and room and pinned is None
        resumes = idle and room and pinned is not None and pinned.not_before is not None and pinned.not_before <= now
        if not anything:
            self.free[group].pop(device, None)
        elif device not in self.free[group]:
            self.free[group][device] = None
            self.changed[group] = None
        if resumes:
            self.resuming[device] = None
        else:
            self.resuming.pop(device, None)
