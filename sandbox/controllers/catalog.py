"""
The real controllers that can run beside a control plane, one row each.

Each is what its project's release runs, built from the pinned Go module, with the CustomResourceDefinitions
and the roles of the same module. It runs as its own ServiceAccount with its project's roles, without leader
election, since there is one of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.cluster.program import Program

# Folders that a program's files are copied into.
DEFINITIONS, ROLES = "crds", "rbac"


class UnknownController(Exception):
    """Of a name that no row has; the message lists the names."""


@dataclass(frozen=True)
class Place:
    """
    What a controller's command line may name.

    Attributes:
        kubeconfig: With which it is its own ServiceAccount.
        certificates: A folder with `ca.crt`, `tls.crt` and `tls.key`, good for any server on 127.0.0.1.
        ports: Free ones, by the names that the row gives; `health` among them.
    """

    kubeconfig: Path
    certificates: Path
    ports: Mapping[str, int]

    def address(self, port: str) -> str:
        return f"127.0.0.1:{self.ports[port]}"


def _nothing(place: Place) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Controller:
    """
    Attributes:
        program: How it is built; its `copies` have DEFINITIONS and ROLES.
        namespace: Where its project installs it.
        account: The ServiceAccount of its pods, as its roles name it.
        ports: What it listens on; at `health`, `/readyz` says when it is ready.
        arguments: Of its command.
        environment: Beside what every process here gets.
    """

    program: Program
    namespace: str
    account: str
    ports: tuple[str, ...]
    arguments: Callable[[Place], Sequence[str | Path]]
    environment: Callable[[Place], Mapping[str, str]] = _nothing

    @property
    def name(self) -> str:
        return self.program.name


def _kuberay(place: Place) -> Sequence[str | Path]:
    return [
        f"-kubeconfig={place.kubeconfig}",
        "-enable-leader-election=false",
        f"-metrics-addr={place.address('metrics')}",
        f"-health-probe-bind-address={place.address('health')}",
        "-log-stdout-encoder=console",
    ]


KUBERAY = Controller(
    Program(
        name="kuberay",
        title="KubeRay",
        module="github.com/ray-project/kuberay/ray-operator",
        package="",
        minutes=3.5,
        copies={
            DEFINITIONS: ("config/crd/bases/*.yaml",),
            ROLES: (
                "config/rbac/service_account.yaml",
                "config/rbac/role.yaml",
                "config/rbac/role_binding.yaml",
            ),
        },
    ),
    namespace="ray-system",
    account="kuberay-operator",
    ports=("health", "metrics"),
    arguments=_kuberay,
)


def _keda(place: Place) -> Sequence[str | Path]:
    return [
        f"--kubeconfig={place.kubeconfig}",
        f"--metrics-bind-address={place.address('metrics')}",
        f"--health-probe-bind-address={place.address('health')}",
        f"--metrics-service-bind-address={place.address('metrics-service')}",
        f"--cert-dir={place.certificates}",
        "--enable-cert-rotation=false",
        # Neither its webhooks nor its metrics adapter is here.
        "--enable-webhook-patching=false",
        "--enable-apiservice-patching=false",
        "--zap-encoder=console",
    ]


# The operator alone: it scales to 0 and from 0, and pauses. Above 1 an HPA scales, by what KEDA's metrics
# adapter says, which is not here.
KEDA = Controller(
    Program(
        name="keda",
        title="KEDA's operator",
        module="github.com/kedacore/keda/v2",
        package="cmd/operator",
        minutes=10,
        stamp="github.com/kedacore/keda/v2/version.Version",
        copies={
            DEFINITIONS: ("config/crd/bases/*.yaml",),
            ROLES: (
                "config/service_account/service_account.yaml",
                "config/rbac/role.yaml",
                "config/rbac/role_binding.yaml",
            ),
        },
    ),
    namespace="keda",
    account="keda-operator",
    ports=("health", "metrics", "metrics-service"),
    arguments=_keda,
    environment=lambda place: {
        "WATCH_NAMESPACE": "",
        "POD_NAMESPACE": "keda",
        "POD_NAME": "keda-operator",
        "KEDA_CLUSTER_OBJECT_NAMESPACE": "keda",
    },
)

CONTROLLERS: Mapping[str, Controller] = {row.name: row for row in (KUBERAY, KEDA)}

# Built by `make test`; all others on demand.
IN_EVERY_TEST_RUN = (KUBERAY,)


def named(name: str) -> Controller:
    """
    Raises:
        UnknownController: No row has this name.
    """
    if name not in CONTROLLERS:
        raise UnknownController(f"no controller {name!r}: there are {', '.join(CONTROLLERS)}")
    return CONTROLLERS[name]


def listed(names: str) -> tuple[Controller, ...]:
    """
    Those of "kuberay,keda", in that order, each once; all of them for "all".

    Raises:
        UnknownController: No row has one of the names.
    """
    if names == "all":
        return tuple(CONTROLLERS.values())
    return tuple(dict.fromkeys(named(name.strip()) for name in names.split(",")))
