"""What EKS's clusters have beside moto's own, and when they are ACTIVE: for all that answers about one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from sandbox.aws.core import registry
from sandbox.aws.core.account import Account


@dataclass
class ClusterState:
    """
    What moto's Cluster has no room for.

    Attributes:
        changed_at: Since when it is CREATING or UPDATING, by the monotonic clock.
    """

    account: Account
    access: dict[str, Any]
    changed_at: float
    passed_through: dict[str, Any]
    entries: dict[str, Any] = field(default_factory=dict)
    addons: dict[str, Any] = field(default_factory=dict)
    pod_identities: dict[str, Any] = field(default_factory=dict)
    fargate_profiles: dict[str, Any] = field(default_factory=dict)


# By moto's object and not by name: a cluster that is made again under its name begins with nothing.
_states: WeakKeyDictionary[Any, ClusterState] = WeakKeyDictionary()


def keep(cluster: Any, state: ClusterState) -> None:
    """For as long as moto has the cluster."""
    _states[cluster] = state


def state_of(cluster: Any) -> ClusterState:
    return _states[cluster]


def account_of(response: Any) -> Account:
    """Whom the request went to; `response` is moto's response object."""
    return registry.served(response.current_account)


def cluster_named(response: Any, name: str) -> Any:
    """moto's cluster, ACTIVE once its time has come, or its ResourceNotFoundException."""
    return settled(response.eks_backend.describe_cluster(name=name))


def settled(cluster: Any) -> Any:
    state = state_of(cluster)
    if cluster.status in ("CREATING", "UPDATING") and is_over(state.account, state.changed_at):
        cluster.status = "ACTIVE"
    return cluster


def is_over(account: Account, since: float) -> bool:
    """Whether `creating_seconds` have passed; read each time, so that a test can end the wait."""
    return time.monotonic() >= since + account.creating_seconds


def now() -> datetime:
    return datetime.now(UTC)
