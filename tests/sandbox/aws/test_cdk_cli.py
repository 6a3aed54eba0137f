"""Slicewise deployed by the real CDK CLI: bootstrap, deploy, diff, deploy again, destroy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.aws.cloudformation import cdk_cli
from sandbox.aws.server import Aws
from sandbox.synthesis import synthesize
from sandbox.system import context_for

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    try:
        cdk_cli.install()
    except cdk_cli.CdkFailed as reason:
        pytest.skip(f"the CDK CLI cannot be had here: {reason}")
    # In the account of `python -m sandbox up`, whose assembly was synthesized already or will be.
    with Aws.start(tmp_path_factory.mktemp("aws")) as aws:
        yield aws


@pytest.fixture(scope="module")
def assembly(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("cdk") / "cdk.out", context_for(aws))


def test_what_users_type_deploys_and_takes_away_the_whole_app(aws, assembly, tmp_path):
    def cdk(*arguments: str) -> str:
        return cdk_cli.cdk([*arguments, "--app", str(assembly)], aws, folder=tmp_path)

    cdk_cli.cdk(["bootstrap", f"aws://{aws.account}/{aws.region}"], aws, folder=tmp_path)
    cdk("deploy", "--all", "--require-approval", "never")
    functions = {one["FunctionName"] for one in aws.client("lambda").list_functions()["Functions"]}
    assert "slicewise-onboard-cluster" in functions
    assert aws.client("scheduler").list_schedules()["Schedules"]
    assert aws.functions.invoke("slicewise-sweep-fleet", {}).failed is False

    assert "Number of stacks with differences: 0" in cdk("diff")
    assert "no changes" in cdk("deploy", "--all", "--require-approval", "never")

    cdk("destroy", "--all", "--force")
    assert aws.client("lambda").list_functions()["Functions"] == []
