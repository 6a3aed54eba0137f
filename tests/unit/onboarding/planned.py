"""Worlds for the plan of an onboarding, and a cluster that was onboarded."""

from datetime import timedelta

from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry
from slicewise.onboarding.observation import Observation, ObserveError, ObserveFailure
from slicewise.onboarding.plan import plan

from tests.support import builders
from tests.support.builders import INSTALLER, NOW
from tests.support.simulated_cluster import SimulatedCluster


def entry(*, admin=False, age=timedelta(seconds=3), groups=("slicewise:installer",)):
    policies = (CLUSTER_ADMIN_POLICY,) if admin else ()
    return {INSTALLER: AccessEntry(INSTALLER, groups, policies, created_at=NOW - age)}


def world(**known):
    given = {"cluster": builders.cluster(), "policy": builders.policy(), "policy_name": "default"}
    return Observation(**(given | known))


def planned(**known):
    return plan(world(**known), builders.settings(), NOW)


def kinds(found):
    return [type(action) for action in found.actions]


def unauthorized():
    return ObserveError(ObserveFailure.UNAUTHORIZED, "401")


def onboarded(pools=builders.DEFAULT_POOLS):
    cluster = SimulatedCluster(policy=builders.policy(pools))
    cluster.run()
    cluster.done.clear()
    return cluster
