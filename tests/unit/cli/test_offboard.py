from __future__ import annotations

from slicewise.kube.labels import POLICY_TAG
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry

from tests.fakes.account import PERSON, Account
from tests.support.tuning.tuned_account import TunedAccount
from tests.unit.cli.test_command import run


def held(pods: tuple[int, ...] = (0,)) -> TunedAccount:
    account = TunedAccount(pods=pods)
    account.eks.entries["gpu-1", PERSON] = AccessEntry(PERSON, policies=(CLUSTER_ADMIN_POLICY,))
    return account


def test_a_dry_run_says_all_that_would_go_and_changes_nothing(capsys):
    account = held()
    before = account.state()

    assert run(account, "offboard", "gpu-1", "--dry-run") == 0

    reported = capsys.readouterr().out
    assert "close NodePool slicewise-shared-l4" in reported
    assert "uninstall gpu-operator in gpu-operator" in reported
    assert "delete the access entry of slicewise-installer" in reported
    assert account.state() == before
    assert not account.queues.waiting


def test_a_dry_run_names_the_pods_that_are_in_the_way(capsys):
    account = held(pods=(2,))

    assert run(account, "offboard", "gpu-1", "--dry-run") == 0

    assert "[still-asked-for]" in capsys.readouterr().out


def test_asked_for_the_cluster_is_tagged_and_ends_without_us(capsys):
    account = TunedAccount(pods=(0,))

    assert run(account, "offboard", "gpu-1") == 0
    account.answer_gone(400)

    assert account.eks.clusters["gpu-1"].tags[POLICY_TAG] == "offboard"
    assert "Terraform" in capsys.readouterr().out
    assert account.record() is None and not account.eks.entries
    assert run(account, "status", "gpu-1") == 1
    assert "no reconcile yet" in capsys.readouterr().out


def test_the_whole_fleet_leaves_but_for_clusters_that_were_never_held():
    account = TunedAccount(pods=(0,))
    account.create_cluster("theirs", tags={})

    assert run(account, "offboard", "--all") == 0

    assert account.eks.clusters["gpu-1"].offboards
    assert not account.eks.clusters["theirs"].offboards


def test_a_paused_cluster_says_that_it_must_be_resumed(capsys):
    account = TunedAccount(pods=(0,))
    account.store.pause("arn:aws:eks:eu-west-1:111122223333:cluster/gpu-1", "a deploy")

    assert run(account, "offboard", "gpu-1") == 1

    assert "slicewise resume gpu-1" in capsys.readouterr().out


def test_a_cluster_that_is_not_there_is_said_so(capsys):
    assert run(Account(), "offboard", "nobodys") == 1

    assert "EKS knows no such cluster" in capsys.readouterr().out


def test_who_may_not_look_is_reported_so(capsys):
    assert run(TunedAccount(pods=(0,)), "offboard", "gpu-1", "--dry-run") == 0

    assert "could not be read" in capsys.readouterr().out
