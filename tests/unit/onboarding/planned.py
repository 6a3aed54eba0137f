"""Worlds for the plan of an onboarding, and a cluster that was onboarded."""

from datetime import timedelta

from slicewise.model import CLUSTER_ADMIN_POLICY, AccessEntry
from slicewise.onboarding.plan import plan
from slicewise.onboarding.world import LookError, LookFailure, World

from tests import builders
from tests.builders import INSTALLER, NOW
from tests.simulated import SimulatedCluster


def entry(*, admin=False, age=timedelta(seconds=3), groups=("slicewise:installer",)):
    policies = (CLUSTER_ADMIN_POLICY,) if admin else ()
    return {INSTALLER: AccessEntry(INSTALLER, groups, policies, created_at=NOW - age)}


def world(**known):
    given = {"cluster": builders.cluster(), "policy": builders.policy(), "policy_name": "default"}
    return World(**(given | known))


def planned(**known):
    return plan(world(**known), builders.settings(), NOW)


def kinds(found):
    return [type(action) for action in found.actions]


def unauthorized():
    return LookError(LookFailure.UNAUTHORIZED, "401")


def onboarded(pools=builders.DEFAULT_POOLS):
    cluster = SimulatedCluster(policy=builders.policy(pools))
    cluster.run()
    cluster.done.clear()
    return cluster
