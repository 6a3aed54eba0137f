"""
What each alarm of the deployment says to the person it wakes: what failed, what that means for the clusters,
and the first command to type. docs/deploying.md has the same table; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """
    Attributes:
        failed, clusters: One sentence each.
        first: A command that changes nothing.
    """

    failed: str
    clusters: str
    first: str

    def __str__(self) -> str:
        return f"What failed: {self.failed} For the clusters: {self.clusters} First command: {self.first}"


# By the queue's name, as the functions are named behind them.
_FUNCTIONS = {"onboarding": "onboard-cluster", "tuning": "tune-slicing", "off-hours": "shift-capacity"}
_WHERE_LOST = {
    "onboarding": "One cluster is not installed, verified or repaired before the next hourly sweep; what "
    "runs in it keeps running.",
    "tuning": "The number of pods that share a GPU stays as it is in one cluster. A rollout may stop "
    "half way, with consolidation held and nodes cordoned, until the next hourly sweep.",
    "off-hours": "One cluster may not go to sleep before the next hourly sweep. One that is to wake gets "
    "another message every five minutes.",
}
_WHERE_LATE = {
    "onboarding": "New and changed clusters are taken on late; what runs in them keeps running.",
    "tuning": "Breaches of memory and changes of load are answered late.",
    "off-hours": "Clusters may sleep or wake late.",
}

SWEEP_FAILED = Meaning(
    "The hourly sweep could not be called, or failed three times.",
    "What a lost event left undone is not repaired this hour; events, alarms and schedules still work.",
    "aws logs tail /aws/lambda/slicewise-sweep-fleet --since 2h",
)
NO_SWEEP = Meaning(
    "No sweep has run for two hours: its schedule, role or function is deleted, disabled or throttled.",
    "Nothing repairs lost events: new clusters may stay unseen, and changes of N half way. Mornings come.",
    "aws scheduler get-schedule --name slicewise-sweep",
)
LOOK_FAILED = Meaning(
    "The check of openings, every five minutes, could not be called, or failed three times.",
    "Each wakes by its schedule alone; one whose schedule or message is lost sleeps until the hourly sweep.",
    "aws logs tail /aws/lambda/slicewise-watch-openings --since 1h",
)
NO_LOOK = Meaning(
    "Openings have not been checked for a quarter of an hour: the rule or its function is deleted, disabled "
    "or throttled.",
    "Each wakes by its schedule alone, and nothing says which are asleep past their hour.",
    "aws events describe-rule --name slicewise-openings",
)
ASLEEP_PAST_ITS_HOUR = Meaning(
    "At least one cluster has workloads asleep more than five minutes after its opening. The log line names "
    "each.",
    "People find no GPU there. A message every five minutes asks to wake it, for as long as it sleeps.",
    "aws logs tail /aws/lambda/slicewise-watch-openings --since 30m --filter-pattern asleep",
)
_CALLED_BY_THE_CLOCK = {"sweep": SWEEP_FAILED, "openings": LOOK_FAILED}


def given_up(name: str) -> Meaning:
    """A message of this queue is among the dead letters."""
    if name in _CALLED_BY_THE_CLOCK:
        return _CALLED_BY_THE_CLOCK[name]
    return Meaning(
        f"A message of {name} failed five times and was abandoned.", _WHERE_LOST[name], "slicewise status"
    )


def too_old(name: str) -> Meaning:
    """A message of this queue has been pending for more than an hour."""
    return Meaning(
        f"A message of {name} has been pending for more than an hour: the function is throttled, fails each "
        "time, or has too much to do.",
        _WHERE_LATE[name],
        f"aws logs tail /aws/lambda/slicewise-{_FUNCTIONS[name]} --since 1h",
    )
