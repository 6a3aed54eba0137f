"""A person's override wins over the calendar, for a while. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from slicewise.policy.off_hours import Override
from slicewise.schedule.calendar import Calendar, Edge


@dataclass(frozen=True)
class Times:
    """A calendar and a person's last override: is the cluster to be asleep, and until when?"""

    calendar: Calendar
    override: Override | None = None

    def is_asleep(self, at: datetime) -> bool:
        override = self.override
        return override.asleep if override and override.holds(at) else self.calendar.is_asleep(at)

    def next_edge(self, after: datetime) -> Edge | None:
        override = self.override
        if not override or not override.holds(after):
            return self.calendar.next_edge(after)
        if self.calendar.is_asleep(override.until) != override.asleep:
            return Edge(override.until, not override.asleep)
        return self.calendar.next_edge(override.until)

    def message(self, at: datetime) -> str:
        """Who decides at a moment, in words."""
        override = self.override
        if not override or not override.holds(at):
            return "the calendar"
        why = f" ({override.reason})" if override.reason else ""
        until = override.until.astimezone(self.calendar.zone)
        return f"{override.by}{why}, until {until:%a %d %b %H:%M %Z}"


def until_next_edge(calendar: Calendar, asleep: bool, now: datetime) -> datetime | None:
    """
    How long "sleep" and "wake" without an end apply: until the calendar itself next says the same, so that
    nothing happens when they end. None where it never does: then a person must name an end.
    """
    if calendar.is_asleep(now) != asleep:
        edge = calendar.next_edge(now)
        return edge.at if edge else None
    # "Not tonight", requested in the afternoon: the next change is the one that must not happen, the one
    # after it ends the override.
    against = calendar.next_edge(now)
    back = calendar.next_edge(against.at) if against else None
    return back.at if back else None
