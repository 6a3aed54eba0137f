"""
Reads a cluster by a context of the kubeconfig, as kubectl would: exec plugins, proxies, OIDC, certificates.

By the official client, since any cluster is to be read and not only EKS by its token. It lists page by page,
keeps of each object what an assessment reads, and writes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from slicewise.errors import Refused, Unauthorized, Unavailable
from slicewise.kube import pages
from slicewise.kube.objects import UNFINISHED, spec
from slicewise.kube.ref import Object
from slicewise.tuning.observed_fields import asks_for_slices, of_a_pod

from cli.assessment.assessment import ClusterListing

_TIMEOUT = (10, 60)
_RIGHTS = "Ask for the ClusterRole that `slicewise assess --rights` prints."
_SIGN_IN = "Sign in again, as for kubectl: `kubectl get nodes` must work with this context."
# An EKS context's exec plugin, `aws eks get-token` or aws-iam-authenticator, names the cluster as metrics do.
_CLUSTER_NAME_FLAGS = ("--cluster-name", "--cluster-id", "-i")
_EKSCTL = ".eksctl.io"
# "ABC.gr7.eu-west-1.eks.amazonaws.com"; a cluster of IPv6 has "….api.aws" (EKS user guide, "Cluster API
# server endpoint").
_EKS_SERVER = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-[0-9])\.(?:eks\.amazonaws\.com(?:\.cn)?|api\.aws)$")


def contexts(named: list[str]) -> list[str]:
    """
    Those that were named; the current one where none was.

    Raises:
        Refused: There is no kubeconfig, or no such context in it.
    """
    _official()
    found = _kubeconfigs()
    known = [str(one.get("name")) for one in _all(found, "contexts")]
    current = next((str(one["current-context"]) for one in found if one.get("current-context")), "")
    wanted = named or [current]
    missing = [name for name in wanted if name not in known]
    if not missing:
        return wanted
    has = f"It has {', '.join(sorted(known)) or 'none'}."
    if missing == [""]:
        raise Refused(f"The kubeconfig has no current context. Pass --context. {has}")
    raise Refused(f"The kubeconfig has no context {missing[0]}. {has}")


def read(context: str) -> ClusterListing:
    """
    Its GPU nodes, the pods that ask for GPUs, and Karpenter's NodePools; what may not be read is reported.

    Raises:
        Unauthorized, Refused, Unavailable: Neither nodes nor pods can be read.
    """
    client, api = _official().client, _client(context)
    core, custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
    unread: list[str] = []

    def listed(what: str, call: Callable[..., Any], keep: Callable[[Object], Object | None]) -> Any:
        try:
            return pages.read(lambda token: _page(context, what, call, token), keep)
        except Unauthorized:
            raise
        except Refused as error:
            unread.append(str(error))
            return None
        # A proxy's own answer, such as a page to sign in, or JSON that is no list.
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise Unavailable(
                f"The API server of context {context} answered no JSON list of {what}."
            ) from error

    nodes = listed("nodes", core.list_node, _of_a_node)
    pods = listed(
        "pods",
        lambda **page: core.list_pod_for_all_namespaces(field_selector=UNFINISHED, **page),
        _of_a_pod,
    )
    if nodes is None and pods is None:
        raise Refused(unread[0])
    pools = listed(
        "nodepools.karpenter.sh",
        lambda **page: custom.list_cluster_custom_object("karpenter.sh", "v1", "nodepools", **page),
        _of_a_node_pool,
    )
    cluster, region, profile = _cluster_of(context)
    return ClusterListing(context, cluster, region, nodes, pods, pools, tuple(unread), profile)


def _official() -> Any:
    """
    Raises:
        Refused: The client is not installed.
    """
    try:
        import kubernetes
    except ModuleNotFoundError as error:
        raise Refused("assess reads clusters by a package that is missing: pip install kubernetes") from error
    return kubernetes


def _client(context: str) -> Any:
    client, config = _official().client, _official().config
    settings = client.Configuration()
    try:
        config.load_kube_config(_kubeconfig(), context, settings, persist_config=False)
    # ValueError: certificates that are no base64. TypeError: a value of another type than kubectl takes.
    except (config.ConfigException, OSError, ValueError, TypeError) as error:
        raise Refused(
            f"Context {context} cannot be used: {error}. Correct its entries in the kubeconfig: "
            f"`kubectl --context {context} get nodes` must work."
        ) from error
    # An API server that is away is reported at once, not after three silent tries.
    settings.retries = False
    return client.ApiClient(settings)


def _page(context: str, what: str, call: Callable[..., Any], token: str) -> str | None:
    """One page of a list, as JSON; None where there is no such kind."""
    from urllib3.exceptions import HTTPError

    page = {"limit": pages.PAGE, **({"_continue": token} if token else {})}
    try:
        answer = call(**page, _preload_content=False, _request_timeout=_TIMEOUT)
        return bytes(answer.data).decode()
    except _official().client.ApiException as error:
        if error.status == 404:
            return None
        raise _error(context, what, error.status or 0, error.body) from error
    except (HTTPError, OSError) as error:
        why = f"The API server of context {context} is out of reach ({type(error).__name__}: {error})."
        raise Unavailable(f"{why} Check that `kubectl --context {context} get nodes` works.") from error


def _error(context: str, what: str, code: int, body: object) -> Unauthorized | Refused | Unavailable:
    # Where the exec plugin fails, the client sends no credentials, and only logs it.
    if code == 401 or "system:anonymous" in str(body):
        return Unauthorized(
            f"The API server of context {context} knows no such credentials ({code}). {_SIGN_IN}"
        )
    if code == 403:
        return Refused(f"Context {context} may not list {what} (403). {_RIGHTS}")
    if code == 410:
        return pages.Expired(f"The list of {what} grew too old while it was read (410). Run it again.")
    return Unavailable(f"Listing {what} by context {context} failed: {code} {str(body)[:200]}")


def _of_a_node(node: Object) -> Object:
    """What is read of it: the rest, images above all, is most of a Node."""
    metadata, status = node["metadata"], node.get("status") or {}
    return {
        "metadata": {
            key: metadata[key] for key in ("name", "uid", "labels", "creationTimestamp") if key in metadata
        },
        "status": {key: status[key] for key in ("allocatable", "capacity") if key in status},
    }


def _of_a_pod(pod: Object) -> Object | None:
    claims = spec(pod).get("resourceClaims")
    if not claims and not asks_for_slices(pod):
        return None
    kept = of_a_pod(pod)
    return {**kept, "spec": {**kept["spec"], "resourceClaims": claims}} if claims else kept


def _of_a_node_pool(pool: Object) -> Object:
    metadata = pool["metadata"]
    return {"metadata": {key: metadata[key] for key in ("name", "labels") if key in metadata}}


def _cluster_of(context: str) -> tuple[str, str, str]:
    """What metrics call the cluster, its Region and the profile of AWS; "" where nothing says so."""
    found = _kubeconfigs()
    its = _named(found, "contexts", context).get("context") or {}
    cluster, user = str(its.get("cluster", context)), _named(found, "users", str(its.get("user", "")))
    server = str((_named(found, "clusters", cluster).get("cluster") or {}).get("server", ""))
    plugin = (user.get("user") or {}).get("exec") or {}
    arguments = list(map(str, plugin.get("args") or ()))
    variables = {str(one.get("name")): str(one.get("value")) for one in plugin.get("env") or ()}
    profile = _argument(arguments, ("--profile",)) or variables.get("AWS_PROFILE", "")
    return name_of(cluster, arguments), region_of(cluster, arguments, server), profile


def _argument(arguments: list[str], flags: Iterable[str]) -> str:
    """The value of the first of such flags, written as `--flag value` or `--flag=value`; "" without one."""
    for flag, value in pairwise([*arguments, ""]):
        if flag in flags:
            return value
        name, sign, joined = flag.partition("=")
        if sign and name in flags:
            return joined
    return ""


def name_of(cluster: str, arguments: list[str]) -> str:
    """As the exec plugin names it, else by the ARN or eksctl's name, else as the kubeconfig does."""
    if named := _argument(arguments, _CLUSTER_NAME_FLAGS):
        return named
    if cluster.endswith(_EKSCTL):
        return cluster.partition(".")[0]
    return cluster.rpartition("/")[2] if ":cluster/" in cluster else cluster


def region_of(cluster: str, arguments: list[str], server: str) -> str:
    """As the exec plugin names it, else by the server's address, the ARN or eksctl's name."""
    if named := _argument(arguments, ("--region",)):
        return named
    if addressed := _EKS_SERVER.search(urlsplit(server).hostname or ""):
        return addressed[1]
    if cluster.endswith(_EKSCTL):
        return cluster.removesuffix(_EKSCTL).rpartition(".")[2]
    return cluster.split(":")[3] if cluster.startswith("arn:") and cluster.count(":") >= 5 else ""


def _named(found: list[Mapping[str, Any]], kind: str, name: str) -> Mapping[str, Any]:
    """The first of that name, as kubectl merges files."""
    return next((one for one in _all(found, kind) if one.get("name") == name), {})


def _all(found: list[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    return (one for content in found for one in content.get(kind) or () if isinstance(one, Mapping))


def _kubeconfigs() -> list[Mapping[str, Any]]:
    """
    The files' contents; KUBECONFIG may name several, and one that is missing counts as empty.

    Raises:
        Refused: None is there, or one is no kubeconfig.
    """
    import yaml

    paths = [Path(one).expanduser() for one in _kubeconfig().split(os.pathsep) if one]
    there = [path for path in paths if path.is_file()]
    if not there:
        raise Refused(f"There is no kubeconfig at {_kubeconfig()}. Set KUBECONFIG to a file.")
    contents = []
    for path in there:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise Refused(f"The kubeconfig {path} cannot be read: {error}") from error
        if not isinstance(content, Mapping):
            raise Refused(f"{path} is no kubeconfig. Set KUBECONFIG to one.")
        contents.append(content)
    return contents


def _kubeconfig() -> str:
    """As kubectl finds it; the client would read the environment only when it is imported."""
    return os.environ.get("KUBECONFIG") or os.path.join("~", ".kube", "config")
