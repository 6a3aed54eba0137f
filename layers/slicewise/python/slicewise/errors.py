"""
Our errors, sorted by what the caller should do.

* SlicewiseError
  - InvalidEvent     drop the message; a retry cannot help
  - InvalidPolicy    report it to the person who wrote it; nothing is touched
  - Refused          alarm; we lack a right, or our code asks for the wrong thing
    + Unauthorized   our identity is not known (yet): access that was just granted takes seconds
  - Conflict         the object changed since it was read; plan again
  - Unavailable      time-out, throttling or a server's fault; retry later
    + PolicySkew     the policy is of another release than we are: a deployment is under way
  - LeaseHeld        another reconcile works on this cluster; try again soon
"""

from __future__ import annotations

from dataclasses import dataclass


class SlicewiseError(Exception):
    """Base of all errors that the project raises itself."""


class InvalidEvent(SlicewiseError):
    """A message that no retry can fix."""


@dataclass(frozen=True)
class PolicyProblem:
    """One thing that is wrong in a policy: where, what is there, and what to write instead."""

    path: str
    value: object
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.value!r}: {self.remedy}"


class InvalidPolicy(SlicewiseError):
    """
    A policy that we refuse.

    Attributes:
        problems: Every problem found, in the order of the file.
        is_skew: Other rules than ours accepted it, and it was not edited since; the first problem says which.
    """

    def __init__(self, name: str, problems: tuple[PolicyProblem, ...], is_skew: bool = False):
        self.name, self.problems, self.is_skew = name, problems, is_skew
        super().__init__(f"policy {name!r} is refused:\n" + "\n".join(f"  {problem}" for problem in problems))


class Refused(SlicewiseError):
    """We are known, but not allowed to do this; or the request itself was not understood."""


class Unauthorized(Refused):
    """Our identity was not accepted: no access entry, or one so new that it is not in effect yet."""


class Conflict(SlicewiseError):
    """What we read has changed in between."""


class Unavailable(SlicewiseError):
    """The other side did not answer, or asked us to slow down."""


class PolicySkew(Unavailable):
    """A policy that cannot be read until it and we are of one release (planning/policy_skew.py)."""

    def __init__(self, refused: InvalidPolicy):
        self.name = refused.name
        super().__init__("; ".join(map(str, refused.problems[:2])))


class LeaseHeld(SlicewiseError):
    """Another reconcile holds the cluster's lease."""


# What reading a value raises that another release, or a person, wrote otherwise than we do: other types,
# missing fields, numbers or nesting without end. For values that are read leniently.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
