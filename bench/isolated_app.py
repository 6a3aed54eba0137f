"""Passes without AWS: their ports are stood in for, but for the cluster's API server, which is real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.app import App
from slicewise.gateways.kubernetes import KubernetesApi
from slicewise.kube.labels import POLICY_TAG
from slicewise.model.cluster import EksCluster
from slicewise.onboarding.observation import Chart, Settings
from slicewise.ports import Lease, Ports
from slicewise.trigger import DeploymentScope

from sandbox.artifacts import versions

ACCOUNT, REGION, NAME = "111122223333", "eu-central-1", "bench"


class _Eks:
    def __init__(self, url: str, ca: str):
        self._cluster = EksCluster(
            arn=f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{NAME}",
            name=NAME,
            region=REGION,
            account=ACCOUNT,
            status="ACTIVE",
            version=versions.chosen().minor,
            authentication_mode="API",
            created_at=datetime.now(UTC) - timedelta(days=30),
            endpoint=url,
            ca_data=ca,
            tags={POLICY_TAG: "bench"},
        )

    def describe(self, name: str) -> EksCluster:
        return self._cluster


class _Store:
    """Nothing is remembered, nobody else is there."""

    def acquire(
        self, cluster: str, holder: str, now: datetime, length: timedelta, capability: str = ""
    ) -> Lease:
        return Lease(cluster, holder, 1, now + length)

    def renew(self, lease: Lease, now: datetime, length: timedelta) -> Lease:
        return lease

    def fleet_size(self) -> int:
        return 1

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **named: None


class _Policies:
    def __init__(self, text: str):
        self._text = text

    def text(self, name: str) -> str:
        return self._text


class _Quiet:
    """A port that has nothing to tell: every call gives an empty answer."""

    def __getattr__(self, name: str) -> Callable[..., tuple[()]]:
        return lambda *arguments, **named: ()


def a_pass(access: dict[str, str]) -> Callable[[], str]:
    """
    Args:
        access: As for `an_app`, and `policy`, its YAML.

    Returns:
        Runs one pass of tuning; gives what it said.
    """
    app = an_app(access, access["policy"])
    trigger = app.trigger(NAME, "a bench")
    return lambda: app.tuning.run(trigger).reason


def an_app(access: dict[str, str], policy: str, **ports: Any) -> App:
    """
    Args:
        access: `url`, base64 `ca` and `token` of the API server.
        policy: Its YAML.
        ports: Those that are not to be stood in for.
    """
    given: dict[str, Any] = {
        "eks": _Eks(access["url"], access["ca"]),
        "store": _Store(),
        "policies": _Policies(policy),
        "kubernetes": lambda cluster: KubernetesApi.of(cluster, lambda: access["token"]),
        **ports,
    }
    rest = {field.name: _Quiet() for field in fields(Ports) if field.name not in given}
    chart = Chart("", "")
    roles = (f"arn:aws:iam::{ACCOUNT}:role/{role}" for role in ("installer", "tuner"))
    return App(
        Ports(**given, **rest),
        DeploymentScope(ACCOUNT, REGION),
        Settings(*roles, chart, chart, chart, "", ""),
    )
