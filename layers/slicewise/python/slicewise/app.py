"""
The composition root: settings from the environment, gateways, and the reconciles that others run.

Clients are made when they are first used; capabilities, PyYAML and helm are imported only where they are
needed: a function's cold start pays for what its reconciles use, and importing a handler needs no
environment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicewise.errors import SlicewiseError
from slicewise.fleet import openings
from slicewise.fleet.sweep import DelayedTrigger, sweep
from slicewise.gateways import botocore_clients, eks
from slicewise.gateways.cloudwatch_alarms import CloudWatchAlarms
from slicewise.gateways.cost_store import CostTable
from slicewise.gateways.karpenter.ec2 import Ec2Api
from slicewise.gateways.karpenter.eventbridge import EventBridgeRules
from slicewise.gateways.karpenter.iam import IamApi
from slicewise.gateways.karpenter.sqs import SqsEventQueues
from slicewise.gateways.kubernetes import MOST_AT_ONCE, KubernetesApi
from slicewise.gateways.scheduler import EventBridgeSchedules
from slicewise.gateways.sleep_store import SleepTable
from slicewise.gateways.sns import SnsNotices
from slicewise.gateways.sqs import SqsQueues
from slicewise.gateways.ssm import SsmPolicies
from slicewise.gateways.state_store import StateTable
from slicewise.gateways.usage_store import UsageTable
from slicewise.model.capabilities import CAPABILITIES, OFF_HOURS, ONBOARDING, TUNING
from slicewise.model.cluster import EksCluster
from slicewise.model.opening import Opening
from slicewise.onboarding.observation import Chart, Settings
from slicewise.planning import policy_skew
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.policy.model import MetricsSource, Policy
from slicewise.ports import Helm, Metrics, NoMetrics, Ports
from slicewise.reconcile import batch
from slicewise.reconcile.metric_log import NewMetrics
from slicewise.reconcile.reconciler import Capability, Reconciler
from slicewise.trigger import DeploymentScope, Trigger

if TYPE_CHECKING:
    from botocore.session import Session

    from slicewise.offhours.observation import Observation as OffHoursObservation
    from slicewise.offhours.sleep_times import Times
    from slicewise.onboarding.observation import Observation as OnboardingObservation
    from slicewise.tuning.state.observation import Observation as TuningObservation

# Of their functions; a test checks that the deployment has them. A reconcile of off-hours that is killed at
# an opening keeps its lease, and its message, for as long: the next one has to wake everybody within five
# minutes.
TIMEOUTS = {ONBOARDING: timedelta(minutes=15), TUNING: timedelta(minutes=5), OFF_HOURS: timedelta(minutes=3)}


class MissingSetting(Exception):
    """An environment variable that the deployment should have set."""

    def __init__(self, name: str):
        super().__init__(f"environment variable {name} is missing: the deployment sets it for every function")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class App:
    """
    Attributes:
        default_policy: For clusters without a policy tag; empty leaves them alone.
        as_person: Clusters are read with the rights of the user who runs this, not with the installer's.
        threads: So many parts of a plan are done side by side. One where each run is to be like the other.
        metrics: Reconciles write CloudWatch metrics into their log.
    """

    ports: Ports
    scope: DeploymentScope
    settings: Settings
    default_policy: str = ""
    clock: Callable[[], datetime] = _utc_now
    holder: str = "slicewise"
    as_person: bool = False
    threads: int = 1
    metrics: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str], session: Session | None = None) -> App:
        """
        Raises:
            MissingSetting: names the variable.
        """
        session = session or botocore_clients.session()
        region = environ.get("AWS_REGION") or session.get_config_variable("region")
        if not region:
            raise MissingSetting("AWS_REGION")
        settings = _settings(environ)
        return cls(
            ports=_ports(environ, session, region, settings.charts),
            scope=_deployment_scope(_required(environ, "INSTALLER_ROLE_ARN"), region),
            settings=settings,
            default_policy=environ.get("DEFAULT_POLICY", ""),
            holder=environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "slicewise"),
            threads=MOST_AT_ONCE,
            metrics=environ.get("CLOUDWATCH_METRICS") == "on",
        )

    @cached_property
    def onboarding(self) -> Reconciler[OnboardingObservation]:
        from slicewise.onboarding import observe, plan

        capability: Capability[OnboardingObservation] = Capability(
            name=ONBOARDING,
            observe=lambda trigger, record, now: observe.observe(
                *(trigger, record, self.ports, self.settings, self.default_policy, self.as_person),
                waits=not self.as_person and policy_skew.may_wait(record, now),
            ),
            plan=lambda observation, now: plan.plan(observation, self.settings, now),
            cluster=lambda observation: observation.cluster,
            enforced=lambda observation: plan.enforced(observation, self.settings),
            record_fields=observe.record_fields,
            timeout=TIMEOUTS[ONBOARDING],
        )
        return Reconciler(capability, self.ports, self.clock, self.holder, threads=self.threads)

    @cached_property
    def tuning(self) -> Reconciler[TuningObservation]:
        from slicewise.tuning import observe, plan
        from slicewise.tuning.state.observation import cluster_of

        capability: Capability[TuningObservation] = Capability(
            name=TUNING,
            observe=lambda trigger, record, now: observe.observe(
                trigger, record, self.ports, self.default_policy, now
            ),
            plan=plan.plan,
            cluster=cluster_of,
            enforced=plan.enforced,
            record_fields=plan.record_fields,
            in_progress_stage=dict.fromkeys((Stage.ONBOARDED, Stage.VERIFYING), Stage.TUNING),
            timeout=TIMEOUTS[TUNING],
        )
        return Reconciler(capability, self.ports, self.clock, self.holder, threads=self.threads)

    @cached_property
    def off_hours(self) -> Reconciler[OffHoursObservation]:
        from slicewise.offhours import observe, plan

        capability: Capability[OffHoursObservation] = Capability(
            name=OFF_HOURS,
            observe=lambda trigger, record, now: observe.observe(
                trigger, record, self.ports, self.default_policy, now
            ),
            plan=plan.plan,
            cluster=lambda observation: observation.cluster,
            enforced=plan.enforced,
            record_fields=plan.record_fields,
            in_progress_stage={Stage.AWAKE: Stage.WAKING, Stage.ASLEEP: Stage.GOING_TO_SLEEP},
            timeout=TIMEOUTS[OFF_HOURS],
        )
        return Reconciler(capability, self.ports, self.clock, self.holder, threads=self.threads)

    def sleep_times(self, cluster: str) -> Times | None:
        """When a cluster is to be asleep; None where that is never."""
        from slicewise.offhours import observe

        return observe.times(self.trigger(cluster, ""), self.ports, self.default_policy)

    def off_hours_outside(self, cluster: str) -> OffHoursObservation:
        """What is known of a cluster's sleep without reading the cluster."""
        from slicewise.offhours import observe

        return observe.outside(self.trigger(cluster, ""), self.ports, self.default_policy)

    def reconciler(self, capability: str) -> Reconciler[Any]:
        if capability == ONBOARDING:
            return self.onboarding
        return self.tuning if capability == TUNING else self.off_hours

    def answer(
        self, event: Mapping[str, Any], capability: str, log: Any, new_metrics: NewMetrics | None = None
    ) -> dict[str, Any]:
        """A batch of the capability's queue; see batch.answer."""
        return batch.answer(
            *(event, self.reconciler(capability), self.scope, self.ports.queues, capability, log),
            new_metrics=new_metrics if self.metrics else None,
        )

    def sweep(self, log: Any = None) -> tuple[DelayedTrigger, ...]:
        """
        Ask for a reconcile of every cluster that exists or is recorded; returns what was asked for.

        Args:
            log: Gets a line for each record that cannot be read whole. They stop nothing: the next reconcile
                replaces each.
        """
        records = self.ports.store.records()
        names = self.ports.eks.cluster_names()
        triggers = sweep(names, records, self.scope)
        self._ask_for(triggers)
        self._note_sweep(records, len(names), log or logging.getLogger(__name__))
        return triggers

    def watch_openings(self, report: Callable[[tuple[str, ...]], None]) -> tuple[DelayedTrigger, ...]:
        """
        Ask for a reconcile of every cluster whose waking is due; returns what was asked for.

        Args:
            report: Gets the clusters in which something sleeps past its hour, also where there are none. It
                comes first: the operators are notified, no matter what becomes of the messages.
        """
        now = self.clock()
        found = self.ports.sleep.openings(now)
        report(self._late(found, now))
        triggers = openings.triggers(found, now)
        self._ask_for(triggers)
        return triggers

    def overdue_clusters(self) -> tuple[str, ...]:
        """ARNs of those in which something sleeps past its hour, without anyone having asked for that."""
        now = self.clock()
        return self._late(self.ports.sleep.openings(now), now)

    def _late(self, found: Mapping[str, Opening], now: datetime) -> tuple[str, ...]:
        late = openings.past_their_hour(found, now)
        return tuple(cluster for cluster in late if not self._is_wanted_asleep(cluster, now))

    def _is_wanted_asleep(self, cluster: str, now: datetime) -> bool:
        """A reconcile has not recorded it yet; where that is not known, it is overdue."""
        try:
            override = self.ports.sleep.override(cluster)
            asked = override is not None and override.asleep and override.holds(now)
            return asked or self.ports.store.keeps_asleep(cluster)
        except SlicewiseError:
            return False

    def _ask_for(self, triggers: Iterable[DelayedTrigger]) -> None:
        for capability in CAPABILITIES:
            self.ports.queues.send_all(
                capability,
                [(one.trigger.message(), one.delay) for one in triggers if one.capability == capability],
            )

    def _note_sweep(self, records: Iterable[Record], clusters: int, log: Any) -> None:
        """For people. The reconciles are asked for, no matter what fails here."""
        for record in records:
            if record.unreadable:
                named = {"cluster": record.cluster, "capability": record.capability}
                log.warning("a record cannot be read whole", extra=named | {"fields": record.unreadable})
        try:
            self.ports.store.note_sweep(self.clock(), clusters)
        except SlicewiseError as error:
            log.warning("this sweep could not be noted", extra={"why": str(error)})

    def trigger(self, cluster: str, reason: str, forced: bool = False) -> Trigger:
        """A trigger for a cluster that a person named, by name or ARN."""
        return Trigger(cluster if cluster.startswith("arn:") else self.scope.arn(cluster), reason, forced)


def metrics_of(
    source: MetricsSource, endpoint: str, session: Session, region: str, video: Iterable[str] = ()
) -> Metrics:
    """
    Args:
        endpoint: Of a Prometheus; no other source has one.
        region: Of Container Insights; no other source needs one.
        video: What is read of GPUs' video engines, of hardware.gpus.VIDEO_KINDS: no other source than a
            Prometheus has it.
    """
    if source is MetricsSource.PROMETHEUS:
        from slicewise.gateways.prometheus import PrometheusMetrics

        return PrometheusMetrics(endpoint, session, video)
    if source is MetricsSource.CONTAINER_INSIGHTS:
        from slicewise.gateways.cloudwatch_metrics import CloudWatchMetrics

        return CloudWatchMetrics(session, region)
    if source is MetricsSource.CONTAINER_INSIGHTS_OTEL:
        from slicewise.gateways.cloudwatch_promql import CloudWatchPromQl

        return CloudWatchPromQl(session, region)
    return NoMetrics()


def _helm(environ: Mapping[str, str]) -> Path:
    """The layer's; a person's own where there is no layer."""
    from shutil import which

    layers = Path(environ.get("OPT_ROOT", "/opt"), "helm", "helm")
    found = None if layers.exists() else which("helm", path=environ.get("PATH", ""))
    return Path(found) if found else layers


@dataclass(frozen=True)
class _PerCluster:
    """Gateways that are made for one cluster or one policy, each once it is asked for."""

    environ: Mapping[str, str]
    session: Session
    region: str
    charts: Iterable[Chart]

    def kubernetes(self, cluster: EksCluster) -> KubernetesApi:
        return KubernetesApi.of(cluster, eks.tokens(cluster, self.session))

    def helm(self, cluster: EksCluster) -> Helm:
        from slicewise.gateways.helm import HelmCli

        return HelmCli(
            binary=_helm(self.environ),
            cluster=cluster,
            token=eks.tokens(cluster, self.session),
            kubernetes=self.kubernetes(cluster),
            charts=Path(self.environ.get("LAMBDA_TASK_ROOT", ".")),
            environ=self.environ,
            digests={chart.ref: chart.sha256 for chart in self.charts if chart.sha256},
        )

    def metrics(self, policy: Policy) -> Metrics:
        source, endpoint = policy.metrics.source, policy.metrics.endpoint
        return metrics_of(source, endpoint, self.session, self.region, policy.video_kinds)


def _ports(environ: Mapping[str, str], session: Session, region: str, charts: Iterable[Chart]) -> Ports:
    per_cluster = _PerCluster(environ, session, region, charts)
    table = _required(environ, "TABLE_NAME")
    queues = {
        ONBOARDING: _required(environ, "ONBOARDING_QUEUE_URL"),
        TUNING: _required(environ, "TUNING_QUEUE_URL"),
        OFF_HOURS: _required(environ, "OFF_HOURS_QUEUE_URL"),
    }
    return Ports(
        eks=eks.EksApi(session, region),
        store=StateTable(table, session, region),
        queues=SqsQueues(queues, session, region),
        policies=SsmPolicies(_required(environ, "POLICY_PREFIX"), session, region),
        kubernetes=per_cluster.kubernetes,
        helm=per_cluster.helm,
        metrics=per_cluster.metrics,
        alarms=CloudWatchAlarms(session, region),
        sleep=SleepTable(table, session, region),
        usage=UsageTable(table, session, region),
        costs=CostTable(table, session, region),
        schedules=EventBridgeSchedules(
            _required(environ, "SCHEDULE_GROUP"),
            _required(environ, "OFF_HOURS_QUEUE_ARN"),
            _required(environ, "SCHEDULER_ROLE_ARN"),
            session,
            region,
        ),
        notices=SnsNotices(_required(environ, "NOTICES_TOPIC_ARN"), session, region),
        iam=IamApi(session, region),
        subnets=Ec2Api(session, region),
        event_queues=SqsEventQueues(session, region),
        event_rules=EventBridgeRules(session, region),
    )


def _settings(environ: Mapping[str, str]) -> Settings:
    karpenter = environ.get("KARPENTER_VERSION", "")
    return Settings(
        installer_role=_required(environ, "INSTALLER_ROLE_ARN"),
        tuner_role=_required(environ, "TUNER_ROLE_ARN"),
        sleeper_role=_required(environ, "SLEEPER_ROLE_ARN"),
        gpu_operator=Chart(
            _required(environ, "GPU_OPERATOR_CHART"),
            _required(environ, "GPU_OPERATOR_VERSION"),
            environ.get("GPU_OPERATOR_SHA256", ""),
        ),
        karpenter=Chart(environ.get("KARPENTER_CHART", ""), karpenter, environ.get("KARPENTER_SHA256", "")),
        karpenter_crd=Chart(
            environ.get("KARPENTER_CRD_CHART", ""), karpenter, environ.get("KARPENTER_CRD_SHA256", "")
        ),
        karpenter_controller_role=environ.get("KARPENTER_CONTROLLER_ROLE_ARN", ""),
        karpenter_node_role=environ.get("KARPENTER_NODE_ROLE_NAME", ""),
        fargate_pod_role=environ.get("FARGATE_POD_ROLE_ARN", ""),
        fargate_controller_role_prefix=environ.get("FARGATE_CONTROLLER_ROLE_PREFIX", ""),
        fargate_controller_policy=environ.get("FARGATE_CONTROLLER_POLICY_ARN", ""),
        may_handle_interruptions=bool(environ.get("KARPENTER_INTERRUPTIONS")),
    )


def _deployment_scope(role_arn: str, region: str) -> DeploymentScope:
    """Account and partition of "arn:aws:iam::111122223333:role/slicewise-installer"."""
    _, partition, _, _, account, _ = role_arn.split(":", 5)
    return DeploymentScope(account, region, partition)


def _required(environ: Mapping[str, str], name: str) -> str:
    if value := environ.get(name):
        return value
    raise MissingSetting(name)
