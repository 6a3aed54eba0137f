"""helm's releases in memory and those of the real helm on a real API server, held to the same behaviour."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from slicewise.errors import Refused, Unavailable
from slicewise.gateways.helm import HelmCli
from slicewise.gateways.kubernetes import KubernetesApi
from slicewise.kube.ref import Ref
from slicewise.model.cluster import EksCluster
from slicewise.planning.eks_actions import RollbackRelease
from slicewise.ports import Ports
from slicewise.reconcile.executor import ActionExecutor
from slicewise.trigger import DeploymentScope, Trigger

from sandbox.artifacts import versions
from tests.fakes.calls import Calls
from tests.fakes.clock import START, Clock
from tests.fakes.kube.helm import FakeHelm, FakeReleases
from tests.fakes.kube.kubernetes import FakeApiServer, FakeKubernetes

PLACE = ("gpu-operator", "gpu-operator")
OPERATOR = Ref("apps/v1", "Deployment", *PLACE)
HOME = DeploymentScope("111122223333", "eu-west-1")
VALUES = {"operator": {"upgradeCRD": False}, "mig": {"strategy": "mixed"}}


class InMemory:
    chart, version = "charts/gpu-operator-v26.7.0.tgz", "v26.7.0"

    def __init__(self):
        self.began = START
        server = FakeApiServer(Clock())
        server.add_crds("clusterpolicies.nvidia.com")
        self.kubernetes = FakeKubernetes(server, Calls())
        self.releases = FakeReleases(server)
        self.port = FakeHelm(self.releases, Calls(), self.kubernetes)

    def leave_pending(self):
        kept = self.releases.revisions.setdefault(PLACE, [])
        newest = kept[-1] if kept else None
        status = "pending-upgrade" if newest else "pending-install"
        from slicewise.model.cluster import Release

        base = newest or Release(*PLACE, 0, "", "gpu-operator", self.version)
        kept.append(replace(base, revision=len(kept) + 1, status=status))


class Real:
    """`leave_pending` writes the release that a helm killed half-way leaves behind."""

    def __init__(self, plane, chart, helm, folder):
        self.chart, self.version = str(chart.path), chart.version
        self.began = datetime.now(UTC) - timedelta(seconds=1)
        self._kube = plane.kube
        cluster = EksCluster(
            HOME.arn("a"),
            "a",
            HOME.region,
            HOME.account,
            "ACTIVE",
            versions.chosen().minor,
            "API",
            START,
            endpoint=plane.url,
            ca_data=base64.b64encode(plane.ca_pem).decode(),
        )
        token = lambda: plane.admin_token  # noqa: E731
        self.kubernetes = KubernetesApi.of(cluster, token)
        self.port = HelmCli(helm, cluster, token, self.kubernetes, charts=folder)
        for crd in self.port.chart_crds(self.chart, self.version):
            self.kubernetes.apply(crd)
        self.port.uninstall(*PLACE)

    def leave_pending(self):
        self._kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLACE[1]}})
        secrets = self._kube.list(f"/api/v1/namespaces/{PLACE[1]}/secrets", labelSelector="owner=helm")
        if not secrets:
            self.port.upgrade(*PLACE, self.chart, self.version, VALUES)
            [secret] = self._kube.list(f"/api/v1/namespaces/{PLACE[1]}/secrets", labelSelector="owner=helm")
            self._write(secret, 1, "pending-install")
            return
        newest = max(secrets, key=lambda secret: int(secret["metadata"]["labels"]["version"]))
        self._write(newest, int(newest["metadata"]["labels"]["version"]) + 1, "pending-upgrade")

    def _write(self, secret, revision, status):
        kept = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
        kept["version"], kept["info"]["status"] = revision, status
        packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(kept).encode()))).decode()
        labels = secret["metadata"]["labels"] | {"version": str(revision), "status": status}
        self._kube.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": secret["type"],
                "metadata": {
                    "name": f"sh.helm.release.v1.{PLACE[0]}.v{revision}",
                    "namespace": PLACE[1],
                    "labels": labels,
                },
                "data": {"release": packed},
            }
        )


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    from sandbox.cluster.control_plane import ControlPlane

    with ControlPlane.start(tmp_path_factory.mktemp("helm"), karpenter=False, system_nodes=0) as running:
        yield running


@pytest.fixture(params=["fake", pytest.param("gateway", marks=pytest.mark.sandbox)])
def far_side(request, tmp_path):
    if request.param == "fake":
        return InMemory()
    from sandbox.artifacts.charts import chart
    from sandbox.artifacts.tools import tools

    return Real(request.getfixturevalue("plane"), chart("gpu-operator"), tools().helm, tmp_path)


def newest(far_side):
    found = far_side.port.revisions(*PLACE)
    return found[0] if found else None


def install(far_side, **values):
    far_side.port.upgrade(*PLACE, far_side.chart, far_side.version, VALUES | values)


def test_a_release_that_is_not_there_has_no_revisions(far_side):
    assert far_side.port.revisions(*PLACE) == ()


def test_an_installed_release_reports_its_chart_version_and_values(far_side):
    install(far_side)

    release = newest(far_side)
    assert (release.name, release.namespace, release.revision) == (*PLACE, 1)
    assert (release.status, release.chart, release.chart_version) == (
        "deployed",
        "gpu-operator",
        far_side.version,
    )
    assert release.values == VALUES


def test_installing_brings_the_namespace_and_the_cluster_policy(far_side):
    install(far_side)

    assert far_side.kubernetes.get(Ref("v1", "Namespace", "gpu-operator"))
    assert far_side.kubernetes.get(Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy"))


def test_a_release_reports_its_charts_own_values_and_when_helm_began_with_it(far_side):
    install(far_side)

    release = newest(far_side)
    assert release.defaults["driver"]["enabled"] is True
    assert release.defaults["devicePlugin"]["config"]["name"] == ""
    assert far_side.began <= release.changed_at <= far_side.began + timedelta(minutes=10)


def test_the_charts_own_values_are_reported_without_a_release(far_side):
    values = far_side.port.chart_values(far_side.chart, far_side.version)

    assert values["mig"] == {"strategy": "single"}
    assert newest(far_side) is None


def test_an_upgrade_that_is_only_tried_writes_nothing(far_side):
    far_side.port.try_upgrade(*PLACE, far_side.chart, far_side.version, VALUES)
    assert newest(far_side) is None
    assert far_side.kubernetes.get(OPERATOR) is None

    install(far_side)
    before = far_side.kubernetes.get(Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy"))
    other = VALUES | {"mig": {"strategy": "single"}}
    far_side.port.try_upgrade(*PLACE, far_side.chart, far_side.version, other)

    assert [release.revision for release in far_side.port.revisions(*PLACE)] == [1]
    assert far_side.kubernetes.get(Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy")) == before


def test_trying_says_what_the_upgrade_would_fail_with(far_side):
    with pytest.raises(Refused, match="says that it is version"):
        far_side.port.try_upgrade(*PLACE, far_side.chart, "v1.2.3", VALUES)
    with pytest.raises(Unavailable):
        far_side.port.try_upgrade("GPU", PLACE[1], far_side.chart, far_side.version, VALUES)

    install(far_side)
    far_side.leave_pending()
    with pytest.raises(Unavailable):
        far_side.port.try_upgrade(*PLACE, far_side.chart, far_side.version, VALUES)


def test_an_upgrade_takes_the_place_of_the_revision_before(far_side):
    install(far_side)
    install(far_side, gfd={"enabled": True})

    assert [(r.revision, r.status) for r in far_side.port.revisions(*PLACE)] == [
        (2, "deployed"),
        (1, "superseded"),
    ]
    assert newest(far_side).values == VALUES | {"gfd": {"enabled": True}}


def test_the_last_five_revisions_are_kept(far_side):
    for number in range(6):
        install(far_side, number=number)

    assert [(r.revision, r.status) for r in far_side.port.revisions(*PLACE)] == [
        (6, "deployed"),
        *((revision, "superseded") for revision in (5, 4, 3, 2)),
    ]


def test_there_is_no_way_back_to_a_revision_that_is_not_kept(far_side):
    install(far_side)

    for place in (PLACE, ("another", PLACE[1])):
        with pytest.raises(Unavailable):
            far_side.port.rollback(*place, 7)
    assert newest(far_side).status == "deployed"


@pytest.mark.parametrize("name", ["a" * 54, "GPU", "a_b"])
def test_a_name_that_helm_does_not_take_is_refused(far_side, name):
    with pytest.raises(Unavailable):
        far_side.port.upgrade(name, PLACE[1], far_side.chart, far_side.version, VALUES)
    assert far_side.port.revisions(name, PLACE[1]) == ()


def test_what_another_owner_made_is_not_taken_over_unreported(far_side):
    install(far_side)
    made = far_side.kubernetes.get(OPERATOR)
    far_side.port.uninstall(*PLACE)
    theirs = {key: made[key] for key in ("apiVersion", "kind", "spec")}
    far_side.kubernetes.apply(
        {**theirs, "metadata": {"name": OPERATOR.name, "namespace": OPERATOR.namespace}}
    )

    with pytest.raises(Unavailable):
        install(far_side)
    assert far_side.port.revisions(*PLACE) == ()

    far_side.port.upgrade(*PLACE, far_side.chart, far_side.version, VALUES, take_ownership=True)
    assert newest(far_side).status == "deployed"


def test_uninstalling_twice_is_fine(far_side):
    install(far_side)

    far_side.port.uninstall(*PLACE)
    far_side.port.uninstall(*PLACE)

    assert far_side.port.revisions(*PLACE) == ()


def test_the_charts_definitions_are_reported(far_side):
    names = {crd["metadata"]["name"] for crd in far_side.port.chart_crds(far_side.chart, far_side.version)}

    assert "clusterpolicies.nvidia.com" in names


def test_a_chart_that_is_another_version_than_asked_for_is_refused(far_side):
    with pytest.raises(Refused, match=f"says that it is version {far_side.version}"):
        far_side.port.chart_crds(far_side.chart, "v1.2.3")
    with pytest.raises(Refused, match=f"says that it is version {far_side.version}"):
        far_side.port.upgrade(*PLACE, far_side.chart, "v1.2.3", VALUES)
    assert newest(far_side) is None


def test_a_pending_release_blocks_the_next_upgrade(far_side):
    install(far_side)
    far_side.leave_pending()
    assert newest(far_side).pending

    with pytest.raises(Unavailable):
        install(far_side)


@pytest.mark.parametrize("deployed_before", [True, False], ids=["an upgrade", "a first install"])
def test_a_pending_release_is_healed_and_takes_upgrades_again(far_side, deployed_before):
    if deployed_before:
        install(far_side)
    far_side.leave_pending()
    assert newest(far_side).pending

    roll_back(far_side)
    roll_back(far_side)

    healed = newest(far_side)
    assert (healed.status if healed else None) == ("deployed" if deployed_before else None)
    install(far_side)
    assert newest(far_side).status == "deployed"


CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.example.com"},
}


def packed(version: str) -> bytes:
    files = {
        "it/Chart.yaml": f"apiVersion: v2\nname: it\nversion: {version}\n",
        "it/crds/things.yaml": json.dumps(CRD),
    }
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, text in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(text)
            archive.addfile(about, io.BytesIO(text.encode()))
    return written.getvalue()


@pytest.fixture
def published(tmp_path):
    """A chart that an address answers with, and where; the real helm fetches it."""
    (tmp_path / "it-1.2.3.tgz").write_bytes(packed("1.2.3"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "it-1.2.3.tgz", f"http://127.0.0.1:{server.server_port}/it-1.2.3.tgz"
    server.shutdown()
    server.server_close()


def of_the_network(url: str, digest: str) -> HelmCli:
    from sandbox.artifacts.tools import tools

    nowhere = EksCluster(HOME.arn("a"), "a", "eu-west-1", HOME.account, "ACTIVE", "1.35", "API", START)
    return HelmCli(tools().helm, nowhere, lambda: "t", None, Path("."), digests={url: digest})  # type: ignore[arg-type]


def test_the_real_helm_fetches_a_chart_of_the_digest_that_is_expected(published):
    file, url = published
    found = of_the_network(url, hashlib.sha256(file.read_bytes()).hexdigest())

    assert found.chart_crds(url, "1.2.3") == (CRD,)


def test_a_chart_that_changed_where_it_is_published_is_refused(published):
    file, url = published
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_bytes(packed("1.2.3 # and more"))

    with pytest.raises(Refused, match=f"this deployment expects {expected}"):
        of_the_network(url, expected).chart_crds(url, "1.2.3")


def roll_back(far_side):
    """As a pass does it: to the last deployed revision, or away."""
    ports = Ports(
        None,
        None,
        None,
        None,
        lambda _: far_side.kubernetes,
        lambda _: far_side.port,
        sleep=None,
        schedules=None,
        notices=None,
    )  # type: ignore[arg-type]
    cluster = EksCluster(HOME.arn("a"), "a", "eu-west-1", HOME.account, "ACTIVE", "1.35", "API", START)
    ActionExecutor(Trigger(HOME.arn("a"), "test"), cluster, ports).do(
        RollbackRelease(*PLACE, "it is pending")
    )
