"""
What stays awake at night keeps a way to a node: how many nodes each NodePool may have meanwhile. Pure.

A limit of no nodes would keep Karpenter from replacing a node that is lost (spot, expiry, hardware), and what
a person marked to stay awake would wait until the morning. So a NodePool may have as many nodes as those that
stay run on, and one more while one of them waits: closed for what sleeps, not for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.objects import being_deleted, labels, name, spec
from slicewise.kube.ref import Object, Ref
from slicewise.offhours import targets as following
from slicewise.offhours.kinds import NightBehaviour
from slicewise.offhours.observation import Found
from slicewise.offhours.targets import Workload
from slicewise.planning.outcome import Finding
from slicewise.policy.off_hours import OffHours, Volumes
from slicewise.pools import layout

# What no controller would recreate needs no other node.
_NEVER_REPLACED = (NightBehaviour.BARE, NightBehaviour.DAEMON)


def stayers(made: Iterable[Workload], policy: OffHours, left: Collection[str] = ()) -> tuple[Workload, ...]:
    """
    Those that run on by a mark, by their nature, or because their sleep would cost data or was refused.

    Args:
        left: What was refused its sleep (refused.py).
    """
    may = (work for work in made if work.behaviour not in _NEVER_REPLACED)
    return tuple(work for work in may if _stays(work, policy) or str(work.ref) in left)


def _stays(work: Workload, policy: OffHours) -> bool:
    left = bool(work.losing) and (policy.volumes is Volumes.LEAVE or not work.may_retain)
    return work.keeps_awake or work.behaviour is not NightBehaviour.SLEEPS or left


def nodes_of(node_pool: Object, staying: Iterable[Workload], found: Found) -> int:
    """The most nodes that a NodePool may have while the others sleep."""
    pods = [pod for work in staying for pod in work.pods if not being_deleted(pod)]
    mine = {name(node) for node in found.nodes if labels(node).get(layout.NODE_POOL_LABEL) == name(node_pool)}
    used = {spec(pod).get("nodeName") for pod in pods} & mine
    pool = labels(node_pool).get(POOL_LABEL, "")
    waits = any(not spec(pod).get("nodeName") and following.chooses(spec(pod), pool) for pod in pods)
    return len(used) + waits


def findings(limits: dict[Ref, int], staying: Iterable[Workload]) -> Iterator[Finding]:
    names = [str(work.ref) for work in staying]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    for ref, nodes in sorted(limits.items()):
        if nodes:
            yield Finding(
                "open-for-what-stays",
                f"{ref} may have {nodes} node{'s' * (nodes != 1)} while the cluster sleeps, for what stays "
                f"awake: {', '.join(names[:3])}{more}.",
                "No action needed: it is closed once they have ended. To close it now, let them sleep.",
            )
