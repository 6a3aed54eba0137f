"""Functions are what the runtime's code expects, and what is kept is kept for as long as we say."""

from __future__ import annotations

import ast
import hashlib
import json
import sys

import pytest
from slicewise.policy import checked
from slicewise.policy.model import parse

from cdk_app.assets.bundle import PACKAGE
from cdk_app.config import ROOT
from tests.contract.store.tables import INDEXES
from tests.infra.templates import spelt_out
from tests.support.nonempty import nonempty

FUNCTION = "AWS::Lambda::Function"
KARPENTERS = ("karpenter-controller", "karpenter-node", "karpenter-fargate-pods")
# What Lambda itself sets, or the sandbox in its place.
OF_THE_RUNTIME = {"AWS_REGION", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_TASK_ROOT", "OPT_ROOT"}
OF_POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL"}


def names_read_by_the_runtime() -> set[str]:
    """Every upper-case text in the composition root's code: the names of the environment that it reads."""
    tree = ast.parse((PACKAGE / "app.py").read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and "_" in text and text.isupper()}


def test_every_function_gets_the_whole_environment_that_the_runtime_reads(template):
    assert len(names_read_by_the_runtime()) > 10
    for function in template.all(FUNCTION):
        given = set(function.properties["Environment"]["Variables"])
        assert given == names_read_by_the_runtime() - OF_THE_RUNTIME | OF_POWERTOOLS


def test_charts_are_references_unless_they_are_files(template, full):
    plain = template.function("slicewise-onboard-cluster").properties["Environment"]["Variables"]
    function = full.function("slicewise-onboard-cluster")
    vendored = function.properties["Environment"]["Variables"]

    assert plain["GPU_OPERATOR_CHART"].startswith("https://")
    assert plain["KARPENTER_CHART"].startswith("oci://")
    assert vendored["GPU_OPERATOR_CHART"] == "charts/gpu_operator-v26.7.0.tgz"
    for name in ("GPU_OPERATOR_CHART", "KARPENTER_CHART", "KARPENTER_CRD_CHART"):
        assert (full.asset_folder(function) / vendored[name]).is_file()


def test_the_installer_is_reported_which_digests_to_expect_of_the_charts(template, full):
    def digests(of) -> list[str]:
        reported = of.function("slicewise-onboard-cluster").properties["Environment"]["Variables"]
        return [
            reported[name] for name in ("GPU_OPERATOR_SHA256", "KARPENTER_SHA256", "KARPENTER_CRD_SHA256")
        ]

    assert digests(template) == ["", "", ""]
    charts = (b"gpu_operator", b"karpenter", b"karpenter_crd")
    assert digests(full) == [hashlib.sha256(chart).hexdigest() for chart in charts]


def test_synthesis_warns_of_a_chart_without_a_digest_and_says_what_prints_it(template, full):
    def warnings(of) -> str:
        return "".join(path.read_text() for path in of.assembly.glob("*.json") if "template" not in path.name)

    assert "gpu-operator-v26.7.0.tgz v26.7.0 is installed as it comes" in warnings(template)
    how = "gpu-operator-v26.7.0.tgz | sha256sum` prints, and pass -c gpu_operator_sha256="
    assert how in warnings(template)
    assert "karpenter_sha256" not in warnings(template), "nobody installs it by this deployment"
    assert "chart-unchecked" not in warnings(full)


def test_our_node_class_gets_the_role_that_is_named_or_made(template, full):
    def role(of):
        return of.function("slicewise-onboard-cluster").properties["Environment"]["Variables"][
            "KARPENTER_NODE_ROLE_NAME"
        ]

    assert role(template) == "gpu-nodes"
    assert "Ref" in role(full)


def test_only_the_installer_runs_on_x86_since_helm_comes_so(template):
    architectures = {
        item.properties["FunctionName"]: item.properties["Architectures"] for item in template.all(FUNCTION)
    }
    layers = {
        item.properties["FunctionName"]: len(item.properties["Layers"]) for item in template.all(FUNCTION)
    }

    assert architectures == {
        "slicewise-onboard-cluster": ["x86_64"],
        "slicewise-tune-slicing": ["arm64"],
        "slicewise-shift-capacity": ["arm64"],
        "slicewise-sweep-fleet": ["arm64"],
        "slicewise-watch-openings": ["arm64"],
    }
    assert layers == {
        "slicewise-onboard-cluster": 2,
        "slicewise-tune-slicing": 1,
        "slicewise-shift-capacity": 1,
        "slicewise-sweep-fleet": 1,
        "slicewise-watch-openings": 1,
    }


def test_every_function_has_its_own_role_and_its_handler_in_its_asset(template):
    roles = set()
    for function in template.all(FUNCTION):
        module, _, name = function.properties["Handler"].partition(".")
        source = (template.asset_folder(function) / f"{module}.py").read_text()
        assert f"def {name}(" in source
        roles.add(function.properties["Role"]["Fn::GetAtt"][0])

    assert len(roles) == len(template.all(FUNCTION)) == 5


def test_the_installer_outlives_a_helm_call_and_its_token(template):
    properties = template.function("slicewise-onboard-cluster").properties

    assert properties["Timeout"] == 15 * 60
    assert properties["MemorySize"] >= 1024


def test_logs_are_kept_three_months_and_go_with_the_stack(template):
    groups = template.all("AWS::Logs::LogGroup")
    used = {item.properties["LoggingConfig"]["LogGroup"]["Ref"] for item in template.all(FUNCTION)}

    assert {item.id for item in groups} == used
    for group in groups:
        assert group.properties["RetentionInDays"] == 90
        assert group.attributes["DeletionPolicy"] == "Delete"


def test_the_table_outlives_the_stack_and_can_be_set_back(template):
    table = template.one("AWS::DynamoDB::Table", TableName="slicewise-state")

    assert table.attributes["DeletionPolicy"] == table.attributes["UpdateReplacePolicy"] == "Retain"
    assert table.properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table.properties["DeletionProtectionEnabled"] is True, "what sleeps could not be woken without it"
    assert table.properties["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert table.properties["BillingMode"] == "PAY_PER_REQUEST"


def test_the_table_has_the_indexes_that_the_contract_of_its_stores_is_tried_on(template):
    found = template.one("AWS::DynamoDB::Table").properties["GlobalSecondaryIndexes"]

    assert {
        index["IndexName"]: tuple(key["AttributeName"] for key in index["KeySchema"]) for index in found
    } == INDEXES
    assert all(index["Projection"] == {"ProjectionType": "ALL"} for index in found)


def test_every_policy_file_becomes_the_parameter_that_clusters_name(template):
    files = {f"/slicewise/policies/{path.stem}": path for path in (ROOT / "policies").glob("*.yaml")}
    parameters = {
        item.properties["Name"]: item.properties["Value"] for item in template.all("AWS::SSM::Parameter")
    }

    assert parameters.keys() == nonempty(files).keys()
    for name, path in files.items():
        # Without its comments, and vouched for: a function takes it as it is.
        assert checked.read(parameters[name], "any") == parse(path.read_text(), "any")


def test_policies_are_deployed_after_the_functions_that_read_them(template):
    """The newer ones read the older policies; the older ones may refuse a field of the newer policies."""
    readers = {
        item.id
        for item in template.all("AWS::Lambda::Function")
        if str(item.properties.get("FunctionName", "")).startswith("slicewise-")
    }

    for parameter in template.all("AWS::SSM::Parameter"):
        assert set(parameter.attributes["DependsOn"]) == nonempty(readers)


def test_roles_carry_the_prefix_so_that_a_second_region_does_not_collide(template, full):
    def names(which):
        return {item.properties.get("RoleName") for item in which.all("AWS::IAM::Role")} - {None}

    ours = {"installer", "tuner", "sleeper", "sweeper", "watcher"}
    assert names(template) == {f"slicewise-{who}" for who in ours}
    assert names(full) == {f"gpu-eu-{who}" for who in ours | set(KARPENTERS)}
    environment = full.function("slicewise-onboard-cluster").properties["Environment"]["Variables"]
    assert spelt_out(environment["INSTALLER_ROLE_ARN"]).endswith(":role/gpu-eu-installer")


def test_functions_that_talk_to_clusters_stand_in_the_subnets_given(template, full):
    inside = {
        item.properties["FunctionName"]: item.properties.get("VpcConfig") for item in full.all(FUNCTION)
    }

    assert not any(item.properties.get("VpcConfig") for item in template.all(FUNCTION))
    assert inside.pop("slicewise-sweep-fleet") is inside.pop("slicewise-watch-openings") is None
    for config in inside.values():
        assert config["SubnetIds"] == ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
        assert config["SecurityGroupIds"] == ["sg-0123456789abcdef0"]


@pytest.mark.parametrize("which", ["template", "full"])
def test_nothing_asks_the_account_at_synthesis(which, request):
    manifest = json.loads((request.getfixturevalue(which).assembly / "manifest.json").read_text())

    assert "missing" not in manifest


def test_outputs_name_what_a_person_needs_next(template):
    outputs = template.body["Outputs"]

    assert {"NoticesTopicArn", "OnboardingQueueUrl", "DeadLettersUrl", "StateTableName"} <= set(outputs)
    assert all(output.get("Description") for name, output in outputs.items() if name != "BootstrapVersion")


@pytest.mark.skipif(sys.version_info[:2] == (3, 13), reason="this Python compiles for the runtime")
def test_bytecode_for_another_python_is_reported_as_slow_cold_starts(template):
    """The template under test is compiled by the Python that runs the tests, as in the sandbox."""
    reported = (template.assembly / "Slicewise.metadata.json").read_text()

    assert "No Python 3.13 was found to compile the Lambda code with" in reported
