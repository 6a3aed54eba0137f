"""
What allocates a cluster's GPUs beside GPU Operator's own operands: recognised by what runs there does. Pure.

An image's name says little: mirrors rename it, and others than NVIDIA hand out NVIDIA's GPUs. A device plugin
cannot do without kubelet's folder of sockets, nor a DRA driver without that of plugins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from slicewise.kube.objects import annotations_of, labels, name, spec
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import GpuServer, Release

_DEVICE_PLUGINS = re.compile(r"/kubelet(/device-plugins)?/*$")
_DRA_PLUGINS = re.compile(r"/kubelet/plugins(_registry)?(/|$)")
# Last parts of images that allocate NVIDIA's GPUs, in any registry that they are mirrored to.
_IMAGES = frozenset({"nvidia-gpu-device-plugin", "nvidia-device-plugin", "hami", "k8s-vgpu"})
_NVIDIA = re.compile(r"nvidia|\bgpu-mem\b|tencent\.com/vcuda|volcano\.sh/(v?gpu)", re.IGNORECASE)
_OTHERS = re.compile(r"\b(amd|rocm|intel|habana|neuron|efa|rdma|sriov|smarter|kvm|fpga)\b", re.IGNORECASE)
# What shares GPUs without advertising any: by an image's last part, a container's name or a command.
_SHARERS = {
    "mps-control-daemon": "runs an MPS control daemon, which decides who may use the GPUs of its nodes",
    "nvidia-cuda-mps-control": "runs an MPS control daemon, which decides who may use the GPUs of its nodes",
    "kai-resource-isolator": "bounds shares of GPUs that KAI allocates by pods of its own",
    "runai-container-toolkit": "bounds shares of GPUs that Run:ai allocates by pods of its own",
    "gpushare-device-plugin": "advertises shares of GPUs by memory",
}
# DeviceClasses of NVIDIA's DRA driver under which GPUs are handed out; others are for fabrics.
_DRA_CLASSES = frozenset({"gpu.nvidia.com", "mig.nvidia.com", "vfio.gpu.nvidia.com"})

_INSTANCE = "app.kubernetes.io/instance"
GPU_COUNT = "nvidia.com/gpu.count"


def servers(daemon_sets: Iterable[Object], device_classes: Iterable[Object] = ()) -> tuple[GpuServer, ...]:
    """All of others', by name."""
    found = [GpuServer(ref_of(item), does) for item in daemon_sets if (does := _does(item))]
    found += [
        GpuServer(ref_of(item), "lets pods claim whole GPUs or MIG devices by DRA")
        for item in device_classes
        if name(item) in _DRA_CLASSES or _selects_gpus(item)
    ]
    return tuple(sorted(found, key=lambda server: server.ref))


def _selects_gpus(device_class: Object) -> bool:
    """A class of anybody's that chooses among the GPUs of NVIDIA's driver."""
    return any(
        '"gpu.nvidia.com"' in ((one.get("cel") or {}).get("expression") or "").replace("'", '"')
        for one in spec(device_class).get("selectors") or ()
    )


def _does(item: Object) -> str | None:
    """What a DaemonSet does with NVIDIA's GPUs that no other one may do; None where nothing."""
    if any(owner["kind"] == "ClusterPolicy" for owner in item["metadata"].get("ownerReferences") or ()):
        return None
    pod = item["spec"]["template"]["spec"]
    containers = [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]
    words = set().union(*(_words(container) for container in containers)) if containers else set()
    for word, does in _SHARERS.items():
        if any(word in found for found in words):
            return does
    paths = [str((volume.get("hostPath") or {}).get("path", "")) for volume in pod.get("volumes") or ()]
    text = _evidence(item, pod)
    if _is_device_plugin(item, containers, paths, text):
        return "advertises GPUs of NVIDIA's to the kubelet"
    if any(_DRA_PLUGINS.search(path) for path in paths) and _NVIDIA.search(text) and _hands_out(containers):
        return "allocates NVIDIA's GPUs by DRA"
    return None


def _is_device_plugin(
    item: Object, containers: Iterable[Mapping[str, Any]], paths: Iterable[str], text: str
) -> bool:
    images = [_last(container.get("image", "")) for container in containers]
    if any(image in _IMAGES for image in images):
        return True
    if _OTHERS.search(text) and not re.search(r"nvidia\.com/|NVIDIA_", text):
        return False
    # NVIDIA's own name for it, which AMD has as well.
    if any(image in ("k8s-device-plugin", "device-plugin") for image in images) and _NVIDIA.search(text):
        return True
    if "k8s-device-plugin" in images and not _OTHERS.search(text):
        return True
    return any(_DEVICE_PLUGINS.search(path) for path in paths) and bool(_NVIDIA.search(text))


def _hands_out(containers: Iterable[Mapping[str, Any]]) -> bool:
    """NVIDIA's driver has a container for GPUs and one for fabrics, and may run either alone."""
    found = list(containers)
    return any(
        container.get("name") == "gpus" or "gpu-kubelet-plugin" in " ".join(_words(container))
        for container in found
    )


def _words(container: Mapping[str, Any]) -> set[str]:
    said = (*(container.get("command") or ()), *(container.get("args") or ()))
    return {_last(container.get("image", "")), str(container.get("name", "")), *map(str, said)}


def _last(image: str) -> str:
    """ "hami" of "registry:5000/projecthami/hami:v2.7.1@sha256:…"."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _evidence(item: Object, pod: Mapping[str, Any]) -> str:
    """All that a template says, but where it may run in spite of: others tolerate GPU nodes as well."""
    said = {key: value for key, value in pod.items() if key not in ("tolerations", "affinity")}
    about = {key: item["metadata"].get(key) for key in ("name", "labels")}
    return json.dumps((about, said))


def feature_discovery(daemon_sets: Iterable[Object], operators: Iterable[Release]) -> tuple[Object, ...]:
    """Workers of node-feature-discovery that no release of GPU Operator brought."""
    theirs = {release.name for release in operators}
    return tuple(
        item
        for item in daemon_sets
        if any(
            "nfd-worker" in _words(one) for one in item["spec"]["template"]["spec"].get("containers") or ()
        )
        and _release_of(item) not in theirs
    )


def _release_of(item: Object) -> str | None:
    """By helm's mark; by the chart's label where a tool renders it."""
    return annotations_of(item).get("meta.helm.sh/release-name") or labels(item).get(_INSTANCE)
