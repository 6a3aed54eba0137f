"""
The switches of a policy's own in one cluster: which of them can work, and so are granted. Pure.

One that cannot is reported and not granted; everything else goes on. What the policy has dropped, and by
which something still sleeps, stays granted: the marks on NodePools say so (offhours/marks.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from slicewise import rights
from slicewise.kube.labels import SWITCHES
from slicewise.kube.objects import annotations_of
from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents
from slicewise.onboarding import rbac
from slicewise.onboarding.observation import live
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy
from slicewise.policy.switches import Switch, is_of, read, written, wrong_in
from slicewise.rights import Write

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")


def switches(policy: Policy, node_pools: Iterable[Object]) -> tuple[Switch, ...]:
    """The policy's, and those by which something sleeps."""
    if policy.off_hours is None:
        return ()
    marked = (one for pool in node_pools for one in read(annotations_of(pool).get(SWITCHES)))
    return tuple(dict.fromkeys((*policy.off_hours.kinds, *marked)))


def writes(contents: ClusterContents, policy: Policy) -> tuple[Write, ...]:
    """What it may write by those that can work. A mark keeps a right that is there, and gives none."""
    asked = policy.off_hours.kinds if policy.off_hours else ()
    granted, found = set(_patched(contents)), []
    for switch in switches(policy, contents.node_pools):
        crd = _definition(contents, switch)
        if crd is None or wrong_in(switch, crd):
            continue
        plural = str(crd["spec"]["names"]["plural"])
        if switch in asked or (switch.group, plural) in granted:
            found.append((plural, switch))
    return rights.of_switches(found)


def ending(contents: ClusterContents, own: Iterable[Write]) -> Iterator[Write]:
    """
    Kinds that the sleeper's role still lets it write, and that no policy asks for any longer: no admission
    policy limits it there, until a later reconcile finds that the role is without them.
    """
    known = {(one.group, one.resource) for one in (*rights.SLEEPER.writes, *own)}
    return (Write(*one) for one in dict.fromkeys(_patched(contents)) if one not in known)


def _patched(contents: ClusterContents) -> Iterator[tuple[str, str]]:
    """Groups and resources that the sleeper's live role lets it patch."""
    for rule in (live(contents, rbac.SLEEPER_ROLE) or {}).get("rules") or ():
        if "patch" in (rule.get("verbs") or ()):
            yield from product(rule.get("apiGroups") or (), rule.get("resources") or ())


def findings(contents: ClusterContents, policy: Policy) -> Iterator[Finding]:
    for switch in policy.off_hours.kinds if policy.off_hours else ():
        if why := wrong_in(switch, _definition(contents, switch)):
            yield Finding(
                "off-hours-kind-unknown",
                f"offHours.kinds names {written(switch.path)} of {switch}: {why}. It puts nothing to sleep.",
                f"Install its operator, or correct the entry: kubectl explain {switch.kind.lower()} has the "
                "fields of a kind.",
            )


def _definition(contents: ClusterContents, switch: Switch) -> Object | None:
    return next((one for one in contents.definitions if is_of(one, switch)), None)
