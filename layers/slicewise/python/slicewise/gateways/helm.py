"""
The helm binary, run on one cluster, and the releases that it keeps there.

How it is run, and why:
* No --wait: GPU Operator takes minutes, and for ever on a cluster without nodes. Later reconciles verify.
* --no-hooks: a pre-upgrade Job that never ends would keep the release in `pending-upgrade`; what the hooks of
  these charts do (upgrading CRDs) we do ourselves by server-side apply, hence also --skip-crds.
* Everything it writes is in a folder of its own that is deleted after the call; there the token is, too.
* A chart from the network is pulled first, by its version, and checked before helm runs it as cluster admin:
  its sha256, where one is configured, and the version that it says it is. A tag, or what an address answers
  with, may be another chart tomorrow.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from slicewise.errors import Refused, Unavailable
from slicewise.kube import kinds
from slicewise.kube.ref import Object
from slicewise.model.cluster import EksCluster, Release
from slicewise.ports import Kubernetes

# Far below the 15 minutes of a token and of a Lambda function.
_HELM_TIMEOUT = "5m"
_KILL_AFTER_SECONDS = 330
# A chart has some hundred kilobytes. With the call that follows it must end within a lease,
# executor.time_for.
_PULL_SECONDS = 60
_MOST_CHART_BYTES = 20 * 1024 * 1024
_HISTORY = "5"
_CHART = "the packed chart"  # as an argument: where it lies is known when helm runs
_CHART_YAML = re.compile(r"[^/]+/Chart\.yaml")
NO_DIGESTS: Mapping[str, str] = MappingProxyType({})
_PASSED_ON = ("PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")


class HelmCli:
    """
    Implements ports.Helm.

    Args:
        binary: Path of helm 4.
        token: A bearer token of the cluster, asked for once a call.
        charts: Folder that a chart reference starting with "charts/" is relative to.
        digests: By chart reference, the sha256 of the packed chart in hex; a chart without one is taken as it
            comes.
    """

    def __init__(
        self,
        binary: Path,
        cluster: EksCluster,
        token: Callable[[], str],
        kubernetes: Kubernetes,
        charts: Path,
        environ: Mapping[str, str] = os.environ,
        digests: Mapping[str, str] = NO_DIGESTS,
    ):
        self._binary, self._cluster, self._token = binary, cluster, token
        self._kubernetes, self._charts, self._digests = kubernetes, charts, digests
        self._packed: dict[tuple[str, str], bytes] = {}
        self._environ = {name: environ[name] for name in _PASSED_ON if name in environ}

    def revisions(self, name: str, namespace: str) -> tuple[Release, ...]:
        secrets = self._kubernetes.list(*kinds.SECRET, namespace=namespace, labels=f"owner=helm,name={name}")
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
            *("upgrade", name, _CHART, "--install", "--namespace", namespace),
            *("--create-namespace", "--values", "-", "--no-hooks", "--skip-crds"),
            *("--history-max", _HISTORY, "--timeout", _HELM_TIMEOUT, *adopting),
            given=json.dumps(values),
            packed=self._chart(chart, version),
        )

    def try_upgrade(
        self, name: str, namespace: str, chart: str, version: str, values: Mapping[str, Any]
    ) -> None:
        self._run(
            *("upgrade", name, _CHART, "--install", "--namespace", namespace, "--dry-run=server"),
            *("--values", "-", "--no-hooks", "--skip-crds", "--timeout", _HELM_TIMEOUT),
            given=json.dumps(values),
            packed=self._chart(chart, version),
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
        shown = self._run("show", "crds", _CHART, packed=self._chart(chart, version))
        return tuple(item for item in yaml.load_all(shown, Loader=_LOADER) if item)

    def chart_values(self, chart: str, version: str) -> Mapping[str, Any]:
        shown = self._run("show", "values", _CHART, packed=self._chart(chart, version))
        return yaml.load(shown, Loader=_LOADER) or {}

    def _chart(self, chart: str, version: str) -> bytes:
        """The packed chart, checked."""
        if (chart, version) not in self._packed:
            packed = self._read(chart) if "://" not in chart else self._pull(chart, version)
            check(packed, chart, version, self._digests.get(chart, ""))
            self._packed[chart, version] = packed
        return self._packed[chart, version]

    def _read(self, chart: str) -> bytes:
        try:
            return (self._charts / chart).read_bytes()
        except OSError as error:
            raise Refused(f"chart {chart} is not in the function's code: deploy again ({error})") from error

    def _pull(self, chart: str, version: str) -> bytes:
        # helm takes no version of what an address names in full.
        chosen = () if chart.endswith(".tgz") else ("--version", version)
        with tempfile.TemporaryDirectory(prefix="chart-") as folder:
            self._run("pull", chart, *chosen, "--destination", folder, seconds=_PULL_SECONDS)
            files = list(Path(folder).iterdir())
            size = sum(file.stat().st_size for file in files)
            if len(files) != 1 or size > _MOST_CHART_BYTES:
                limit = f"one of at most {_MOST_CHART_BYTES} bytes was expected"
                raise Refused(f"helm pulled {len(files)} files of {size} bytes as chart {chart}: {limit}")
            return files[0].read_bytes()

    def _run(
        self, *arguments: str, given: str = "", packed: bytes | None = None, seconds: float | None = None
    ) -> str:
        """
        helm answers only 0 or 1, and its messages are not for programs to judge: every failure may be
        temporary, is retried, and reaches the dead-letter queue and its alarm when it does not.
        """
        what = f"helm {' '.join(arguments[:2])} on {self._cluster.name}"
        seconds = seconds or _KILL_AFTER_SECONDS
        with self._workplace() as environ:
            file = Path(environ["HOME"], "chart.tgz")
            if packed is not None:
                file.write_bytes(packed)
            words = [str(file) if argument == _CHART else argument for argument in arguments]
            try:
                done = subprocess.run(
                    [str(self._binary), *words],
                    env=environ,
                    input=given,
                    capture_output=True,
                    text=True,
                    timeout=seconds,
                )
            except FileNotFoundError as error:
                raise Refused(f"{what}: no helm at {self._binary}; the function needs its layer") from error
            except subprocess.TimeoutExpired as error:
                raise Unavailable(f"{what}: not done after {seconds} s, ended") from error
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


def check(packed: bytes, chart: str, version: str, digest: str) -> None:
    """
    Args:
        digest: sha256 in hex; empty where none is configured.

    Raises:
        Refused: It is not the chart that was asked for, or none at all.
    """
    found = hashlib.sha256(packed).hexdigest()
    if digest and found != digest:
        raise Refused(
            f"chart {chart} has the sha256 {found}, and this deployment expects {digest}: nothing of it was "
            "installed. Find out why it changed; if that is the chart that you want, deploy with its sha256"
        )
    actual = _version_in(packed, chart)
    if actual.removeprefix("v") != version.removeprefix("v"):
        raise Refused(
            f"chart {chart} says that it is version {actual}, and this deployment expects {version}: nothing "
            "of it was installed. Deploy with a chart and a version that fit together"
        )


def _version_in(packed: bytes, chart: str) -> str:
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as files:
            [place] = (name for name in files.getnames() if _CHART_YAML.fullmatch(name))
            about = files.extractfile(place)
            return str(yaml.load(about.read() if about else b"", Loader=_LOADER)["version"])
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise Refused(f"chart {chart} is not a packed chart ({type(error).__name__}: {error})") from error


# libyaml's loader where PyYAML has it: GPU Operator's CRDs, 280 kB, take 0.05 s with it and 0.4 s without.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def release_in(secret: Object) -> Release:
    """
    A release as helm keeps it: Secret data (base64) of base64 of gzip of JSON.

    Source: helm, pkg/storage/driver (secrets, util).
    """
    packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
    kept = json.loads(gzip.decompress(packed))
    chart, info = kept["chart"]["metadata"], kept["info"]
    # An uninstallation keeps the time of the installation before it, and notes its own.
    changed = info.get("deleted") if info["status"] == "uninstalling" else None
    return Release(
        name=kept["name"],
        namespace=kept["namespace"],
        revision=kept["version"],
        status=info["status"],
        chart=chart["name"],
        chart_version=chart["version"],
        values=kept.get("config") or {},
        defaults=kept["chart"].get("values") or {},
        changed_at=_moment(changed or info.get("last_deployed")),
    )


def _moment(stamp: str | None) -> datetime | None:
    """Go writes the offset of where helm ran, up to nine digits of a second, and the year 1 for "never"."""
    if not stamp or stamp.startswith("0001-"):
        return None
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", stamp)).astimezone(UTC)
    except ValueError:
        return None
