"""
How long a pod's turn on a GPU is: the driver's compute policy, set by an optional DaemonSet. Pure.

Neither the device plugin nor the GPU Operator sets it. It is kept until the node reboots, so it is set again
and again; a DaemonSet that is deleted sets the driver's own default. docs/time_slice.md says what is known of
it.
"""

from __future__ import annotations

from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.objects import stamped
from slicewise.kube.ref import Object, Ref
from slicewise.policy.model import Policy, Pool, Sharing, TimeSlice
from slicewise.pools import layout

NAME = "slicewise-time-slice"
# Any image with a shell and glibc: the container runtime adds nvidia-smi.
IMAGE = "public.ecr.aws/amazonlinux/amazonlinux:2023-minimal"
AGAIN_SECONDS = 300

# As nvidia-smi counts them (dra-driver-nvidia-gpu, cmd/gpu-kubelet-plugin/nvlib.go, setTimeSlice).
_LENGTHS = {TimeSlice.DEFAULT: 0, TimeSlice.SHORT: 1, TimeSlice.MEDIUM: 2, TimeSlice.LONG: 3}
# A time slice has a meaning only in compute mode DEFAULT; `wait` lets the trap run at once.
_SCRIPT = """\
set_all() {
  for gpu in $(nvidia-smi --query-gpu=uuid --format=csv,noheader); do
    nvidia-smi -i "$gpu" -c DEFAULT && nvidia-smi compute-policy -i "$gpu" --set-timeslice "$1" || return 1
  done
}
trap 'set_all 0; exit 0' TERM
while :; do
  set_all "$TIME_SLICE" || echo "the driver refused; trying again in $AGAIN_SECONDS s"
  sleep "$AGAIN_SECONDS" & wait $!
done
"""


def daemon_sets(policy: Policy) -> tuple[Object, ...]:
    """One for each pool that asks for another length than the driver's own."""
    return tuple(_daemon_set(pool) for pool in policy.pools if _is_wanted(pool))


def surplus(policy: Policy, live: tuple[Ref, ...]) -> tuple[Ref, ...]:
    """Of our live DaemonSets those that no pool asks for any longer."""
    wanted = {_name(pool) for pool in policy.pools if _is_wanted(pool)}
    return tuple(
        ref
        for ref in live
        if (ref.kind, ref.namespace) == ("DaemonSet", layout.OPERATOR_NAMESPACE)
        and ref.name.startswith(f"{NAME}-")
        and ref.name not in wanted
    )


def _is_wanted(pool: Pool) -> bool:
    return pool.sharing is Sharing.TIME_SLICING and pool.time_slice is not TimeSlice.DEFAULT


def _name(pool: Pool) -> str:
    return f"{NAME}-{pool.name}"


def _daemon_set(pool: Pool) -> Object:
    labels = {"app.kubernetes.io/name": NAME, POOL_LABEL: pool.name}
    environment = {
        "NVIDIA_VISIBLE_DEVICES": "all",  # requests no slice, sees every GPU
        "NVIDIA_DRIVER_CAPABILITIES": "utility",
        "TIME_SLICE": str(_LENGTHS[pool.time_slice]),
        "AGAIN_SECONDS": str(AGAIN_SECONDS),
    }
    container = {
        "name": "time-slice",
        "image": IMAGE,
        "command": ["/bin/sh", "-c", _SCRIPT],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {"privileged": True},  # the compute policy is root's
    }
    return stamped(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": _name(pool), "namespace": layout.OPERATOR_NAMESPACE, "labels": labels},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "automountServiceAccountToken": False,
                        "runtimeClassName": "nvidia",
                        "nodeSelector": {POOL_LABEL: pool.name},
                        "tolerations": layout.TOLERATIONS,
                        "terminationGracePeriodSeconds": 30,
                        "containers": [container],
                    },
                },
            },
        }
    )
