"""What our identities may do once the installation is over: exactly what their passes do."""

import pytest
from slicewise.kube.kinds import RESOURCES
from slicewise.kube.ref import ref_of
from slicewise.offhours.kinds import KINDS as ROWS
from slicewise.onboarding import manifests, rbac

from tests.support import builders

BY_US = "karpenter: {install: true}"


SERVED = {f"{plural}.{group}" for (group, _), (plural, _) in RESOURCES.items()}


def granted(policy, kind, name, namespace="", crds=()):
    (role,) = [
        item
        for item in rbac.objects(policy, crds=crds)
        if (item["kind"], item["metadata"]["name"], item["metadata"].get("namespace", ""))
        == (kind, name, namespace)
    ]
    return {
        (verb, group, resource, only)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for only in rule.get("resourceNames", [""])
    }


@pytest.mark.parametrize("more", [(), (BY_US,)], ids=["karpenter theirs", "karpenter by us"])
def test_only_the_tuner_may_write_and_nothing_is_a_wildcard(more):
    # Named by Karpenter and by EC2, when a machine comes.
    nameless = {"nodes", "nodeclaims"}
    for item in rbac.objects(builders.policy(builders.DEFAULT_POOLS, *more)):
        for rule in item.get("rules", ()):
            writes = {"patch"} if item["metadata"]["name"] == "slicewise-tuner" else set()
            assert set(rule["verbs"]) <= {"get", "list"} | writes, item["metadata"]
            assert "*" not in [*rule["apiGroups"], *rule["resources"]]
            # What can be limited by name is.
            limited = rule["verbs"] != ["list"] and not set(rule["resources"]) <= nameless
            assert ("resourceNames" in rule) == limited


def test_every_object_that_a_reconcile_gets_is_granted_by_its_name():
    policy = builders.policy(builders.DEFAULT_POOLS, BY_US)
    cluster_wide = granted(policy, "ClusterRole", "slicewise-installer")

    for ref in manifests.observed_refs(policy):
        held = (
            granted(policy, "Role", "slicewise-installer", ref.namespace) if ref.namespace else cluster_wide
        )
        group = ref.api_version.rpartition("/")[0]
        plural = {"NodeClass": "es", "Policy": "ies"}
        suffix = next((s for end, s in plural.items() if ref.kind.endswith(end)), "s")
        resource = (
            ref.kind.lower().removesuffix("y") + suffix if suffix == "ies" else ref.kind.lower() + suffix
        )
        assert ("get", group, resource, ref.name) in held, ref


def test_the_installer_lists_what_a_reconcile_lists():
    listed = {
        (g, r)
        for verb, g, r, _ in granted(builders.policy(), "ClusterRole", "slicewise-installer")
        if verb == "list"
    }

    assert listed == {
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("karpenter.sh", "nodepools"),
        ("karpenter.sh", "nodeoverlays"),
        ("karpenter.sh", "nodeclaims"),
        ("apps", "deployments"),
        ("apps", "daemonsets"),
    }


def test_the_tuner_reads_what_it_decides_by_and_changes_what_n_is_made_of():
    assert granted(builders.policy(), "Role", "slicewise-tuner", "gpu-operator") == {
        ("get", "", "configmaps", "slicewise-device-plugin")
    }
    assert granted(builders.policy(), "ClusterRole", "slicewise-tuner") == {
        ("list", "karpenter.sh", "nodepools", ""),
        ("list", "karpenter.sh", "nodeoverlays", ""),
        ("list", "karpenter.sh", "nodeclaims", ""),
        ("list", "", "nodes", ""),
        ("list", "", "pods", ""),
        ("list", "policy", "poddisruptionbudgets", ""),
        ("patch", "karpenter.sh", "nodepools", "slicewise-shared-l4"),
        ("patch", "karpenter.sh", "nodeoverlays", "slicewise-shared-l4-1"),
        ("patch", "karpenter.sh", "nodeoverlays", "slicewise-shared-l4-4"),
        ("patch", "karpenter.sh", "nodeoverlays", "slicewise-shared-l4-8"),
        ("patch", "karpenter.sh", "nodeclaims", ""),
        ("patch", "", "nodes", ""),
        # Templates of pods that ask for more than one GPU.
        ("list", "apps", "deployments", ""),
        ("list", "apps", "statefulsets", ""),
        ("list", "batch", "jobs", ""),
        ("list", "batch", "cronjobs", ""),
    }


@pytest.mark.parametrize("sharing", ["none", "mig"])
def test_the_tuner_reads_no_templates_where_no_pool_shares_by_replicas(sharing):
    profile = ", profile: 1g.5gb" if sharing == "mig" else ""
    gpus = "a100-40gb" if sharing == "mig" else "l4"
    policy = builders.policy(f"{{p: {{sharing: {sharing}, gpus: [{gpus}]{profile}, maxGpus: 16}}}}")

    assert not {right[1] for right in granted(policy, "ClusterRole", "slicewise-tuner")} & {"apps", "batch"}


SPLIT = "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: [1, 2]}}"


def test_the_tuner_may_change_workloads_only_where_there_are_classes():
    more = granted(builders.policy(SPLIT), "ClusterRole", "slicewise-tuner")
    plain = granted(builders.policy(), "ClusterRole", "slicewise-tuner")

    assert {right for right in more - plain if right[1] == "apps"} == {
        ("patch", "apps", kind, "") for kind in ("deployments", "statefulsets")
    }
    assert {right[3] for right in more if right[:3] == ("patch", "karpenter.sh", "nodepools")} == {
        "slicewise-shared-l4-1",
        "slicewise-shared-l4-2",
    }


PUBLISHES = "tuning: {publishSlices: true}"
WRITES_ON_WORKLOADS = {("patch", "apps", kind, "") for kind in ("deployments", "statefulsets")}


def test_the_tuner_may_write_n_on_workloads_only_where_the_policy_asks_for_it():
    more = granted(builders.policy(builders.DEFAULT_POOLS, PUBLISHES), "ClusterRole", "slicewise-tuner")

    assert more - granted(builders.policy(), "ClusterRole", "slicewise-tuner") == WRITES_ON_WORKLOADS


def test_the_tuner_may_remove_n_from_workloads_while_it_may_be_there():
    whole = builders.policy("{p: {sharing: none, gpus: [l4], maxGpus: 16}}")
    [role] = [
        item
        for item in rbac.objects(whole, publishing=True)
        if (item["kind"], item["metadata"]["name"]) == ("ClusterRole", "slicewise-tuner")
    ]
    of_apps = [(rule["resources"], rule["verbs"]) for rule in role["rules"] if "apps" in rule["apiGroups"]]

    assert of_apps == [
        (["deployments", "statefulsets"], ["list"]),
        (["deployments"], ["patch"]),
        (["statefulsets"], ["patch"]),
    ]


def test_a_right_that_classes_and_published_n_both_need_is_granted_once():
    both = "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: [1, 2]}, plain: " + (
        "{sharing: time-slicing, gpus: [l4], maxGpus: 16}}"
    )
    [rules] = [
        item["rules"]
        for item in rbac.objects(builders.policy(both, PUBLISHES))
        if (item["kind"], item["metadata"]["name"]) == ("ClusterRole", "slicewise-tuner")
    ]

    assert all(rules.count(rule) == 1 for rule in rules)


def test_the_tuner_may_move_workloads_home_while_classes_are_left():
    rules = [rule for item in rbac.objects(builders.policy(), split=True) for rule in item.get("rules", ())]

    assert ["deployments", "statefulsets"] in [rule["resources"] for rule in rules]


def test_secrets_are_read_in_kube_system_only_where_karpenter_is_ours_to_install():
    assert rbac.release_namespaces(builders.policy()) == ("gpu-operator",)
    assert rbac.release_namespaces(builders.policy(builders.DEFAULT_POOLS, BY_US)) == (
        "gpu-operator",
        "kube-system",
    )


def test_each_binding_names_a_role_that_comes_before_it():
    seen = set()
    for item in rbac.objects(builders.policy(builders.DEFAULT_POOLS, BY_US)):
        if "roleRef" in item:
            namespace = item["metadata"].get("namespace", "")
            assert (item["roleRef"]["kind"], item["roleRef"]["name"], namespace) in seen, ref_of(item)
        seen.add((item["kind"], item["metadata"]["name"], item["metadata"].get("namespace", "")))


def test_the_tuner_may_restore_what_it_holds_in_a_nodepool_that_the_policy_dropped():
    role = next(
        item
        for item in rbac.objects(builders.policy(), ["slicewise-dropped-l4"])
        if item["kind"] == "ClusterRole" and item["metadata"]["name"] == rbac.TUNER
    )

    (rule,) = [r for r in role["rules"] if r["resources"] == ["nodepools"] and r["verbs"] == ["patch"]]
    assert "slicewise-dropped-l4" in rule["resourceNames"]
    assert "slicewise-shared-l4" in rule["resourceNames"]


NIGHTS = "offHours: {timeZone: Europe/Berlin, asleep: [Sat-Sun]}"


def test_there_is_a_sleeper_only_where_workloads_sleep():
    names = {item["metadata"]["name"] for item in rbac.objects(builders.policy())}

    assert "slicewise-sleeper" not in names


def test_the_installer_may_look_for_the_sleeper_before_a_policy_asks_for_one():
    """When one does, the first look has the rights of before."""
    held = granted(builders.policy(), "ClusterRole", rbac.INSTALLER)

    assert ("get", "rbac.authorization.k8s.io", "clusterroles", rbac.SLEEPER) in held


@pytest.mark.parametrize("missed_runs", ["run", "skip"])
@pytest.mark.parametrize("volumes", ["leave", "retain"])
@pytest.mark.parametrize("bare_pods", ["keep", "delete"])
def test_the_sleeper_scales_and_pauses_and_deletes_only_what_the_policy_says(bare_pods, volumes, missed_runs):
    more = f", barePods: {bare_pods}, volumes: {volumes}, missedRuns: {missed_runs}}}"
    policy = builders.policy(builders.DEFAULT_POOLS, NIGHTS.replace("}", more))
    held = granted(policy, "ClusterRole", "slicewise-sleeper")
    writes = {right for right in held if right[0] not in ("list", "get")}

    assert writes == {
        ("patch", "*", "*/scale", ""),
        ("patch", "batch", "cronjobs", ""),
        ("patch", "keda.sh", "scaledjobs", ""),
        ("patch", "keda.sh", "scaledobjects", ""),
        ("patch", "karpenter.sh", "nodepools", "slicewise-shared-l4"),
    } | ({("delete", "", "pods", "")} if bare_pods == "delete" else set()) | (
        {("patch", "apps", "statefulsets", "")} if volumes == "retain" else set()
    ) | ({("patch", "batch", "cronjobs/status", "")} if missed_runs == "skip" else set())
    assert {right[2] for right in held if right[0] == "get"} == {"*/scale"}


def test_the_right_on_stateful_sets_stays_as_long_as_one_needs_it():
    policy = builders.policy(builders.DEFAULT_POOLS, NIGHTS)
    role = {ref_of(item): item for item in rbac.objects(policy, retaining=True)}[rbac.SLEEPER_ROLE]
    plain = {ref_of(item): item for item in rbac.objects(policy)}[rbac.SLEEPER_ROLE]

    assert rbac.may_retain(role) and not rbac.may_retain(plain) and not rbac.may_retain(None)
    assert [rule for rule in role["rules"] if rule not in plain["rules"]] == [
        {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["patch"]}
    ]


def test_the_sleeper_may_list_every_kind_that_it_reads_whole():
    held = granted(
        builders.policy(builders.DEFAULT_POOLS, NIGHTS), "ClusterRole", "slicewise-sleeper", crds=SERVED
    )

    for row in ROWS:
        if row.is_read:
            assert ("list", row.group, RESOURCES[row.group, row.kind][0], "") in held, row.kind


def suspending(jobs="suspend"):
    return builders.policy(builders.DEFAULT_POOLS, NIGHTS.replace("}", f", jobs: {jobs}}}"))


@pytest.mark.parametrize("jobs", ["finish", "run"])
def test_the_right_on_jobs_comes_with_the_policy_and_stays_as_long_as_one_is_suspended(jobs):
    of_jobs = {("patch", row.group, RESOURCES[row.group, row.kind][0], "") for row in ROWS if row.is_job}
    never, still, now = (
        {ref_of(item): item for item in rbac.objects(suspending(said), crds=SERVED, suspending=is_still)}[
            rbac.SLEEPER_ROLE
        ]
        for said, is_still in ((jobs, False), (jobs, True), ("suspend", False))
    )

    assert len(of_jobs) == 10 and of_jobs <= granted(suspending(), "ClusterRole", rbac.SLEEPER, crds=SERVED)
    assert not of_jobs & granted(suspending(jobs), "ClusterRole", rbac.SLEEPER, crds=SERVED)
    assert still == now and rbac.may_suspend(now)
    assert not rbac.may_suspend(never) and not rbac.may_suspend(None)


@pytest.mark.parametrize("row", [row for row in ROWS if row.if_served], ids=lambda row: row.kind)
def test_a_right_to_change_a_kind_comes_with_its_definition(row):
    policy = suspending("suspend" if row.is_job else "finish")
    plural = RESOURCES[row.group, row.kind][0]
    verbs = ["list"] if all(setting.scaled for setting in row.settings) else ["list", "patch"]
    rights = {(verb, row.group, plural, "") for verb in verbs}

    assert rights <= granted(policy, "ClusterRole", rbac.SLEEPER, crds={f"{plural}.{row.group}"})
    assert not rights & granted(policy, "ClusterRole", rbac.SLEEPER)


def test_job_sets_are_read_for_what_their_jobs_belong_to_where_the_cluster_has_them():
    read, changed = ((verb, "jobset.x-k8s.io", "jobsets", "") for verb in ("list", "patch"))
    crds = {"jobsets.jobset.x-k8s.io"}

    assert read in granted(suspending("finish"), "ClusterRole", rbac.SLEEPER, crds=crds)
    assert changed not in granted(suspending("finish"), "ClusterRole", rbac.SLEEPER, crds=crds)
    assert read not in granted(suspending("finish"), "ClusterRole", rbac.SLEEPER)


def test_node_sets_are_read_for_their_volumes_where_the_cluster_has_them():
    read, changed = ((verb, "slinky.slurm.net", "nodesets", "") for verb in ("list", "patch"))
    with_slurm = granted(
        suspending("finish"), "ClusterRole", rbac.SLEEPER, crds={"nodesets.slinky.slurm.net"}
    )

    assert read in with_slurm and changed not in with_slurm
    assert read not in granted(suspending("finish"), "ClusterRole", rbac.SLEEPER)


def test_the_sleeper_reads_events_only_where_a_pool_has_a_fallback():
    pools = builders.DEFAULT_POOLS.replace("gpus: [l4]", "gpus: [l4], fallbackGpus: [l40s]")
    events = ("list", "", "events", "")

    assert events not in granted(builders.policy(builders.DEFAULT_POOLS, NIGHTS), "ClusterRole", rbac.SLEEPER)
    held = granted(builders.policy(pools, NIGHTS), "ClusterRole", rbac.SLEEPER)
    assert events in held
    assert ("patch", "karpenter.sh", "nodepools", "slicewise-shared-l40s") in held


def test_the_sleeper_may_wake_a_nodepool_that_the_policy_dropped():
    policy = builders.policy(builders.DEFAULT_POOLS, NIGHTS)
    [role] = [
        item
        for item in rbac.objects(policy, asleep=["slicewise-dropped-l4"])
        if (item["kind"], item["metadata"]["name"]) == ("ClusterRole", rbac.SLEEPER)
    ]

    [rule] = [rule for rule in role["rules"] if "resourceNames" in rule]
    assert rule["resourceNames"] == ["slicewise-dropped-l4", "slicewise-shared-l4"]


def test_the_right_to_jobs_is_not_taken_from_a_kind_of_another_group_with_that_plural():
    def role(group: str) -> dict[str, list[dict[str, list[str]]]]:
        return {"rules": [{"apiGroups": [group], "resources": ["jobs"], "verbs": ["list", "patch"]}]}

    assert rbac.may_suspend(role("batch"))
    assert not rbac.may_suspend(role("batch.volcano.sh"))
