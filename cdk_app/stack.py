"""The stack as a table of contents: what is stored, what runs and may do what, what calls what."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import Duration
from constructs import Construct

from cdk_app import functions, nag_acknowledgements, outputs, synth_warnings
from cdk_app.assets.bundle import Assets
from cdk_app.assets.policies import PolicyFile
from cdk_app.components import policy_parameters
from cdk_app.components.controller import Controller
from cdk_app.components.dashboard import Dashboard
from cdk_app.components.function import Shared
from cdk_app.components.karpenter import KarpenterRoles
from cdk_app.components.layer import Layer
from cdk_app.components.notices import Notices
from cdk_app.components.offhours_schedules import OffHoursSchedules
from cdk_app.components.state import State
from cdk_app.components.trigger_queue import DeadLetters
from cdk_app.components.triggers import AlarmChanges, ClusterCalls, HourlySweep, OpeningsWatch
from cdk_app.config import Config
from cdk_app.environment import environment
from cdk_app.permissions import RoleNames
from cdk_app.resources import Resources

DESCRIPTION = "Slicewise: GPUs on Amazon EKS, sliced, tuned and put to sleep"

# A reconcile has a cluster's lease for so long at most. The runtime has them, too (slicewise.app.TIMEOUTS); a
# test compares.
# A helm call ends within 10 minutes, since its token lives 15.
INSTALLER_TIMEOUT = Duration.minutes(15)
TUNER_TIMEOUT = Duration.minutes(5)
SLEEPER_TIMEOUT = Duration.minutes(3)


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
        super().__init__(scope, id, stack_name=config.stack_name, env=env, description=DESCRIPTION)
        roles = RoleNames.with_prefix(
            config.role_prefix,
            karpenter=config.install_karpenter,
            fargate=config.karpenter_on_fargate,
            interruptions=config.karpenter_interruptions,
        )

        # What is stored, and where messages wait.
        notices = Notices(self, "Notices", email=config.notification_email)
        state = State(self, "State")
        onboarding = Controller(self, "Onboarding", "onboarding", timeout=INSTALLER_TIMEOUT, notices=notices)
        tuning = Controller(self, "Tuning", "tuning", timeout=TUNER_TIMEOUT, notices=notices)
        off_hours = Controller(self, "OffHours", "off-hours", timeout=SLEEPER_TIMEOUT, notices=notices)
        schedules = OffHoursSchedules(self, "Schedules", queue=off_hours.queue)
        missed_sweeps = DeadLetters(self, "MissedSweeps", name="sweep", notices=notices)
        missed_openings = DeadLetters(self, "MissedLooks", name="openings", notices=notices)
        karpenter = KarpenterRoles.if_named(self, "Karpenter", roles)
        layer = Layer(self, "Layer", asset=assets.layer)
        made = Resources(notices, state, onboarding, tuning, off_hours, schedules, karpenter)

        # What runs, and what it may do.
        shared = Shared.of(config, layer, environment(config, roles, made))
        onboard = functions.onboard_cluster(self, assets.onboard_cluster, shared, made, roles)
        tune = functions.tune_slicing(assets.tune_slicing, shared, made, config.amp_workspaces)
        shift = functions.shift_capacity(assets.shift_capacity, shared, made)
        sweep = functions.sweep_fleet(self, assets.sweep_fleet, shared, made, missed_sweeps)
        watch = functions.watch_openings(self, assets.watch_openings, shared, made, missed_openings)

        policy_parameters.publish(self, policies, after=(onboard, tune, shift, sweep, watch))

        # What calls whom.
        ClusterCalls(self, "ClusterCalls", inbox=onboarding)
        AlarmChanges(self, "AlarmChanges", inbox=tuning)
        HourlySweep(self, "HourlySweep", sweep, dead_letters=missed_sweeps, notices=notices)
        OpeningsWatch(self, "OpeningsWatch", watch, dead_letters=missed_openings, notices=notices)

        # What a person sees of it.
        if config.dashboard:
            Dashboard(self, "Dashboard")
        outputs.write(self, made, onboard=onboard, tune=tune, shift=shift)
        nag_acknowledgements.for_all(config, onboard, tune, shift, sweep, watch, karpenter=karpenter)
        synth_warnings.write(self, config, has_bytecode=assets.has_bytecode)
