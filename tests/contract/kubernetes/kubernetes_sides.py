"""Kubernetes behind its port twice: in memory, and by the gateway on a real API server."""

from __future__ import annotations

import base64

from slicewise.gateways.kubernetes import KubernetesApi
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry

from tests.fakes.calls import Calls
from tests.fakes.clock import Clock
from tests.fakes.kube.kubernetes import KARPENTER_CRDS, FakeApiServer, FakeKubernetes

NAMESPACE = "contract"
ROLE = "arn:aws:iam::111122223333:role/somebody"
# A group of the stranger's, which may be bound to roles.
MEMBERS = f"system:serviceaccounts:{NAMESPACE}"


class InMemory:
    def __init__(self):
        self.server = FakeApiServer(Clock())
        self.server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        self.server.add_crds(*KARPENTER_CRDS)
        self.port = FakeKubernetes(self.server, Calls())

    def by_another_writer(self, item):
        self.server.apply(item, manager="somebody")

    def as_stranger(self):
        return FakeKubernetes(self.server, Calls(), lambda: AccessEntry(ROLE))

    def as_member(self):
        return FakeKubernetes(self.server, Calls(), lambda: AccessEntry(ROLE, (MEMBERS,)))

    def as_nobody(self):
        return FakeKubernetes(self.server, Calls(), lambda: None)

    def as_admin(self):
        return FakeKubernetes(
            self.server, Calls(), lambda: AccessEntry(ROLE, policies=(CLUSTER_ADMIN_POLICY,))
        )


class Real:
    def __init__(self, plane):
        self._plane = plane
        self._kube = plane.kube
        for name in (NAMESPACE,):
            self._kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for item in self._kube.list(f"/api/v1/namespaces/{NAMESPACE}/configmaps"):
            if item["metadata"]["name"] != "kube-root-ca.crt":
                self._kube.delete(
                    f"/api/v1/namespaces/{NAMESPACE}/configmaps/{item['metadata']['name']}", missing_ok=True
                )
        # The files that share the API server leave theirs.
        for kinds in (
            "/apis/karpenter.sh/v1alpha1/nodeoverlays",
            f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
        ):
            for item in self._kube.list(kinds):
                self._kube.delete(f"{kinds}/{item['metadata']['name']}", missing_ok=True)
        self.port = self._as(plane.admin_token)

    def by_another_writer(self, item):
        self._kube.apply(item, field_manager="somebody")

    def as_stranger(self):
        """A service account with no rights: known, and allowed nothing."""
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "stranger", "namespace": NAMESPACE},
        }
        self._kube.apply(account)
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/stranger/token"
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return self._as(self._kube.request("POST", path, asked)["status"]["token"])

    def as_member(self):
        return self.as_stranger()

    def as_nobody(self):
        return self._as("not-a-token")

    def as_admin(self):
        return self.port

    def _as(self, token):
        return KubernetesApi(self._plane.url, base64.b64encode(self._plane.ca_pem).decode(), lambda: token)
