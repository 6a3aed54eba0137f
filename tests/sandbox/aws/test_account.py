"""What services find out about the account that they serve, and what is kept of clusters and schedules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.aws.cloudtrail.events import Events
from sandbox.aws.cloudwatch.metrics import MetricStore
from sandbox.aws.core import registry
from sandbox.aws.functions.functions import Functions
from sandbox.aws.iam.enforcement import Iam
from sandbox.aws.scheduler.schedules import Schedules
from sandbox.aws.server import Aws

ROLE = "arn:aws:iam::123456789012:role/eks"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws"), creating_seconds=0) as aws:
        yield aws


def test_each_account_has_services_of_its_own(aws, tmp_path: Path):
    with Aws.start(tmp_path, account="210987654321") as other:
        for kind in (Events, Functions, Iam, MetricStore):
            found = [registry.served(one.account).service(kind) for one in (aws, other)]

            assert [type(one) for one in found] == [kind, kind]
            assert found[0] is not found[1]


def test_a_service_that_an_account_lacks_is_named(aws):
    with pytest.raises(LookupError, match="no Schedules of its own"):
        aws.service(Schedules)


def test_an_account_that_is_not_served_is_named_with_what_serves_it():
    assert registry.of("000000000000") is None
    with pytest.raises(LookupError, match=r"account 000000000000 is not served .* Aws\.start"):
        registry.served("000000000000")


def test_a_cluster_that_is_made_again_under_its_name_has_nothing_of_the_one_before(aws):
    eks = aws.client("eks")
    for entries in ([ROLE], []):
        access = {"authenticationMode": "API"}
        eks.create_cluster(name="again", roleArn=ROLE, resourcesVpcConfig={}, accessConfig=access)
        for principal in entries:
            eks.create_access_entry(clusterName="again", principalArn=principal)

        assert eks.list_access_entries(clusterName="again")["accessEntries"] == entries
        eks.delete_cluster(name="again")
