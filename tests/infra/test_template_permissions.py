"""Least privilege: who may do what, and under which condition."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

import pytest
from slicewise.model import cluster as model
from slicewise.onboarding import rbac
from slicewise.onboarding.aws import fargate, interruptions

from tests.infra.templates import Template, as_list, spelt_out
from tests.support import builders

ROLES = (
    "slicewise-installer",
    "slicewise-tuner",
    "slicewise-sleeper",
    "slicewise-sweeper",
    "slicewise-watcher",
)
FULL_ROLES = (
    "gpu-eu-installer",
    "gpu-eu-tuner",
    "gpu-eu-sleeper",
    "gpu-eu-sweeper",
    "gpu-eu-watcher",
    "gpu-eu-karpenter-controller",
)
EKS = "arn:<AWS::Partition>:eks:<AWS::Region>:<AWS::AccountId>"
ADMIN = model.CLUSTER_ADMIN_POLICY.replace("arn:aws:", "arn:<AWS::Partition>:")


@cache
def reference() -> dict:
    """AWS's service authorization reference, as cfn-lint packages it: actions and their resources."""
    return json.loads(files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text())


def kinds_of_resources(action: str) -> list[str]:
    """The kinds that the action can be limited to; none where it knows only `*`."""
    service, name = action.split(":")
    # The packaged reference spells actions in lower case.
    known = reference()[service]["Actions"]
    assert name.lower() in known, f"{action} does not exist"
    return (known[name.lower()] or {}).get("Resources", [])


def every_statement(template: Template) -> list[dict]:
    """Of roles we made, whatever CDK added to them, and of resource policies."""
    types = ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
    return [
        statement
        for type in types
        for item in template.all(type)
        for statement in item.properties["PolicyDocument"]["Statement"]
    ]


@pytest.mark.parametrize("which", ["template", "full"])
def test_nothing_allows_a_wildcard_action(which, request):
    allowed = [
        action
        for statement in every_statement(request.getfixturevalue(which))
        if statement["Effect"] == "Allow"
        for action in as_list(statement["Action"])
    ]

    assert len(allowed) > 30
    assert not [action for action in allowed if "*" in action]


def grants(template: Template, roles: tuple[str, ...]) -> list[tuple[str, str, str]]:
    return [
        (role, action, resource)
        for role in roles
        for statement in template.statements(role)
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    ]


def fits(action: str, resource: str) -> bool:
    """Whether the action is checked on resources of this kind."""
    kinds = reference()[action.split(":")[0]]["Resources"]
    patterns = [pattern for kind in kinds_of_resources(action) for pattern in kinds[kind]["ARNFormats"]]
    plain = re.sub(r"<AWS::(\w+)>", r"\1", resource)
    return any(re.fullmatch(re.sub(r"\$\{\w+\}", r"[^:]*", pattern), plain) for pattern in patterns)


@pytest.mark.parametrize(("which", "roles"), [("template", ROLES), ("full", FULL_ROLES)])
def test_no_grant_is_without_effect(which, roles, request):
    """An action on a kind of resource that it is never checked on is a grant that silently does nothing."""
    template = request.getfixturevalue(which)
    statements = [(role, statement) for role in roles for statement in template.statements(role)]
    for role, statement in statements:
        actions = as_list(statement["Action"])
        # "*" is the next test's, and "<...>" names a resource of this template.
        resources = [item for item in as_list(statement["Resource"]) if item != "*" and item[0] != "<"]
        assert all(kinds_of_resources(action) is not None for action in actions)
        for resource in resources:
            assert any(fits(action, resource) for action in actions), f"{role}: {actions} on {resource}"
        for action in actions if resources else ():
            assert any(fits(action, resource) for resource in resources), f"{role}: {action} on {resources}"


@pytest.mark.parametrize(("which", "roles"), [("template", ROLES), ("full", FULL_ROLES)])
def test_all_resources_are_named_where_the_action_knows_resources(which, roles, request):
    template = request.getfixturevalue(which)
    # Lambda makes and deletes interfaces that do not exist yet; AWS documents these grants as unscoped.
    interfaces = {"ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"}
    interfaces |= {"ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"}
    # Their kind `dataset` is of metrics sent by OpenTelemetry; those of Container Insights have no ARN.
    metrics = {f"cloudwatch:{call}" for call in ("ListMetrics", "GetMetricData", "GetMetricStatistics")}

    for role, action, resource in grants(template, roles):
        if resource == "*" and action not in interfaces | metrics:
            assert not kinds_of_resources(action), f"{role}: {action} could be scoped"


@pytest.mark.parametrize(("which", "roles"), [("template", ROLES), ("full", FULL_ROLES)])
def test_only_the_tuner_reads_metrics_by_what_both_versions_of_container_insights_take(which, roles, request):
    """PromQL takes two of them ("IAM permissions for PromQL"), and signs for `monitoring`, not for `aps`."""
    readers = {(role, action) for role, action, _ in grants(request.getfixturevalue(which), roles)}
    metrics = {f"cloudwatch:{call}" for call in ("ListMetrics", "GetMetricData", "GetMetricStatistics")}

    [tuner] = [role for role in roles if role.endswith("-tuner")]
    assert {(role, action) for role, action in readers if action in metrics} == {
        (tuner, action) for action in metrics
    }


def test_entries_are_made_for_our_own_roles_and_groups_only(template):
    found = {
        statement["Condition"]["ArnEquals"]["eks:principalArn"].rsplit("/", 1)[-1]: statement
        for statement in template.granted("slicewise-installer", "eks:CreateAccessEntry")
    }

    assert set(found) == {"slicewise-installer", "slicewise-tuner", "slicewise-sleeper"}
    for role, statement in found.items():
        group = role.replace("slicewise-", "slicewise:")
        assert statement["Condition"]["ForAllValues:StringEquals"] == {"eks:kubernetesGroups": [group]}
        assert statement["Condition"]["StringEquals"] == {"eks:accessEntryType": "STANDARD"}
        assert statement["Resource"] == f"{EKS}:cluster/*"


def test_cluster_admin_is_the_only_policy_and_the_installer_the_only_one_to_get_it(template):
    (grant,) = template.granted("slicewise-installer", "eks:AssociateAccessPolicy")
    (revoke,) = template.granted("slicewise-installer", "eks:DisassociateAccessPolicy")

    assert grant["Condition"] == {
        "ArnEquals": {"eks:policyArn": ADMIN},
        "StringEquals": {"eks:accessScope": "cluster"},
    }
    assert revoke["Condition"] == {"ArnEquals": {"eks:policyArn": ADMIN}}
    for statement in (grant, revoke):
        assert statement["Resource"] == f"{EKS}:access-entry/*/role/<AWS::AccountId>/slicewise-installer/*"


def test_the_authentication_mode_changes_only_where_the_owner_tagged_the_cluster(template):
    (statement,) = template.granted("slicewise-installer", "eks:UpdateClusterConfig")

    assert statement["Condition"] == {
        "StringEquals": {
            "eks:authenticationMode": "API_AND_CONFIG_MAP",
            "aws:ResourceTag/slicewise.dev/allow-access-entries": "true",
        }
    }


def test_other_peoples_entries_can_be_neither_read_nor_changed(template):
    resources = {
        resource
        for action in ("Describe", "Update", "Delete")
        for statement in template.granted("slicewise-installer", f"eks:{action}AccessEntry")
        for resource in as_list(statement["Resource"])
    }

    assert resources == {
        f"{EKS}:access-entry/*/role/<AWS::AccountId>/slicewise-{who}/*"
        for who in ("installer", "tuner", "sleeper")
    }


def test_karpenters_installation_is_granted_only_where_it_is_deployed(template, full):
    actions = ("iam:PassRole", "eks:CreateAddon", "eks:CreatePodIdentityAssociation")

    assert not any(template.granted("slicewise-installer", action) for action in actions)
    assert all(full.granted("gpu-eu-installer", action) for action in actions)
    passed = {one["Resource"].rpartition("/")[2] for one in full.granted("gpu-eu-installer", "iam:PassRole")}
    assert passed == {"gpu-eu-karpenter-controller", "gpu-eu-karpenter-fargate-pods"}
    read = {
        resource.partition(":role/")[2]
        for one in full.granted("gpu-eu-installer", "iam:GetRole")
        for resource in as_list(one["Resource"])
    }
    assert read == passed | {"slicewise/gpu-eu-on-fargate-*", "gpu-eu-on-fargate-*"}


def test_what_fargate_takes_is_granted_only_where_it_is_deployed(template, full, no_fargate):
    actions = [action for one in of_fargate(full) for action in as_list(one["Action"])]

    assert {"iam:CreateRole", "iam:CreateOpenIDConnectProvider", "eks:CreateFargateProfile"} <= set(actions)
    for which, role in ((template, "slicewise-installer"), (no_fargate, "slicewise-installer")):
        elsewhere = {"iam:GetRole", "iam:PassRole", "eks:DescribeAccessEntry", "eks:DeleteAccessEntry"}
        assert not [action for action in set(actions) - elsewhere if which.granted(role, action)]


def of_fargate(template: Template) -> list[dict]:
    policy = template.one("AWS::IAM::ManagedPolicy", ManagedPolicyName="gpu-eu-installer-on-fargate")
    return [spelt_out(one) for one in policy.properties["PolicyDocument"]["Statement"]]


def test_a_role_that_the_installer_makes_is_in_our_path_and_bounded_by_karpenters_policy(full):
    policy = "arn:<AWS::Partition>:iam::<AWS::AccountId>:policy/gpu-eu-karpenter-controller"
    made = full.one("AWS::IAM::ManagedPolicy", ManagedPolicyName="gpu-eu-karpenter-controller")

    assert spelt_out(made.properties.get("Path", "/")) == "/"
    for action in ("CreateRole", "TagRole", "AttachRolePolicy", "DetachRolePolicy", "DeleteRole"):
        (statement,) = full.granted("gpu-eu-installer", f"iam:{action}")
        assert statement["Resource"].endswith(":role/slicewise/gpu-eu-on-fargate-*")
    (create,) = full.granted("gpu-eu-installer", "iam:CreateRole")
    assert create["Condition"]["ArnEquals"] == {"iam:PermissionsBoundary": policy}
    (attach,) = full.granted("gpu-eu-installer", "iam:AttachRolePolicy")
    assert attach["Condition"]["ArnEquals"] == {"iam:PolicyARN": policy}
    for action in ("UpdateAssumeRolePolicy", "PutRolePolicy", "DeleteRolePermissionsBoundary"):
        assert not full.granted("gpu-eu-installer", f"iam:{action}")


def test_an_oidc_provider_is_deleted_only_with_our_tag(full):
    (statement,) = full.granted("gpu-eu-installer", "iam:DeleteOpenIDConnectProvider")

    assert statement["Resource"].endswith(":oidc-provider/oidc.eks.<AWS::Region>.<AWS::URLSuffix>/id/*")
    tag = "aws:ResourceTag/slicewise.dev/cluster"
    assert statement["Condition"] == {"StringLike": {tag: f"{EKS}:cluster/*"}}


def test_the_role_of_fargates_pods_is_assumed_for_our_profiles_alone(full):
    role = full.one("AWS::IAM::Role", RoleName="gpu-eu-karpenter-fargate-pods")

    [statement] = spelt_out(role.properties["AssumeRolePolicyDocument"]["Statement"])
    assert statement["Principal"] == {"Service": "eks-fargate-pods.amazonaws.com"}
    source = statement["Condition"]["ArnLike"]["aws:SourceArn"]
    assert source == f"{EKS}:fargateprofile/*/slicewise-karpenter/*"


QUEUES = "arn:<AWS::Partition>:sqs:<AWS::Region>:<AWS::AccountId>:slicewise-interruptions-*"
RULES = "arn:<AWS::Partition>:events:<AWS::Region>:<AWS::AccountId>:rule/slicewise-interruptions-*"


def of_interruptions(full: Template) -> list[dict]:
    policy = full.one("AWS::IAM::ManagedPolicy", ManagedPolicyName="gpu-eu-installer-interruptions")
    return [spelt_out(one) for one in policy.properties["PolicyDocument"]["Statement"]]


def test_what_interruption_handling_takes_is_granted_only_where_it_is_deployed(template, full, no_fargate):
    actions = {action for one in of_interruptions(full) for action in as_list(one["Action"])}

    assert {"sqs:CreateQueue", "sqs:DeleteQueue", "events:PutRule", "events:PutTargets"} <= actions
    elsewhere = {"sqs:GetQueueAttributes"}  # of its own queue of triggers
    for which in (template, no_fargate):
        assert not [one for one in actions - elsewhere if which.granted("slicewise-installer", one)]
    assert no_fargate.statements("slicewise-karpenter-controller")
    assert not no_fargate.granted("slicewise-karpenter-controller", "sqs:ReceiveMessage")


def test_the_installer_changes_queues_and_rules_of_interruptions_by_their_names_alone(full):
    for statement in of_interruptions(full):
        assert statement["Resource"] in (QUEUES, RULES)


def test_the_installers_rules_match_awss_own_events_and_send_to_those_queues_alone(full):
    (put,) = full.granted("gpu-eu-installer", "events:PutRule")
    (target,) = full.granted("gpu-eu-installer", "events:PutTargets")

    assert spelt_out(put["Condition"]) == {
        "Null": {"events:source": "false"},
        "ForAllValues:StringEquals": {"events:source": ["aws.ec2", "aws.health"]},
    }
    assert spelt_out(target["Condition"]) == {
        "Null": {"events:TargetArn": "false"},
        "ForAllValues:ArnLike": {"events:TargetArn": QUEUES},
    }


def test_karpenters_controller_reads_its_own_clusters_queue_alone(full):
    allowed = [
        statement
        for statement in full.statements("gpu-eu-karpenter-controller")
        if any(action.startswith("sqs:") for action in as_list(statement["Action"]))
    ]

    by_name, by_tag = map(spelt_out, allowed)
    for statement in (by_name, by_tag):
        assert set(statement["Action"]) == {"sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:DeleteMessage"}
    own = "${aws:PrincipalTag/eks-cluster-name}"
    assert by_name["Resource"] == QUEUES.removesuffix("*") + own and "Condition" not in by_name
    assert by_tag["Resource"] == QUEUES
    assert by_tag["Condition"] == {"StringEquals": {"aws:ResourceTag/eks-cluster-name": own}}


def test_karpenters_controller_changes_only_what_its_own_cluster_made(full):
    own = "${aws:PrincipalTag/eks-cluster-name}"
    for action in ("ec2:TerminateInstances", "ec2:DeleteLaunchTemplate", "iam:DeleteInstanceProfile"):
        (statement,) = full.granted("gpu-eu-karpenter-controller", action)
        assert statement["Condition"]["StringEquals"]["aws:ResourceTag/eks:eks-cluster-name"] == own


def test_only_karpenters_own_service_account_gets_its_role(full):
    role = full.one("AWS::IAM::Role", RoleName="gpu-eu-karpenter-controller")
    conditions = [
        statement["Condition"]["StringEquals"]
        for statement in role.properties["AssumeRolePolicyDocument"]["Statement"]
    ]

    assert conditions
    for condition in conditions:
        assert condition == {
            "aws:RequestTag/kubernetes-namespace": "kube-system",
            "aws:RequestTag/kubernetes-service-account": "karpenter",
        }


def test_the_tuner_and_the_sweeper_cannot_change_anything_in_eks(template):
    eks = {
        role: {action for _, action, _ in grants(template, (role,)) if action.startswith("eks:")}
        for role in ("slicewise-tuner", "slicewise-sweeper")
    }

    assert eks == {"slicewise-tuner": {"eks:DescribeCluster"}, "slicewise-sweeper": {"eks:ListClusters"}}


def test_the_tuner_changes_alarms_of_clusters_and_no_others(template):
    changing = [
        (action, resource)
        for _, action, resource in grants(template, ("slicewise-tuner",))
        if action in ("cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms", "cloudwatch:TagResource")
    ]

    assert len(changing) == 3
    assert {resource.rpartition(":")[2] for _, resource in changing} == {"slicewise/*"}


def test_the_tuners_alarms_can_do_nothing(template):
    [statement] = template.granted("slicewise-tuner", "cloudwatch:PutMetricAlarm")

    assert statement["Action"] == "cloudwatch:PutMetricAlarm"
    assert statement["Condition"] == {"ForAllValues:StringEquals": {"cloudwatch:AlarmActions": ["none"]}}


def test_metrics_are_read_from_the_workspaces_that_the_deployment_names(template, full):
    (statement,) = full.granted("gpu-eu-tuner", "aps:QueryMetrics")

    assert statement["Resource"] == "arn:aws:aps:eu-west-1:111122223333:workspace/ws-1"
    assert not template.granted("slicewise-tuner", "aps:QueryMetrics")


def test_each_table_action_has_the_writers_that_need_it(template):
    holders: dict[str, set[str]] = {}
    for role, action, _ in grants(template, ROLES):
        if action.startswith("dynamodb:"):
            holders.setdefault(action.removeprefix("dynamodb:"), set()).add(role.removeprefix("slicewise-"))

    assert holders == {
        "GetItem": {"installer", "tuner", "sleeper", "sweeper", "watcher"},
        "PutItem": {"installer", "tuner", "sleeper", "sweeper"},
        "UpdateItem": {"installer", "tuner", "sleeper"},
        "DeleteItem": {"installer", "sleeper"},  # forgets a cluster that is gone; a workload that is awake
        "Query": {"installer", "tuner", "sleeper", "watcher"},
        "Scan": {"sweeper"},
    }


def test_the_sweeper_reads_the_index_and_never_the_history(template):
    (scan,) = template.granted("slicewise-sweeper", "dynamodb:Scan")

    assert scan["Resource"].endswith("/index/records")


def test_the_watcher_reads_openings_and_sends_to_off_hours_alone(template):
    (query,) = template.granted("slicewise-watcher", "dynamodb:Query")
    off_hours = template.one("AWS::SQS::Queue", QueueName="slicewise-off-hours")
    missed = template.one("AWS::SQS::Queue", QueueName="slicewise-openings-dead-letters")

    assert query["Resource"].endswith("/index/openings")
    sent_to = {one["Resource"] for one in template.granted("slicewise-watcher", "sqs:SendMessage")}
    assert sent_to == {f"<{off_hours.id}.Arn>", f"<{missed.id}.Arn>"}
    services = {action.split(":")[0] for _, action, _ in grants(template, ("slicewise-watcher",))}
    assert services == {"dynamodb", "sqs", "logs"}


def test_the_sweeper_writes_down_nothing_but_what_is_kept_about_the_fleet(template):
    for action in ("dynamodb:GetItem", "dynamodb:PutItem"):
        (statement,) = template.granted("slicewise-sweeper", action)
        assert statement["Condition"] == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["fleet"]}}


def test_nobody_carries_a_managed_policy_of_aws_but_karpenters_nodes(template, full):
    def carriers(which: Template) -> set[str]:
        roles = which.all("AWS::IAM::Role")
        return {
            item.properties["RoleName"]
            for item in roles
            if any(
                ":aws:policy" in json.dumps(policy) for policy in item.properties.get("ManagedPolicyArns", [])
            )
        }

    assert carriers(template) == set()
    assert carriers(full) == {"gpu-eu-karpenter-node", "gpu-eu-karpenter-fargate-pods"}


def test_the_scheduler_may_call_the_sweep_and_nothing_else(template):
    target = template.one("AWS::Scheduler::Schedule").properties["Target"]
    role = target["RoleArn"]["Fn::GetAtt"][0]
    (policy,) = [
        item for item in template.all("AWS::IAM::Policy") if {"Ref": role} in item.properties["Roles"]
    ]
    actions = {item["Action"]: item["Resource"] for item in policy.properties["PolicyDocument"]["Statement"]}

    assert set(actions) == {"lambda:InvokeFunction", "sqs:SendMessage"}
    assert actions["lambda:InvokeFunction"] == target["Arn"]


@pytest.mark.parametrize("which", ["template", "full"])
def test_what_cdk_nag_found_is_acknowledged_with_a_reason(which, request):
    """cdk-nag runs with every synthesis and fails it; what is left is what somebody explained."""
    assembly = request.getfixturevalue(which).assembly
    reports = {
        report["pluginName"]: report
        for report in json.loads((assembly / "validation-report.json").read_text())["pluginReports"]
    }
    acknowledged = reports["AwsSolutions"]["suppressedViolations"]

    assert not [item for report in reports.values() for item in report["violations"]]
    assert acknowledged
    assert all(len(item["reason"].split()) >= 5 for item in acknowledged)


# IAM user guide, "IAM and AWS STS quotas": characters without white space.
LARGEST_MANAGED, LARGEST_INLINE = 6144, 10240


def test_policies_stay_within_what_iam_takes(full):
    def size(item) -> int:
        text = json.dumps(spelt_out(item.properties["PolicyDocument"]), separators=(",", ":"))
        # The longest Region and a partition's longest name stand for the placeholders.
        return len(re.sub(r"<AWS::\w+>", "ap-southeast-1", text))

    assert all(size(item) < LARGEST_MANAGED for item in full.all("AWS::IAM::ManagedPolicy"))
    assert all(size(item) < LARGEST_INLINE for item in full.all("AWS::IAM::Policy"))


def test_names_that_are_fenced_are_the_names_that_the_runtime_uses():
    # Not above: it starts a process of the CDK, and every worker collects this file (tests/conftest.py).
    from cdk_app import permissions

    assert permissions.ALLOW_ACCESS_ENTRIES_TAG == "slicewise.dev/allow-access-entries"
    assert str(model.AlarmName("gpu-1", "idle")).startswith(permissions.ALARM_PREFIX)
    assert (permissions.INSTALLER_GROUP, permissions.TUNER_GROUP) == (rbac.INSTALLER_GROUP, rbac.TUNER_GROUP)


def test_what_the_installer_may_make_has_the_names_and_tags_that_the_runtime_gives_it():
    from cdk_app import permissions

    cluster = builders.cluster(issuer="https://issuer/id/1")
    role, queue = fargate.role(cluster, builders.settings()), interruptions.queue(cluster)

    assert permissions.FARGATE_PROFILE == fargate.PROFILE
    assert role.path == f"/{permissions.ROLE_PATH}/"
    assert permissions.INTERRUPTIONS_PREFIX == interruptions.PREFIX
    assert permissions.INTERRUPTION_SOURCES == interruptions.SOURCES
    for made in (role, queue):
        assert permissions.CLUSTER_NAME_TAG in made.tags
