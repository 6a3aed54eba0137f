"""The functions: what each one runs, with which role, and all that this role may do."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk.lambda_layer_kubectl_v37 import KubectlV37Layer
from constructs import Construct

from cdk_app import permissions
from cdk_app.assets.bundle import Asset
from cdk_app.components.function import ControllerFunction, Shared
from cdk_app.components.policy_parameters import POLICY_PREFIX
from cdk_app.components.trigger_queue import DeadLetters
from cdk_app.resources import Resources

SWEEP_TIMEOUT = Duration.minutes(5)
WATCH_TIMEOUT = Duration.minutes(2)
# A fleet in one time zone wakes within minutes, each reconcile in another API server (`python -m bench
# openings`). The runtime has it, too (slicewise.fleet.openings); a test compares.
SLEEPERS_AT_ONCE = 120


def onboard_cluster(
    scope: Construct, code: Asset, shared: Shared, made: Resources, roles: permissions.RoleNames
) -> ControllerFunction:
    onboard = made.onboarding.run(
        "OnboardCluster",
        name="onboard-cluster",
        role="installer",
        code=code,
        shared=shared,
        memory_mib=1024,
        # helm comes with this layer, which is built for x86-64 only.
        layers=[KubectlV37Layer(scope, "Helm")],
        architecture=lambda_.Architecture.X86_64,
        max_concurrency=10,
        grants=[
            *permissions.installer(roles),
            permissions.read_policies(POLICY_PREFIX),
            permissions.use_table(
                made.state.table, "GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"
            ),
            permissions.send(made.onboarding.queue, made.tuning.queue, made.off_hours.queue),
            permissions.publish(made.notices.topic),
        ],
    )
    # Policies of their own: with them as inline ones, the role would grow beyond what IAM takes.
    for id, name, statements in (
        (permissions.FARGATE_POLICY_ID, "on-fargate", permissions.installer_on_fargate(roles)),
        (permissions.INTERRUPTIONS_POLICY_ID, "interruptions", permissions.installer_of_interruptions(roles)),
    ):
        if statements:
            name = f"{roles.installer}-{name}"
            iam.ManagedPolicy(
                scope, id, managed_policy_name=name, statements=statements, roles=[onboard.role]
            )
    return onboard


def tune_slicing(
    code: Asset, shared: Shared, made: Resources, amp_workspaces: Sequence[str]
) -> ControllerFunction:
    return made.tuning.run(
        "TuneSlicing",
        name="tune-slicing",
        role="tuner",
        code=code,
        shared=shared,
        max_concurrency=10,
        grants=[
            *permissions.tuner(amp_workspaces),
            permissions.read_policies(POLICY_PREFIX),
            permissions.use_table(made.state.table, "GetItem", "PutItem", "UpdateItem", "Query"),
            permissions.send(made.tuning.queue),
            permissions.publish(made.notices.topic),
        ],
    )


def shift_capacity(code: Asset, shared: Shared, made: Resources) -> ControllerFunction:
    return made.off_hours.run(
        "ShiftCapacity",
        name="shift-capacity",
        role="sleeper",
        code=code,
        shared=shared,
        max_concurrency=SLEEPERS_AT_ONCE,
        grants=[
            *permissions.sleeper(made.schedules.group, made.schedules.role),
            permissions.read_policies(POLICY_PREFIX),
            permissions.use_table(
                made.state.table, "GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"
            ),
            permissions.send(made.off_hours.queue),
            permissions.publish(made.notices.topic),
        ],
    )


def sweep_fleet(
    scope: Construct, code: Asset, shared: Shared, made: Resources, missed: DeadLetters
) -> ControllerFunction:
    sweep = ControllerFunction(
        scope,
        "SweepFleet",
        name="sweep-fleet",
        role="sweeper",
        code=code,
        shared=shared,
        timeout=SWEEP_TIMEOUT,
        dead_letters=missed.queue,
    )
    sweep.allow(
        *permissions.sweeper(),
        permissions.read_index(made.state.table, "records"),
        permissions.note_sweeps(made.state.table),
        permissions.send(made.onboarding.queue, made.tuning.queue, made.off_hours.queue),
    )
    return sweep


def watch_openings(
    scope: Construct, code: Asset, shared: Shared, made: Resources, missed: DeadLetters
) -> ControllerFunction:
    watch = ControllerFunction(
        scope,
        "WatchOpenings",
        name="watch-openings",
        role="watcher",
        code=code,
        shared=shared,
        timeout=WATCH_TIMEOUT,
        dead_letters=missed.queue,
    )
    watch.allow(*permissions.watch_openings(made.state.table), permissions.send(made.off_hours.queue))
    return watch
