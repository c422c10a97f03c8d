"""What a worker declares of its device in each `Presence`, for a coordinator that chooses by it.

What is declared is believed: the coordinator can check none of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from schemas.messages import Presence

POWER_SUPPLIES = Path("/sys/class/power_supply")
"""Where Linux tells of batteries and mains."""

UNKNOWN = -1.0


@dataclass(frozen=True, slots=True)
class Traits:
    """What the owner says of a device.

    Attributes:
        examples: How many examples it has, 0 if that is not said.
        capabilities: Names of what it can do.
        metered: Its network is paid for by volume.
        hours: When it may be connected, as the setting has it.
    """

    examples: int = 0
    capabilities: tuple[str, ...] = ()
    metered: bool = False
    hours: str = ""


def battery_level(folder: Path = POWER_SUPPLIES) -> float:
    """How full the battery is, 0 to 1; 1 on mains, -1 where nothing is known of either.

    Batteries of mice and headsets are none of the device. Of several the emptiest counts.
    """
    levels: list[float] = []
    for supply in _supplies(folder):
        match _read(supply / "type"):
            case "Mains" | "USB" if _read(supply / "online") == "1":
                return 1.0
            case "Battery" if _read(supply / "scope") != "Device":
                text = _read(supply / "capacity")
                if text.isdecimal():
                    levels.append(min(int(text), 100) / 100)
            case _:
                pass
    return min(levels, default=UNKNOWN)


@dataclass(frozen=True, slots=True)
class Device:
    """What is declared: what the owner says, and what is looked up when it is asked for.

    Attributes:
        minute: Minutes since midnight of the local time.
        battery: As `battery_level`.
    """

    traits: Traits = field(default_factory=Traits)
    minute: Callable[[], float] = lambda: UNKNOWN
    battery: Callable[[], float] = lambda: UNKNOWN

    def declare(self, presence: Presence) -> Presence:
        """The message with what the device is."""
        traits = self.traits
        return replace(
            presence,
            examples=traits.examples,
            capabilities=traits.capabilities,
            battery=self.battery(),
            metered=traits.metered,
            local_minute=int(self.minute()),
            hours=traits.hours,
        )


def _supplies(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _read(file: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file.read_text("ascii").strip()
    return ""
