"""
Real controllers that run beside a control plane.

    with Controllers.start(plane, "kuberay", "keda") as controllers:
        ...
        controllers.stop("keda")  # as if its pods were gone

What they have brought into the cluster (definitions, roles, namespaces) stays there, but for their webhooks
and the APIs that they serve themselves.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from sandbox.artifacts import program
from sandbox.cluster import free_ports
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import catalog, manifests
from sandbox.controllers.catalog import APIS, DEFINITIONS, OBJECTS, ROLES, WEBHOOKS, Controller, Place

# Where controller-runtime looks for a webhook server's certificate that is not told where it is.
CERTIFICATES_BELOW_TMPDIR = "k8s-webhook-server/serving-certs"


class Controllers:
    """Those of one control plane; `start` makes it."""

    def __init__(self, plane: ControlPlane):
        self._plane = plane
        self._places: dict[str, Place] = {}
        self._stand_ins: dict[str, Any] = {}
        self._beside = ExitStack()

    @classmethod
    def start(cls, plane: ControlPlane, *names: str, progress: Callable[[str], None] = print) -> Controllers:
        """
        Install and start these, and return when they are ready; what is not built yet is built before.

        Raises:
            UnknownName: The message lists the names.
            BuildFailed: A build or a download failed.
            ChildDied, TimeoutError: One ended while it started, or did not become ready.
        """
        rows = catalog.rows(names)
        for row in rows:
            program.built(row.program, progress)
        controllers = cls(plane)
        try:
            for row in rows:
                controllers._install(row)
                controllers.resume(row.name)
        except BaseException:
            controllers.stop_all()
            raise
        return controllers

    def stand_in(self, name: str) -> Any:
        """Of what this controller asks and that is not here, as its row says."""
        return self._stand_ins[name]

    def address(self, name: str, port: str) -> str:
        """Of one that was started, by the name that its row gives the port: "127.0.0.1:20000"."""
        return self._places[name].address(port)

    def stop(self, name: str) -> None:
        """End it, as if its pods were gone; what it has in the cluster stays. A second call does nothing."""
        self._plane.stop_process(name)

    def resume(self, name: str) -> None:
        """Start it again after `stop`, and return when it is ready."""
        row, place = catalog.named(name), self._places[name]
        command = [program.built(row.program) / name, *row.arguments(place)]
        health = place.ports["health"]
        self._plane.start_process(name, command, row.environment(place), health, row.ready_path)
        # Only now that they answer: where they do not, the API server refuses what it would ask them.
        for item in self._webhooks(row, place):
            self._plane.kube.apply(item)
        self._plane.aggregate(self._apis(row, place))

    def stop_all(self) -> None:
        """
        End them, and take their webhooks and APIs away: unanswered, a webhook has the API server refuse
        objects, and an API has it keep namespaces that are deleted.
        """
        for name, place in reversed(self._places.items()):
            row = catalog.named(name)
            for item in (*self._webhooks(row, place), *self._apis(row, place)):
                self._plane.kube.delete(self._plane.kube.path(item), missing_ok=True)
            self.stop(name)
        self._beside.close()

    def __enter__(self) -> Controllers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def _install(self, row: Controller) -> None:
        built, kube = program.built(row.program), self._plane.kube
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": row.namespace}})
        if DEFINITIONS in row.program.copies:
            self._plane.serve(manifests.read(built / DEFINITIONS))
        for item in manifests.read(built / ROLES):
            kube.apply(manifests.role(item, row.namespace, row.prefix))
        if OBJECTS in row.program.copies:
            for item in manifests.read(built / OBJECTS):
                kube.apply(row.adapted(item))
        if row.gets:
            for item in manifests.account(row.account, row.namespace, row.prefix + row.gets):
                kube.apply(item)
        self._places[row.name] = self._place(row)
        if row.stand_in:
            made = row.stand_in(kube, self._places[row.name].ports["beside"])
            self._stand_ins[row.name] = self._beside.enter_context(made)

    def _webhooks(self, row: Controller, place: Place) -> list[manifests.Object]:
        if WEBHOOKS not in row.program.copies:
            return []
        items = manifests.read(program.built(row.program) / WEBHOOKS)
        # Both of Kubeflow's trainers call theirs "validating-webhook-configuration".
        prefix = row.prefix or f"{row.name}-"
        return manifests.webhooks(items, prefix, place.ports["webhooks"], self._plane.ca_pem)

    def _apis(self, row: Controller, place: Place) -> list[manifests.Object]:
        if APIS not in row.program.copies:
            return []
        return manifests.aggregated(manifests.read(program.built(row.program) / APIS), place.ports["api"])

    def _place(self, row: Controller) -> Place:
        ports = {name: free_ports.reserve() for name in row.ports}
        if row.joins:
            return self._places[row.joins].joined(ports)
        folder = self._plane.folder / "controllers" / row.name
        folder.mkdir(parents=True, exist_ok=True)
        pki = self._plane.pki
        for file, name in (
            (pki.ca, "ca.crt"),
            (pki.serving_certificate, "tls.crt"),
            (pki.serving_key, "tls.key"),
        ):
            shutil.copy(file, folder / name)
        webhooks = folder / CERTIFICATES_BELOW_TMPDIR
        webhooks.parent.mkdir(exist_ok=True)
        if not webhooks.exists():
            webhooks.symlink_to(folder)
        kubeconfig = self._plane.write_kubeconfig(row.namespace, row.account)
        place = Place(kubeconfig, folder, ports)
        (folder / "config.json").write_text(json.dumps(row.configuration(place), indent=1))
        return place
