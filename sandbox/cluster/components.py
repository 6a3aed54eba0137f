"""
The command line of each part of the control plane, with the reason of each odd flag.

Pure: paths and ports in, arguments out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sandbox.cluster.pki import FRONT_PROXY, Pki

# The controllers that clusters here need, without cloud, volumes, certificates, and the one that evicts for
# taints: on a busy machine it sees a pod on a new node before it sees that Karpenter has taken the node's
# NoExecute taint `karpenter.sh/unregistered` away, and deletes the pod.
CONTROLLERS = (
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "garbage-collector-controller",
    "deployment-controller",
    "replicaset-controller",
    "daemonset-controller",
    "statefulset-controller",
    "job-controller",
    "cronjob-controller",
    "disruption-controller",
    "pod-garbage-collector-controller",
    "resourcequota-controller",
    "horizontal-pod-autoscaler-controller",
    "node-lifecycle-controller",
    "clusterrole-aggregation-controller",
    "ttl-after-finished-controller",
)
# What EKS's Karpenter chart passes, with the one gate in question (Karpenter 1.14).
FEATURE_GATES = (
    "ReservedCapacity=true,SpotToSpotConsolidation=false,NodeRepair=false,"
    "NodeOverlay={overlay},StaticCapacity=false,CapacityBuffer=false"
)

# These processes are many and small, and cores are short: Go looks for garbage once memory is five times as
# large, not twice, and spends no time on spreading little work over all cores.
SPARING = {"GOGC": "400", "GOMAXPROCS": "1"}
# Five times as large is 20 GB where 50,000 pods are held.
LARGE = {"GOGC": "100"}


@dataclass(frozen=True)
class Ports:
    api: int
    etcd: int
    etcd_peer: int
    controller_manager: int
    scheduler: int
    kwok: int
    karpenter_metrics: int
    karpenter_health: int


@dataclass(frozen=True)
class Layout:
    """Where one control plane keeps its things, and on which ports it listens."""

    folder: Path
    ports: Ports
    pki: Pki

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports.api}"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def kubeconfig(self, user: str) -> Path:
        return self.folder / "kubeconfigs" / user


def etcd(layout: Layout) -> list[str]:
    client = f"http://127.0.0.1:{layout.ports.etcd}"
    peer = f"http://127.0.0.1:{layout.ports.etcd_peer}"
    return [
        "etcd",
        "--name=sandbox",
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=sandbox={peer}",
        "--unsafe-no-fsync",  # the data need not survive
        "--log-level=warn",
        "--quota-backend-bytes=4294967296",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=5m",
    ]


def apiserver(layout: Layout, webhook_config: Path | None, webhook_cache_ttl: str) -> list[str]:
    key = layout.pki.service_account_key
    command = [
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{layout.ports.etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # it refuses a loopback address
        f"--secure-port={layout.ports.api}",
        f"--tls-cert-file={layout.pki.serving_certificate}",
        f"--tls-private-key-file={layout.pki.serving_key}",
        "--authorization-mode=RBAC",
        f"--token-auth-file={layout.folder / 'tokens.csv'}",
        f"--service-account-issuer={layout.url}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--allow-privileged=true",  # the GPU Operator's DaemonSets are
        *_front_proxy(layout.pki),
        # Nobody here asks so much that some must wait for others; to queue each request costs a tenth of it.
        "--enable-priority-and-fairness=false",
        "--max-requests-inflight=1600",
        "--max-mutating-requests-inflight=800",
        "--profiling=false",
        f"--audit-policy-file={layout.folder / 'audit-policy.json'}",
        f"--audit-log-path={layout.audit_log}",
        # Blocking: a request that was answered is in the file.
        "--audit-log-mode=blocking",
    ]
    if webhook_config:
        command += [
            f"--authentication-token-webhook-config-file={webhook_config}",
            "--authentication-token-webhook-version=v1",
            f"--authentication-token-webhook-cache-ttl={webhook_cache_ttl}",
        ]
    return command


def _front_proxy(pki: Pki) -> list[str]:
    """
    How it passes a request on to an aggregated API server: in its own name, with the asker's in headers. That
    one finds the authority and the headers in the ConfigMap extension-apiserver-authentication.
    """
    return [
        f"--requestheader-client-ca-file={pki.front_proxy_ca}",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki.front_proxy_certificate}",
        f"--proxy-client-key-file={pki.front_proxy_key}",
    ]


def controller_manager(layout: Layout) -> list[str]:
    return [
        "kube-controller-manager",
        *_client_flags(layout, "kube-controller-manager"),
        f"--secure-port={layout.ports.controller_manager}",
        f"--service-account-private-key-file={layout.pki.service_account_key}",
        f"--root-ca-file={layout.pki.ca}",
        # Its own user may do too little: ClusterRole aggregation and the CA's publisher fail.
        "--use-service-account-credentials=true",
        "--controllers=" + ",".join(CONTROLLERS),
    ]


def scheduler(layout: Layout) -> list[str]:
    return [
        "kube-scheduler",
        *_client_flags(layout, "kube-scheduler"),
        f"--secure-port={layout.ports.scheduler}",
    ]


def kwok(layout: Layout) -> list[str]:
    return [
        "kwok",
        f"--kubeconfig={layout.kubeconfig('kwok')}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--config={layout.folder / 'stages.yaml'}",
        "--node-ip=127.0.0.1",
        f"--server-address=127.0.0.1:{layout.ports.kwok}",
        "--node-lease-duration-seconds=40",
        "--cidr=10.64.0.0/10",
    ]


def karpenter_environment(layout: Layout, gates: str, types: Path, labels: Path) -> dict[str, str]:
    """Karpenter takes all of its settings from the environment; there is no `--kubeconfig`."""
    return {
        **SPARING,
        "KUBECONFIG": str(layout.kubeconfig("karpenter")),
        "DISABLE_LEADER_ELECTION": "true",
        "FEATURE_GATES": gates,
        "METRICS_PORT": str(layout.ports.karpenter_metrics),
        "HEALTH_PROBE_PORT": str(layout.ports.karpenter_health),
        "BATCH_IDLE_DURATION": "1s",
        "BATCH_MAX_DURATION": "10s",
        "LOG_LEVEL": "info",
        "KUBE_CLIENT_QPS": "200",
        "KUBE_CLIENT_BURST": "300",
        "INSTANCE_TYPES_FILE_PATH": str(types),
        "INSTANCE_LABELS_FILE_PATH": str(labels),
        "SYSTEM_NAMESPACE": "kube-system",
    }


def feature_gates(node_overlay: bool) -> str:
    return FEATURE_GATES.format(overlay=str(node_overlay).lower())


def kubeconfig(url: str, ca: Path, user: str, token: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "sandbox",
            "clusters": [{"name": "sandbox", "cluster": {"server": url, "certificate-authority": str(ca)}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user}}],
        },
        indent=1,
    )


def webhook_config(url: str, ca: Path) -> str:
    """In the form of a kubeconfig, as the API server wants it."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "webhook",
            "clusters": [{"name": "tokens", "cluster": {"server": url, "certificate-authority": str(ca)}}],
            "users": [{"name": "apiserver"}],
            "contexts": [{"name": "webhook", "context": {"cluster": "tokens", "user": "apiserver"}}],
        },
        indent=1,
    )


def audit_policy() -> str:
    """Who asked what and got which code, without bodies; the control plane's own chatter is left out."""
    return json.dumps(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [
                {
                    "level": "None",
                    "users": [
                        "kwok",
                        "system:apiserver",
                        "system:kube-controller-manager",
                        "system:kube-scheduler",
                    ],
                },
                # The controller manager's controllers act as service accounts of kube-system.
                {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
                {"level": "Metadata"},
            ],
        },
        indent=1,
    )


def _client_flags(layout: Layout, user: str) -> list[str]:
    config = layout.kubeconfig(user)
    return [
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        # There is no client CA, and no more than their health is asked of them.
        "--authentication-skip-lookup=true",
        "--bind-address=127.0.0.1",
        f"--tls-cert-file={layout.pki.serving_certificate}",
        f"--tls-private-key-file={layout.pki.serving_key}",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]
