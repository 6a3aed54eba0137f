"""
The helm binary, run on one cluster, and the releases that it keeps there.

How it is run, and why:
* No --wait: GPU Operator takes minutes, and for ever on a cluster without nodes. Later passes verify.
* --no-hooks: a pre-upgrade Job that never ends would hold the release in `pending-upgrade`; what the hooks of
  these charts do (upgrading CRDs) we do ourselves by server-side apply, hence also --skip-crds.
* Everything it writes goes to a folder of its own that ends with the call; there the token is, too.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from slicewise.errors import Refused, Unavailable
from slicewise.model import EksCluster, Object, Release
from slicewise.ports import Kubernetes

# Far below the 15 minutes of a token and of a Lambda function.
_HELM_TIMEOUT = "5m"
_KILL_AFTER_SECONDS = 330
_HISTORY = "5"
_PASSED_ON = ("PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")


class HelmCli:
    """
    Implements ports.Helm.

    Args:
        binary: Path of helm 4.
        token: A bearer token of the cluster, asked for once a call.
        charts: Folder that a chart reference starting with "charts/" is relative to.
    """

    def __init__(
        self,
        binary: Path,
        cluster: EksCluster,
        token: Callable[[], str],
        kubernetes: Kubernetes,
        charts: Path,
        environ: Mapping[str, str] = os.environ,
    ):
        self._binary, self._cluster, self._token = binary, cluster, token
        self._kubernetes, self._charts = kubernetes, charts
        self._environ = {name: environ[name] for name in _PASSED_ON if name in environ}

    def revisions(self, name: str, namespace: str) -> tuple[Release, ...]:
        secrets = self._kubernetes.list("v1", "Secret", namespace=namespace, labels=f"owner=helm,name={name}")
        found = (release_in(secret) for secret in secrets)
        return tuple(sorted(found, key=lambda release: release.revision, reverse=True))

    def upgrade(
        self,
        name: str,
        namespace: str,
        chart: str,
        version: str,
        values: Mapping[str, Any],
        *,
        take_ownership: bool = False,
    ) -> None:
        adopting = ("--take-ownership", "--force-conflicts") if take_ownership else ()
        self._run(
            *("upgrade", name, *self._chart(chart, version), "--install", "--namespace", namespace),
            *("--create-namespace", "--values", "-", "--no-hooks", "--skip-crds"),
            *("--history-max", _HISTORY, "--timeout", _HELM_TIMEOUT, *adopting),
            given=json.dumps(values),
        )

    def rollback(self, name: str, namespace: str, revision: int) -> None:
        self._run(
            *("rollback", name, str(revision), "--namespace", namespace),
            *("--no-hooks", "--timeout", _HELM_TIMEOUT),
        )

    def uninstall(self, name: str, namespace: str) -> None:
        self._run(
            *("uninstall", name, "--namespace", namespace),
            *("--no-hooks", "--ignore-not-found", "--timeout", _HELM_TIMEOUT),
        )

    def chart_crds(self, chart: str, version: str) -> tuple[Object, ...]:
        shown = self._run("show", "crds", *self._chart(chart, version))
        return tuple(item for item in yaml.load_all(shown, Loader=_LOADER) if item)

    def _chart(self, chart: str, version: str) -> tuple[str, ...]:
        if chart.startswith("charts/"):
            return (str(self._charts / chart),)
        if chart.endswith(".tgz"):
            return (chart,)
        return (chart, "--version", version)

    def _run(self, *arguments: str, given: str = "") -> str:
        """
        helm tells only 0 or 1, and its messages are not for programs to judge: every failure may pass, is
        retried, and reaches the dead-letter queue and its alarm when it does not.
        """
        what = f"helm {' '.join(arguments[:2])} on {self._cluster.name}"
        with self._workplace() as environ:
            try:
                done = subprocess.run(
                    [str(self._binary), *arguments],
                    env=environ,
                    input=given,
                    capture_output=True,
                    text=True,
                    timeout=_KILL_AFTER_SECONDS,
                )
            except FileNotFoundError as error:
                raise Refused(f"{what}: no helm at {self._binary}; the function needs its layer") from error
            except subprocess.TimeoutExpired as error:
                raise Unavailable(f"{what}: not done after {_KILL_AFTER_SECONDS} s, ended") from error
        if done.returncode:
            raise Unavailable(f"{what}: {done.stderr.strip()[-800:]}")
        return done.stdout

    @contextmanager
    def _workplace(self) -> Iterator[dict[str, str]]:
        with tempfile.TemporaryDirectory(prefix="helm-") as home:
            kubeconfig = Path(home, "kubeconfig")
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(json.dumps(self._kubeconfig()))
            yield self._environ | {
                "HOME": home,
                "KUBECONFIG": str(kubeconfig),
                "HELM_CACHE_HOME": f"{home}/cache",
                "HELM_CONFIG_HOME": f"{home}/config",
                "HELM_DATA_HOME": f"{home}/data",
            }

    def _kubeconfig(self) -> dict[str, Any]:
        cluster = {
            "server": self._cluster.endpoint,
            "certificate-authority-data": self._cluster.ca_data,
        }
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "us", "user": {"token": self._token()}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "us"}}],
        }


# libyaml's loader where PyYAML has it: GPU Operator's CRDs, 280 kB, take 0.05 s with it and 0.4 s without.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def release_in(secret: Object) -> Release:
    """
    A release as helm keeps it: Secret data (base64) of base64 of gzip of JSON.

    Source: helm, pkg/storage/driver (secrets, util).
    """
    packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
    kept = json.loads(gzip.decompress(packed))
    chart = kept["chart"]["metadata"]
    return Release(
        name=kept["name"],
        namespace=kept["namespace"],
        revision=kept["version"],
        status=kept["info"]["status"],
        chart=chart["name"],
        chart_version=chart["version"],
        values=kept.get("config") or {},
    )
