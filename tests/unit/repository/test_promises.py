"""What the README says that Slicewise will never do: each line has tests, and no line comes without."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# By the line, word for word: the tests that are red once it is no longer true. Who adds a line, or words one
# otherwise, reads here what holds it, and says so.
PROMISES = {
    "Touch a cluster that no policy asks for, except to release and restore what it changed there.": (
        "scenarios/onboarding/test_offboarding.py::test_a_tag_that_is_merely_missing_empties_and_deletes_nothing",
        "unit/onboarding/test_plan.py::test_no_policy_means_left_unchanged",
        "scenarios/onboarding/test_onboarding.py::test_a_cluster_without_a_policy_is_left_unchanged",
        "scenarios/onboarding/test_onboarding.py::test_nothing_reaches_into_a_cluster_that_no_policy_asks_for",
        "scenarios/onboarding/test_onboarding.py::"
        "test_the_default_policy_serves_untagged_clusters_and_a_tag_opts_out",
        "sandbox/onboarding/test_lifecycle.py::test_a_cluster_without_a_policy_is_left_unchanged_and_says_so",
    ),
    "Keep cluster admin: the installer has it while it reads a new cluster, installs or offboards, usually "
    "for seconds and at most for half an hour, and loses it even when a reconcile is killed.": (
        "scenarios/onboarding/test_onboarding.py::test_cluster_admin_is_held_only_while_installing",
        "scenarios/onboarding/test_onboarding.py::test_a_second_reconcile_needs_no_admin_and_no_write",
        "scenarios/onboarding/test_onboarding.py::"
        "test_admin_is_returned_where_every_reconcile_fails_at_the_same_call",
        "scenarios/onboarding/test_fault_injection.py::"
        "test_struck_once_at_any_call_the_next_reconciles_reach_the_same_end",
        "unit/onboarding/test_plan.py::test_rights_left_by_a_reconcile_are_returned_in_every_mode",
        "infra/test_template_permissions.py::"
        "test_cluster_admin_is_the_only_policy_and_the_installer_the_only_one_to_get_it",
        "sandbox/onboarding/test_after_kills.py::test_nothing_holds_cluster_admin_any_more",
    ),
    "Write a field that it is not there for: in a cluster, admission policies have the API server refuse it "
    "([who may write what, and what remains](docs/deploying.md#who-may-write-which-field)).": (
        "contract/kubernetes/test_admission.py::test_each_may_write_its_fields_and_no_others",
        "contract/kubernetes/test_admission.py::test_every_kind_that_may_be_written_is_tried",
        "unit/onboarding/test_admission.py::test_whatever_rbac_lets_an_identity_write_is_held_by_its_policy",
    ),
    "Replace a running node, or delete a NodePool that has one, because a file changed: it reports that. "
    "Two things do replace nodes, by Karpenter, under your budgets and PodDisruptionBudgets: another image "
    "release (`nodeClass.image`, or AWS's newest where none is pinned), and a change of N under MPS or where "
    "pods do not fit a lower N.": (
        "unit/onboarding/test_desired_pools.py::"
        "test_a_release_that_the_policy_pins_is_applied_while_nodes_run",
        "unit/onboarding/test_desired_pools.py::"
        "test_a_policy_that_pins_nothing_leaves_an_image_unchanged_that_was_edited_while_nodes_run",
        "unit/onboarding/test_desired_pools.py::"
        "test_a_change_that_would_replace_nodes_is_reported_and_made_once_they_are_deleted",
        "unit/onboarding/test_desired_pools.py::test_what_karpenter_hashes_is_not_put_right_while_nodes_run",
        "unit/onboarding/test_desired_pools.py::test_a_pool_that_the_policy_drops_is_reported_not_deleted",
        "unit/onboarding/test_classes.py::"
        "test_one_on_which_pods_run_is_closed_and_nothing_else_of_it_is_touched",
        "scenarios/rollout/test_rollout.py::test_growing_replaces_no_node_and_moves_no_pod",
        "scenarios/rollout/test_rollout.py::test_shrinking_where_all_fit_moves_nobody",
        "scenarios/rollout/test_rollout.py::"
        "test_shrinking_kills_no_pod_where_they_fit_and_replaces_the_others",
        "scenarios/rollout/test_any_mishaps.py::test_a_change_amid_mishaps",
        "sandbox/onboarding/test_pools.py::"
        "test_a_changed_policy_converges_at_the_sweep_without_replacing_a_node",
        "sandbox/rollout/test_shrink.py::test_pods_on_nodes_that_fit_stay_and_the_others_move",
        "sandbox/rollout/test_shrink.py::test_under_mps_nodes_are_replaced_and_planned_for_the_new_n",
        "sandbox/rollout/test_shrink.py::"
        "test_what_blocks_the_roll_is_named_and_the_roll_goes_on_when_it_is_deleted",
    ),
    "Raise or lower N by what was not measured: a gap never lets more pods share a GPU, and never moves a "
    "pod away. Where only whole GPUs are measured, N rises only for workloads that had a GPU to "
    "themselves for a day.": (
        "unit/tuning/usage/test_gaps_hour_by_hour.py::test_no_hours_reconcile_raises_or_lowers_n_by_a_gap",
        "unit/tuning/usage/test_gaps_hour_by_hour.py::test_no_hours_reconcile_moves_a_workload_by_a_gap",
        "unit/tuning/usage/test_gaps_hour_by_hour.py::test_hour_by_hour_n_rises_only_for_who_had_a_gpu_to_itself",
        "unit/tuning/usage/test_two_readings.py::"
        "test_minutes_without_metrics_lower_n_by_nothing_and_are_reported_once_as_the_sources_own",
        "unit/tuning/usage/test_two_readings.py::"
        "test_a_machine_of_several_gpus_that_is_not_full_lowers_n_by_nothing",
        "unit/tuning/usage/test_two_readings.py::test_pods_of_unlike_memory_are_not_packed_by_their_mean",
        "unit/tuning/usage/test_two_readings.py::"
        "test_a_workload_that_had_a_gpu_to_itself_for_a_day_is_measured_and_lets_n_rise",
        "unit/tuning/usage/test_two_readings.py::"
        "test_steps_in_which_an_hpa_scales_restart_no_workload_of_a_split_pool",
        "unit/tuning/usage/test_two_readings.py::test_removing_samples_never_raises_n_and_never_lowers_it",
        "scenarios/tuning/test_tuning.py::test_a_pod_without_history_neither_raises_nor_lowers_n",
        "scenarios/tuning/test_tuning.py::test_metrics_that_cannot_be_read_keep_n_and_all_else_goes_on",
    ),
    "Switch a cluster's authentication mode (there is no way back) unless a tag of yours allows it.": (
        "unit/onboarding/test_plan.py::test_the_one_way_switch_is_made_only_where_a_tag_allows_it",
        "unit/onboarding/test_preflight.py::"
        "test_the_tag_that_allows_the_switch_is_read_word_for_word_as_iam_does",
        "infra/test_template_permissions.py::"
        "test_the_authentication_mode_changes_only_where_the_owner_tagged_the_cluster",
        "sandbox/onboarding/test_pools.py::"
        "test_a_cluster_without_access_entries_is_switched_where_its_tag_allows_it",
    ),
    "Adopt a GPU Operator, a device plugin or a NodePool of another owner, unless the policy says `adopt`; "
    "even then it does not switch off drivers or override the owner's values: where those rule slices out, "
    "it refuses and reports both values.": (
        "scenarios/onboarding/test_joining_operator.py::"
        "test_it_is_joined_where_it_is_and_keeps_all_that_is_its_owners",
        "unit/onboarding/test_operator_values.py::"
        "test_a_contradiction_refuses_and_says_both_values_why_and_what_to_do",
        "unit/onboarding/test_preflight.py::"
        "test_a_foreign_gpu_operator_is_adopted_only_where_the_policy_says_so",
        "unit/onboarding/test_preflight.py::test_every_foreign_device_plugin_is_named",
        "unit/onboarding/test_preflight.py::test_a_node_pool_with_our_name_must_be_ours",
        "scenarios/tuning/test_adoption.py::"
        "test_what_cannot_be_taken_over_is_refused_before_anything_is_touched",
        "sandbox/onboarding/test_refusals.py::"
        "test_everything_that_stands_in_the_way_is_reported_at_once_with_remedies",
    ),
    "Promise memory isolation: pods that share a GPU by time-slicing share its memory. MIG isolates; "
    "time-slicing does not.": (
        "unit/repository/test_promises.py::test_nothing_that_people_read_promises_isolation",
    ),
}


def promises() -> list[str]:
    """The README's lines, each in one piece."""
    section = (
        (ROOT / "README.md").read_text().partition("## What it will never do\n")[2].partition("\n## ")[0]
    )
    return [" ".join(line.split()) for line in re.split(r"^- ", section, flags=re.MULTILINE)[1:]]


def test_each_line_says_which_tests_hold_it():
    assert promises() == list(PROMISES)


@pytest.mark.parametrize("test", sorted({test for tests in PROMISES.values() for test in tests}))
def test_each_of_these_tests_is_there_and_is_run(test):
    path, _, name = test.partition("::")

    assert name in functions(path), f"{path} has no test {name}: which one holds the line now?"
    assert not functions(path)[name], f"{test} is left out"


@cache
def functions(path: str) -> dict[str, list[str]]:
    """By name, the tests of a file, each with the marks that leave it out."""
    found = ast.parse((ROOT / "tests" / path).read_text()).body
    return {
        one.name: [
            mark for mark in map(ast.unparse, one.decorator_list) if re.search(r"skip|xfail|soak", mark)
        ]
        for one in found
        if isinstance(one, ast.FunctionDef)
    }


def test_nothing_that_people_read_promises_isolation():
    """Each paragraph that speaks of it speaks of MIG, or says that there is none."""
    pages = [
        path
        for folder in ("docs", "examples", "policies", "layers/slicewise/python/slicewise", "cli")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".md", ".py", ".yaml")
    ]
    paragraphs = [
        (path.name, " ".join(paragraph.split()))
        for path in [ROOT / "README.md", *pages]
        for paragraph in re.split(r"\n\s*\n|^- ", path.read_text(), flags=re.MULTILINE)
        if re.search(r"\bisolat", paragraph, re.IGNORECASE)
    ]

    assert paragraphs
    # The name of a part of KAI's, which preflight knows by it.
    found = [one for one in paragraphs if "kai-resource-isolator" not in one[1]]
    assert not [one for one in found if not re.search(r"\bMIG\b|\bnot\b", one[1])]
