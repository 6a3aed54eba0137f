"""
Real controllers that run beside a control plane.

    with Controllers.start(plane, "kuberay", "keda") as controllers:
        ...
        controllers.stop("keda")  # as if its pods were gone

What they have brought into the cluster (definitions, roles, namespaces) stays there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sandbox import ports
from sandbox.cluster import program
from sandbox.control_plane import ControlPlane
from sandbox.controllers import catalog
from sandbox.controllers.catalog import DEFINITIONS, ROLES, Controller, Place

Object = dict[str, Any]


class Controllers:
    """Those of one control plane; `start` makes it."""

    def __init__(self, plane: ControlPlane):
        self._plane = plane
        self._places: dict[str, Place] = {}

    @classmethod
    def start(cls, plane: ControlPlane, *names: str, progress: Callable[[str], None] = print) -> Controllers:
        """
        Install and start these, and return when they are ready; what is not built yet is built before.

        Raises:
            UnknownController: The message lists the names.
            BuildFailed: A build or a download failed.
            ChildDied, TimeoutError: One ended while it started, or did not become ready.
        """
        rows = [catalog.named(name) for name in names]
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

    def stop(self, name: str) -> None:
        """End it, as if its pods were gone; what it has in the cluster stays. A second call does nothing."""
        self._plane.stop_process(name)

    def resume(self, name: str) -> None:
        """Start it again after `stop`, and return when it is ready."""
        row, place = catalog.named(name), self._places[name]
        command = [program.built(row.program) / name, *row.arguments(place)]
        self._plane.start_process(name, command, row.environment(place), place.ports["health"])

    def stop_all(self) -> None:
        for name in self._places:
            self.stop(name)

    def __enter__(self) -> Controllers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def _install(self, row: Controller) -> None:
        built, kube = program.built(row.program), self._plane.kube
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": row.namespace}})
        self._plane.serve(read(built / DEFINITIONS))
        for item in read(built / ROLES):
            kube.apply(placed(item, row.namespace))
        self._places[row.name] = self._place(row)

    def _place(self, row: Controller) -> Place:
        folder = self._plane.folder / "controllers" / row.name
        folder.mkdir(parents=True, exist_ok=True)
        pki = self._plane.pki
        for file, name in (
            (pki.ca, "ca.crt"),
            (pki.serving_certificate, "tls.crt"),
            (pki.serving_key, "tls.key"),
        ):
            shutil.copy(file, folder / name)
        kubeconfig = self._plane.write_kubeconfig(row.namespace, row.account)
        return Place(kubeconfig, folder, {name: ports.reserve() for name in row.ports})


def read(folder: Path) -> list[Object]:
    """Every object of a folder of a build."""
    return [item for file in sorted(folder.glob("*.json")) for item in json.loads(file.read_text())]


def placed(item: Object, namespace: str) -> Object:
    """
    An object of a project's roles, as an installation into this namespace has it.

    The files leave the namespace open, or name one that kustomize replaces.
    """
    cluster_wide = item["kind"].startswith("Cluster")
    metadata = item["metadata"] | ({} if cluster_wide else {"namespace": namespace})
    found = {**item, "metadata": metadata}
    if "subjects" in item:
        found["subjects"] = [subject | {"namespace": namespace} for subject in _accounts(item["subjects"])]
    return found


def _accounts(subjects: Sequence[Object]) -> list[Object]:
    assert all(subject["kind"] == "ServiceAccount" for subject in subjects), subjects
    return [*subjects]
