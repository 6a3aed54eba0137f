"""The `slicewise` command and a deployment: what a person sees of a cluster, and how they ask for a look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sandbox.onboarding.struck_cluster import NAME
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

ROOT = Path(__file__).parents[3]
EVERYTHING = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
CLUSTER_ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

Command = Callable[..., str]


@pytest.fixture(scope="module")
def slicewise(system, struck) -> Command:
    """Runs the command as an engineer who has an access entry of their own."""
    iam, eks = system.aws.client("iam"), system.aws.client("eks")
    role = iam.create_role(RoleName="engineer", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    iam.put_role_policy(RoleName="engineer", PolicyName="all", PolicyDocument=json.dumps(EVERYTHING))
    eks.create_access_entry(clusterName=NAME, principalArn=role)
    eks.associate_access_policy(
        clusterName=NAME, principalArn=role, policyArn=CLUSTER_ADMIN, accessScope={"type": "cluster"}
    )
    keys = system.aws.client("sts").assume_role(RoleArn=role, RoleSessionName="ann")["Credentials"]
    eventually(lambda: system.record(NAME, "tuning"), "the tuner has not looked")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environ = {
        **inherited,
        **system.aws.environment(),
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
    }

    def run(*arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    return run


def test_status_reports_where_a_cluster_stands_and_why(slicewise):
    said = slicewise("status", NAME)

    assert f"{NAME}: onboarding: onboarded since " in said
    assert "nothing to change: the cluster is as its policy says" in said
    assert "policy one-pool" in said


def test_status_without_a_name_reports_the_fleet(slicewise):
    lines = slicewise("status").splitlines()

    assert any(line.split()[:3] == [NAME, "onboarding", "onboarded"] for line in lines)


def test_status_of_a_cluster_that_nobody_checked_says_what_to_do(slicewise):
    assert "slicewise onboard elsewhere" in slicewise("status", "elsewhere", status=1)


def test_plan_looks_with_the_rights_of_who_asks_and_finds_nothing_to_do(slicewise):
    said = slicewise("plan", NAME)

    # Notes may stand between them, of GPU nodes that other tests left waiting; but no action.
    planned = [line for line in said.splitlines() if not line.startswith(("  note [", "    "))]
    assert [line.partition(": ")[0] for line in planned] == [NAME, NAME], said
    assert planned[0] == f"{NAME}: nothing to change: the cluster is as its policy says", said
    assert planned[1].startswith(f"{NAME}: tuning: "), said


def test_plan_reports_what_the_next_reconcile_would_do_and_does_not_do_it(system, struck, slicewise):
    overlay = "/apis/karpenter.sh/v1alpha1/nodeoverlays/slicewise-shared-l4-8"
    struck.cluster.kube.delete(overlay)

    assert "apply NodeOverlay slicewise-shared-l4-8" in slicewise("plan", NAME)
    assert struck.cluster.kube.find(overlay) is None


def test_onboard_has_the_cluster_checked_and_fixed_at_once(system, struck, slicewise):
    overlay = "/apis/karpenter.sh/v1alpha1/nodeoverlays/slicewise-shared-l4-8"
    before = system.record(NAME)["at"]

    assert f"{NAME} is queued for a reconcile" in slicewise("onboard", NAME)

    eventually(lambda: struck.cluster.kube.find(overlay), "the overlay is not mended")
    system.wait_for_stage(NAME, "onboarded")
    assert system.record(NAME)["at"] > before
