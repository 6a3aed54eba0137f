"""What it means for us that something else allocates a cluster's GPUs, and whose are which. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from slicewise.kube.objects import labels, name, required_values, spec
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import ClusterContents, GpuServer
from slicewise.onboarding import rbac
from slicewise.onboarding.helm.operator_values import union
from slicewise.onboarding.operator import release as operator_release
from slicewise.onboarding.operator.gpu_servers import GPU_COUNT
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy
from slicewise.pools.layout import NODE_POOL_LABEL, TOLERATIONS

_AUTO_MODE = "eks.amazonaws.com"
_OPERANDS, _PLUGIN = "nvidia.com/gpu.deploy.operands", "nvidia.com/gpu.deploy.device-plugin"


def findings(contents: ClusterContents, policy: Policy) -> list[Finding]:
    foreign = map(_foreign, contents.gpu_servers)
    return [*foreign, *_node_classes(contents, policy), *_labelled(contents), *_discovered(contents)]


def _foreign(server: GpuServer) -> Finding:
    return _refuse(
        "foreign-device-plugin",
        f"{server.ref} {server.does}; two that hand out the GPUs of one node fight over them.",
        "Delete it (GPU Operator brings a device plugin), or keep it off our nodes and remove the policy "
        "tag.",
    )


def _node_classes(contents: ClusterContents, policy: Policy) -> Iterator[Finding]:
    """Nodes that come with a plugin of their own: those that we would slice, or that would get a second."""
    ours, adopted = rbac.node_class_ref(policy), {pool.adopt for pool in policy.pools if pool.adopt}
    known = {(item["kind"], name(item)): item for item in contents.node_classes}
    if ours and (item := contents.objects.get(ours)):
        known[ours.kind, ours.name] = item
        if _is_bottlerocket(item):
            yield _bottlerocket(f"The policy's NodeClass {name(item)} makes nodes that run")
    if policy.node_class.group == _AUTO_MODE:
        yield _auto_mode(f"The policy names a NodeClass of EKS Auto Mode, {policy.node_class.name}")
    for pool in contents.node_pools:
        ref = _class_ref(pool)
        item = known.get((ref.get("kind", ""), ref.get("name", "")))
        taken = name(pool) in adopted
        if ref.get("group") == _AUTO_MODE and taken:
            yield _auto_mode(f"NodePool {name(pool)}, which the policy adopts, is of EKS Auto Mode")
        if item is None or not _is_bottlerocket(item):
            continue
        if taken:
            yield _bottlerocket(f"NodePool {name(pool)}, which the policy adopts, makes nodes that run")
        elif _has_gpus(pool) and not _is_left_out(pool) and not operator_release.all_of(contents):
            yield _refuse(
                "bottlerocket",
                f"NodePool {name(pool)} makes GPU nodes that run Bottlerocket, which brings its own device "
                "plugin; GPU Operator would bring a second one there.",
                f'Put the label {_PLUGIN}: "false" into its template, or move it to AL2023.',
            )


def _labelled(contents: ClusterContents) -> Iterator[Finding]:
    """Labels of GPU feature discovery, though nothing that we know of would write them."""
    if operator_release.all_of(contents) or contents.gpu_servers:
        return
    marked = [node for node in contents.nodes if GPU_COUNT in labels(node)]
    if marked:
        where = sorted({labels(node).get(NODE_POOL_LABEL) or name(node) for node in marked})
        yield Finding(
            "gpus-labelled-by-others",
            f"{len(marked)} nodes ({', '.join(where[:5])}) carry {GPU_COUNT}, which GPU feature discovery "
            "writes, and there is no GPU Operator: another one sets up GPUs there.",
            "See what runs on them. Two of it write the same labels, and two device plugins fight over the "
            "GPUs.",
        )


def _discovered(contents: ClusterContents) -> Iterator[Finding]:
    release = operator_release.of(contents)
    if not contents.feature_discovery or (release and operator_release.is_theirs(release)):
        return
    for item in contents.feature_discovery:
        there = item["spec"]["template"]["spec"].get("tolerations") or ()
        lacking = union(there, TOLERATIONS)[len(there) :]
        keys = " and ".join(str(one["key"]) for one in lacking)
        yield Finding(
            "nfd-elsewhere",
            f"{ref_of(item)} labels nodes by their features already, so GPU Operator comes without a "
            "node-feature-discovery of its own.",
            f"Have its workers tolerate {keys}: where they do not run there are no slices."
            if lacking
            else "Nothing: its workers run on our nodes, too.",
        )


def _class_ref(pool: Object) -> Mapping[str, Any]:
    return ((spec(pool).get("template") or {}).get("spec") or {}).get("nodeClassRef") or {}


def _is_bottlerocket(node_class: Object) -> bool:
    terms = spec(node_class).get("amiSelectorTerms") or ()
    said = [spec(node_class).get("amiFamily"), *(term.get("alias") for term in terms)]
    return any(str(one or "").lower().startswith("bottlerocket") for one in said)


def _has_gpus(pool: Object) -> bool:
    template = spec(pool).get("template") or {}
    inner = template.get("spec") or {}
    wanted = inner.get("requirements") or ()
    keys = [str(one.get("key", "")) for one in wanted]
    families = required_values(wanted, "karpenter.k8s.aws/instance-family") or ()
    types = required_values(wanted, "node.kubernetes.io/instance-type") or ()
    categories = required_values(wanted, "karpenter.k8s.aws/instance-category") or ()
    tainted = any(str(one.get("key", "")).startswith("nvidia.com/") for one in inner.get("taints") or ())
    return (
        tainted
        or any("/instance-gpu-" in key for key in keys)
        or bool({"g", "p"} & set(categories))
        or any(re.match(r"(g|p)\d", one) for one in (*families, *types))
    )


def _is_left_out(pool: Object) -> bool:
    hashed = ((spec(pool).get("template") or {}).get("metadata") or {}).get("labels") or {}
    return "false" in (hashed.get(_OPERANDS), hashed.get(_PLUGIN))


def _bottlerocket(whose: str) -> Finding:
    return _refuse(
        "bottlerocket",
        f"{whose} Bottlerocket, which brings its own device plugin: a label changes nothing there.",
        "Use an AL2023 NodeClass (amiSelectorTerms: [{alias: al2023@...}]), or share those GPUs by "
        "Bottlerocket's settings.kubelet-device-plugins.nvidia.",
    )


def _auto_mode(message: str) -> Finding:
    return _refuse(
        "auto-mode",
        f"{message}: it brings a device plugin of its own that only it can configure.",
        "Use a NodeClass of karpenter.k8s.aws for sliced GPUs.",
    )


def _refuse(code: str, message: str, remedy: str) -> Finding:
    return Finding(code, message, remedy, blocking=True)


# For people


def by_node_pool(contents: ClusterContents) -> tuple[Mapping[str, str], ...]:
    """What allocates the GPUs of each NodePool that may have some, as far as this reconcile shows."""
    known = {(item["kind"], name(item)): item for item in contents.node_classes}
    operator = operator_release.of(contents)
    said = f"GPU Operator {operator.namespace}/{operator.name}" if operator else "nothing yet"
    others = ", ".join(str(server.ref) for server in contents.gpu_servers)
    found = []
    for pool in sorted(contents.node_pools, key=name):
        if not _has_gpus(pool):
            continue
        ref = _class_ref(pool)
        item = known.get((ref.get("kind", ""), ref.get("name", "")))
        if ref.get("group") == _AUTO_MODE:
            by = "EKS Auto Mode"
        elif item is not None and _is_bottlerocket(item):
            by = "Bottlerocket's own device plugin"
        elif _is_left_out(pool):
            by = others or "nothing that we see: its label keeps GPU Operator off"
        else:
            by = ", ".join(one for one in (said if operator or not others else "", others) if one)
        found.append({"node_pool": name(pool), "gpus_by": by})
    return tuple(found)
