"""
The real controllers that can run beside a control plane, one row each.

Each is what its project's release runs, built from the pinned Go module, with the CustomResourceDefinitions
and the roles of the same module. It runs as its own ServiceAccount with its project's roles, without leader
election, since there is one of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.artifacts.program import Program
from sandbox.cluster.client import KubeClient
from sandbox.controllers.slurmrestd_stand_in import SlurmrestdStandIn
from sandbox.rows import row_named

# Folders that a program's files are copied into.
DEFINITIONS, ROLES, WEBHOOKS, APIS, OBJECTS = "crds", "rbac", "webhooks", "apis", "objects"


@dataclass(frozen=True)
class Place:
    """
    What a controller's command line may name.

    Attributes:
        kubeconfig: With which it is its own ServiceAccount.
        folder: Its own, with `ca.crt`, `tls.crt` and `tls.key`, good for any server on 127.0.0.1 and for its
            clients, and with the row's configuration. As TMPDIR it has them where controller-runtime looks
            when it is not told.
        ports: Free ones, by the names that the row gives; `health` among them.
    """

    kubeconfig: Path
    folder: Path
    ports: Mapping[str, int]

    def address(self, port: str) -> str:
        return f"127.0.0.1:{self.ports[port]}"

    def joined(self, ports: Mapping[str, int]) -> Place:
        """The same for a row that joins it, which has these ports of its own."""
        return Place(self.kubeconfig, self.folder, {**self.ports, **ports})


def _nothing(place: Place) -> Mapping[str, Any]:
    return {}


def _as_it_is(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return item


@dataclass(frozen=True)
class Controller:
    """
    Attributes:
        program: How it is built; its `copies` have DEFINITIONS and ROLES, WEBHOOKS and APIS where it has
            some, and as OBJECTS what else its project's installation applies.
        joins: The row of its project that is started before it. It has that one's account, folder and
            definitions, and knows its ports too, but for those that it has itself by the same name.
        namespace: Where its project installs it.
        account: The ServiceAccount of its pods.
        ports: What it listens on; at `health`, `ready_path` says when it is ready, `webhooks` is where its
            webhooks are, and `api` where it serves what APIS have the API server pass on.
        arguments: Of its command.
        environment: Beside what every process here gets.
        prefix: What its project's installation puts before each name of its roles and webhooks.
        configuration: What `config.json` in its folder says; nothing where it reads none.
        adapted: One of OBJECTS, with what is set here otherwise than its project sets it.
        ready_path: Answered by HTTP once it is ready.
        gets: The ClusterRole of ROLES that its account has, where only a Helm chart of its project says so.
        stand_in: For a program that it asks and that is not here; at its port `beside`, until all end.
    """

    program: Program
    namespace: str
    account: str
    ports: tuple[str, ...]
    arguments: Callable[[Place], Sequence[str | Path]]
    environment: Callable[[Place], Mapping[str, str]] = _nothing
    prefix: str = ""
    configuration: Callable[[Place], Mapping[str, Any]] = _nothing
    adapted: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _as_it_is
    ready_path: str = "/readyz"
    gets: str = ""
    stand_in: Callable[[KubeClient, int], AbstractContextManager[Any]] | None = None
    joins: str = ""

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
        f"--cert-dir={place.folder}",
        "--enable-cert-rotation=false",
        # Its webhooks are not here, and the APIService of its adapter has no certificate to be kept in step.
        "--enable-webhook-patching=false",
        "--enable-apiservice-patching=false",
        "--zap-encoder=console",
    ]


# The operator alone: it scales to 0 and from 0, and pauses. Above 1 an HPA scales, by what KEDA_ADAPTER says.
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


def _keda_adapter(place: Place) -> Sequence[str | Path]:
    return [
        f"--kubeconfig={place.kubeconfig}",
        f"--lister-kubeconfig={place.kubeconfig}",
        f"--authentication-kubeconfig={place.kubeconfig}",
        f"--authorization-kubeconfig={place.kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={place.ports['api']}",
        f"--port={place.ports['health']}",
        f"--metrics-service-address={place.address('metrics-service')}",
        f"--cert-dir={place.folder}",
        f"--tls-cert-file={place.folder / 'tls.crt'}",
        f"--tls-private-key-file={place.folder / 'tls.key'}",
        "--zap-encoder=console",
    ]


# It serves external.metrics.k8s.io: an HPA asks it through the API server, and it asks the operator by gRPC,
# each with a certificate.
KEDA_ADAPTER = Controller(
    Program(
        name="keda-adapter",
        title="KEDA's metrics adapter",
        module="github.com/kedacore/keda/v2",
        package="cmd/adapter",
        minutes=6,
        stamp="github.com/kedacore/keda/v2/version.Version",
        copies={
            ROLES: ("config/metrics-server/role.yaml", "config/metrics-server/role_binding.yaml"),
            APIS: ("config/metrics-server/service.yaml", "config/metrics-server/api_service.yaml"),
        },
        # Its own metrics would be at every address of the machine, and no flag says otherwise.
        edits={'":%v", metricsAPIServerPort': '"127.0.0.1:%v", metricsAPIServerPort'},
    ),
    joins="keda",
    namespace="keda",
    account="keda-operator",
    ports=("health", "api"),
    # Served by plain HTTP beside the API, whose own health wants TLS.
    ready_path="/metrics",
    arguments=_keda_adapter,
    environment=KEDA.environment,
)


def _kueue_configuration(place: Place) -> Mapping[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": "kueue-system",
        "health": {"healthProbeBindAddress": place.address("health")},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": place.ports["webhooks"], "certDir": str(place.folder)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "clientConnection": {"qps": 50, "burst": 100},
        # Of what its project's configuration lists, those whose kinds are here.
        "integrations": {
            "frameworks": [
                "batch/job",
                "ray.io/rayjob",
                "ray.io/raycluster",
                "ray.io/rayservice",
                "pod",
                "deployment",
                "statefulset",
            ]
        },
    }


KUEUE = Controller(
    Program(
        name="kueue",
        title="Kueue",
        module="sigs.k8s.io/kueue",
        package="cmd/kueue",
        minutes=6,
        stamp="sigs.k8s.io/kueue/pkg/version.GitVersion",
        copies={
            DEFINITIONS: ("config/components/crd/bases/*.yaml",),
            ROLES: (
                "config/components/rbac/service_account.yaml",
                "config/components/rbac/role.yaml",
                "config/components/rbac/role_binding.yaml",
                "config/components/rbac/manager_secrets_role.yaml",
                "config/components/rbac/manager_secrets_role_binding.yaml",
            ),
            WEBHOOKS: (
                "config/components/webhook/manifests.yaml",
                "config/components/webhook/kustomization.yaml",
            ),
        },
        # Where it looks for the certificate of its metrics, which nothing else says.
        edits={'"/etc/kueue/metrics/certs"': 'os.Getenv("KUEUE_METRICS_CERTIFICATES")'},
    ),
    namespace="kueue-system",
    account="kueue-controller-manager",
    prefix="kueue-",
    ports=("health", "webhooks"),
    # Its visibility server wants an aggregated API, which is not here.
    arguments=lambda place: [
        f"--config={place.folder / 'config.json'}",
        "--feature-gates=VisibilityOnDemand=false",
        "--zap-encoder=console",
    ],
    environment=lambda place: {
        "KUBECONFIG": str(place.kubeconfig),
        "KUEUE_METRICS_CERTIFICATES": str(place.folder),
        "POD_NAMESPACE": "kueue-system",
    },
    configuration=_kueue_configuration,
)

ARGO_ROLLOUTS = Controller(
    Program(
        name="argo-rollouts",
        title="Argo Rollouts",
        module="github.com/argoproj/argo-rollouts",
        package="cmd/rollouts-controller",
        minutes=8,
        copies={
            DEFINITIONS: ("manifests/crds/*-crd.yaml",),
            ROLES: (
                "manifests/base/argo-rollouts-sa.yaml",
                "manifests/role/argo-rollouts-clusterrole.yaml",
                "manifests/cluster-install/argo-rollouts-clusterrolebinding.yaml",
            ),
        },
        # Both its servers listen there, at every address of the machine.
        module_edits={"controller/controller.go": ('"0.0.0.0:%d"', '"127.0.0.1:%d"')},
    ),
    namespace="argo-rollouts",
    account="argo-rollouts",
    ports=("health", "metrics"),
    ready_path="/healthz",
    arguments=lambda place: [
        f"--kubeconfig={place.kubeconfig}",
        "--leader-elect=false",
        f"--metricsPort={place.ports['metrics']}",
        f"--healthzPort={place.ports['health']}",
    ],
)


def _by_its_configuration(place: Place) -> Sequence[str | Path]:
    return [f"--config={place.folder / 'config.json'}", "--zap-encoder=console"]


def _common_configuration(group: str) -> Callable[[Place], Mapping[str, Any]]:
    """What LeaderWorkerSet and JobSet read: one shape, each in its own group."""
    return lambda place: {
        "apiVersion": f"{group}/v1alpha1",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": place.address("health")},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": place.ports["webhooks"], "certDir": str(place.folder)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
    }


LWS = Controller(
    Program(
        name="lws",
        title="LeaderWorkerSet",
        module="sigs.k8s.io/lws",
        package="cmd",
        minutes=3,
        stamp="sigs.k8s.io/lws/pkg/version.GitVersion",
        copies={
            DEFINITIONS: ("config/crd/bases/*.yaml",),
            ROLES: (
                "config/rbac/service_account.yaml",
                "config/rbac/role.yaml",
                "config/rbac/role_binding.yaml",
            ),
            WEBHOOKS: ("config/webhook/manifests.yaml", "config/webhook/*-patch.yaml"),
        },
    ),
    namespace="lws-system",
    account="lws-controller-manager",
    prefix="lws-",
    ports=("health", "webhooks"),
    arguments=_by_its_configuration,
    # It has no flag for a kubeconfig of its own.
    environment=lambda place: {"KUBECONFIG": str(place.kubeconfig)},
    configuration=_common_configuration("config.lws.x-k8s.io"),
)

JOBSET = Controller(
    Program(
        name="jobset",
        title="JobSet",
        module="sigs.k8s.io/jobset",
        package="",
        minutes=3,
        stamp="sigs.k8s.io/jobset/pkg/version.GitVersion",
        copies={
            DEFINITIONS: ("config/components/crd/bases/*.yaml",),
            ROLES: (
                "config/components/rbac/service_account.yaml",
                "config/components/rbac/role.yaml",
                "config/components/rbac/role_binding.yaml",
            ),
            WEBHOOKS: (
                "config/components/webhook/manifests.yaml",
                "config/components/webhook/patches/*-patch.yaml",
            ),
        },
    ),
    namespace="jobset-system",
    account="jobset-controller-manager",
    prefix="jobset-",
    ports=("health", "webhooks"),
    arguments=_by_its_configuration,
    environment=lambda place: {"KUBECONFIG": str(place.kubeconfig)},
    configuration=_common_configuration("config.jobset.x-k8s.io"),
)


def _kserve_object(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its ConfigMap: without Knative, so that what names no mode is a Deployment."""
    return {**item, "data": {**item["data"], "deploy": json.dumps({"defaultDeploymentMode": "Standard"})}}


# Without Knative, Istio and a Gateway API, and without its agents on nodes and its LLMInferenceService,
# which are commands of their own.
KSERVE = Controller(
    Program(
        name="kserve",
        title="KServe",
        module="github.com/kserve/kserve",
        package="cmd/manager",
        minutes=8,
        copies={
            DEFINITIONS: ("config/crd/full/serving.kserve.io_*.yaml",),
            ROLES: (
                "config/rbac/service_account.yaml",
                "config/rbac/role.yaml",
                "config/rbac/role_binding.yaml",
            ),
            WEBHOOKS: ("config/webhook/manifests.yaml",),
            OBJECTS: ("config/configmap/inferenceservice.yaml",),
        },
        # Its webhooks would be at every address of the machine, and no flag says otherwise.
        edits={"Port: options.webhookPort,": 'Host: os.Getenv("WEBHOOK_HOST"), Port: options.webhookPort,'},
    ),
    namespace="kserve",
    account="kserve-controller-manager",
    ports=("health", "metrics", "webhooks"),
    arguments=lambda place: [
        f"--metrics-addr={place.address('metrics')}",
        f"--health-probe-addr={place.address('health')}",
        f"--webhook-port={place.ports['webhooks']}",
        "--zap-encoder=console",
    ],
    environment=lambda place: {
        "KUBECONFIG": str(place.kubeconfig),
        "TMPDIR": str(place.folder),
        "WEBHOOK_HOST": "127.0.0.1",
        "POD_NAMESPACE": "kserve",
    },
    adapted=_kserve_object,
)


def _trainer_configuration(place: Place) -> Mapping[str, Any]:
    return {
        "apiVersion": "config.trainer.kubeflow.org/v1alpha1",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": place.address("health")},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": place.ports["webhooks"]},
        "leaderElection": {"leaderElect": False},
        "certManagement": {"enable": False},
        "clientConnection": {"qps": 50, "burst": 100},
    }


# It makes a JobSet of each TrainJob: JobSet's definitions must be there before it, and its controller, if
# pods are to run.
TRAINER = Controller(
    Program(
        name="trainer",
        title="Kubeflow Trainer",
        module="github.com/kubeflow/trainer/v2",
        package="cmd/trainer-controller-manager",
        minutes=5,
        copies={
            DEFINITIONS: ("manifests/base/crds/trainer.kubeflow.org_*.yaml",),
            ROLES: ("manifests/base/rbac/role*.yaml", "manifests/base/rbac/service_account.yaml"),
            WEBHOOKS: ("manifests/base/webhook/manifests.yaml",),
            OBJECTS: ("manifests/base/runtimes/torch_distributed.yaml",),
        },
    ),
    namespace="kubeflow-system",
    account="kubeflow-trainer-controller-manager",
    ports=("health", "webhooks"),
    arguments=_by_its_configuration,
    environment=lambda place: {"KUBECONFIG": str(place.kubeconfig), "TMPDIR": str(place.folder)},
    configuration=_trainer_configuration,
)

# It runs PyTorchJobs and their like: kinds of kubeflow.org/v1.
TRAINING_OPERATOR = Controller(
    Program(
        name="training-operator",
        title="Kubeflow's training operator",
        module="github.com/kubeflow/training-operator",
        package="cmd/training-operator.v1",
        minutes=5,
        copies={
            DEFINITIONS: ("manifests/base/crds/kubeflow.org_*.yaml",),
            ROLES: (
                "manifests/base/rbac/service-account.yaml",
                "manifests/base/rbac/role.yaml",
                "manifests/base/rbac/cluster-role-binding.yaml",
            ),
            WEBHOOKS: ("manifests/base/webhook/manifests.yaml",),
        },
        # Its webhooks would be at every address of the machine, and wait for a kubelet to mount the
        # certificate that it writes into a Secret. No flag says otherwise.
        edits={
            "Port: webhookServerPort,": 'Host: os.Getenv("WEBHOOK_HOST"), Port: webhookServerPort,',
            "cert.ManageCerts(mgr, certGenerationConfig, certsReady)": (
                "func(cert.Config) error { return nil }(certGenerationConfig)"
            ),
            "defer close(certsReady)": "close(certsReady)",
        },
    ),
    namespace="kubeflow",
    account="training-operator",
    ports=("health", "metrics", "webhooks"),
    arguments=lambda place: [
        f"--metrics-bind-address={place.address('metrics')}",
        f"--health-probe-bind-address={place.address('health')}",
        f"--webhook-server-port={place.ports['webhooks']}",
        "--zap-encoder=console",
    ],
    environment=lambda place: {
        "KUBECONFIG": str(place.kubeconfig),
        "TMPDIR": str(place.folder),
        "WEBHOOK_HOST": "127.0.0.1",
    },
)

# Without its webhooks, a command of their own, which refuse a NodeSet without an update strategy. Slurm's
# daemons are not here: slurmrestd, which it asks about each node, is a stand-in.
SLURM = Controller(
    Program(
        name="slurm",
        title="SchedMD's Slurm operator",
        module="github.com/SlinkyProject/slurm-operator",
        package="cmd/manager",
        minutes=4,
        copies={
            DEFINITIONS: ("config/crd/bases/*.yaml",),
            ROLES: ("config/rbac/role.yaml",),
        },
    ),
    namespace="slinky",
    account="slurm-operator",
    gets="manager-role",
    prefix="slurm-",
    ports=("health", "metrics", "beside"),
    stand_in=SlurmrestdStandIn,
    environment=lambda place: {"HTTP_PROXY": f"http://{place.address('beside')}"},
    arguments=lambda place: [
        f"--kubeconfig={place.kubeconfig}",
        f"--metrics-addr={place.address('metrics')}",
        f"--health-addr={place.address('health')}",
        "--zap-encoder=console",
    ],
)

CONTROLLERS: Mapping[str, Controller] = {
    row.name: row
    for row in (
        *(KUBERAY, KEDA, KEDA_ADAPTER, KUEUE, ARGO_ROLLOUTS, LWS, JOBSET),
        *(KSERVE, TRAINER, TRAINING_OPERATOR, SLURM),
    )
}

# Built by `make test`; all others on demand.
IN_EVERY_TEST_RUN = (KUBERAY,)


def named(name: str) -> Controller:
    """
    Raises:
        UnknownName: No row has this name.
    """
    return row_named(CONTROLLERS, name, "controller")


def rows(names: Iterable[str]) -> tuple[Controller, ...]:
    """
    Those with these names, in that order, each once and after the one that it joins.

    Raises:
        UnknownName: No row has one of the names.
    """
    found = (named(name) for name in names)
    return tuple(dict.fromkeys(each for row in found for each in _after_what_it_joins(row)))


def _after_what_it_joins(row: Controller) -> tuple[Controller, ...]:
    return (named(row.joins), row) if row.joins else (row,)


def listed(names: str) -> tuple[Controller, ...]:
    """
    Those of "kuberay,keda", as `rows` has them; all of them for "all".

    Raises:
        UnknownName: No row has one of the names.
    """
    return rows(CONTROLLERS if names == "all" else (name.strip() for name in names.split(",")))
