"""A night of an example: an engineer asks for it, with the command that people have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.demo.steps import Reasons, follow, wait
from sandbox.examples.world import ExampleCluster, World


class CommandFailed(Exception):
    """The command refused; the message has what it was asked and what it said."""


class Night:
    """Of one cluster whose policy has `offHours`."""

    def __init__(self, world: World, cluster: ExampleCluster):
        self.story, self.system, self.cluster = world.story, world.system, cluster

    def begins(self, within_seconds: float = 180) -> bool:
        """Whether everything slept, and no GPU node was left, in time."""
        wait(self.story, lambda: self.stage() == "awake", "off-hours has reconciled the cluster: it is day")
        self.slicewise("sleep", self.cluster.name, "--for", "10h", "--reason", "night")
        return self._follow(lambda: self.stage() == "asleep" and not self.cluster.gpu_nodes(), within_seconds)

    def ends(self, done: Callable[[], bool], within_seconds: float = 180) -> bool:
        """Whether Slicewise calls the cluster awake, and `done` holds, in time."""
        self.slicewise("wake", self.cluster.name, "--for", "10h", "--reason", "morning")
        return self._follow(lambda: self.stage() == "awake" and done(), within_seconds)

    def slicewise(self, *arguments: str) -> None:
        """
        The command, as an operator runs it.

        Raises:
            CommandFailed: With what it said.
        """
        done = self.system.slicewise(*arguments, user="ada")
        self.story.saw(f"an engineer runs: slicewise {' '.join(arguments)}")
        if done.returncode:
            raise CommandFailed(f"slicewise {' '.join(arguments)}: {done.stderr.strip()}")
        for line in done.stdout.splitlines():
            self.story.quote(line)

    def record(self) -> dict[str, Any]:
        return self.system.record(self.cluster.name, "off-hours") or {}

    def stage(self) -> str:
        return str(self.record().get("stage", ""))

    def _follow(self, done: Callable[[], bool], within_seconds: float) -> bool:
        """Each reconcile in its words, until `done`."""
        return follow(self.story, done, Reasons(self.record).news, within_seconds)
