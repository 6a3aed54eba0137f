"""One cluster and all that is outside of it, as a handler of actions reaches them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from slicewise.errors import Conflict
from slicewise.model.cluster import EksCluster
from slicewise.ports import Helm, Kubernetes, Ports
from slicewise.trigger import Trigger


class Connection:
    """
    Opened when the first action needs it.

    Args:
        cluster: None where it was deleted: then nothing can be done in it, which is a Conflict.
        still_ours: As for ActionExecutor.
    """

    def __init__(
        self, trigger: Trigger, cluster: EksCluster | None, ports: Ports, still_ours: Callable[[], None]
    ):
        self.trigger, self.ports, self.still_ours = trigger, ports, still_ours
        self._cluster = cluster

    @cached_property
    def kubernetes(self) -> Kubernetes:
        return self.ports.kubernetes(self._live_cluster)

    @cached_property
    def helm(self) -> Helm:
        return self.ports.helm(self._live_cluster)

    @property
    def _live_cluster(self) -> EksCluster:
        if self._cluster is None:
            raise Conflict(f"{self.trigger.name} is deleted; nothing can be done in it")
        return self._cluster


# The action is of the type under which the handler is in its table; a test compares.
Handler = Callable[[Connection, Any], None]
