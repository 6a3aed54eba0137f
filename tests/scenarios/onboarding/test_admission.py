"""The admission policies in the life of a cluster: there before the rights, put back, made by upgrades."""

from __future__ import annotations

import pytest
from slicewise import rights
from slicewise.errors import Refused
from slicewise.kube.ref import Ref
from slicewise.model.cluster import AccessEntry
from slicewise.onboarding import admission, rbac
from slicewise.planning.outcome import Stage

from tests.fakes.account import POLICY, Account
from tests.fakes.kube.kubernetes import FakeKubernetes
from tests.support.onboarding_runs import POOL, entry, onboarded, stage

NIGHTS = POLICY + 'offHours: {timeZone: UTC, asleep: ["Sat-Sun"]}\n'
V1 = f"{admission.GROUP}/v1"
OF_TUNER = Ref(V1, admission.POLICY, rbac.TUNER)
INSTALLERS = Ref("rbac.authorization.k8s.io/v1", "ClusterRole", rbac.INSTALLER)


def there(account: Account) -> set[tuple[str, str]]:
    return {(ref.kind, ref.name) for ref in account.servers["gpu-1"].objects if ref.api_version == V1}


def reconcile_again(account: Account) -> None:
    account.send_created()
    account.run_until_idle()


def test_who_is_let_in_is_held_from_the_beginning():
    account = onboarded(NIGHTS)

    assert there(account) == {
        (kind, name)
        for kind in (admission.POLICY, admission.BINDING)
        for name in ("slicewise-tuner", "slicewise-sleeper")
    }
    made = [call for call in account.calls.made if "kubernetes.apply" in call]
    kinds = [call.split()[1] for call in made]
    assert kinds.index(admission.BINDING) < kinds.index("ClusterRole")


@pytest.mark.parametrize("identity", [rights.TUNER, rights.SLEEPER], ids=lambda one: one.name)
def test_each_is_refused_what_no_reconcile_of_it_writes(identity):
    account = onboarded(NIGHTS)
    intruder = FakeKubernetes(
        account.servers["gpu-1"], account.calls, lambda: AccessEntry("arn", (identity.group,))
    )

    with pytest.raises(Refused, match=f"policy {identity.name} denied request"):
        intruder.patch(POOL, [{"op": "add", "path": "/spec/weight", "value": 9}])


def test_what_an_older_release_onboarded_gets_them():
    """Its installer may not even look whether they are there."""
    account = onboarded()
    server = account.servers["gpu-1"]
    role = server.objects[INSTALLERS]
    rules = [rule for rule in role["rules"] if admission.GROUP not in rule["apiGroups"]]
    server.create({**role, "rules": rules})
    for ref in [ref for ref in server.objects if ref.api_version == V1]:
        server.delete(ref)

    reconcile_again(account)

    assert there(account) == {(kind, rbac.TUNER) for kind in (admission.POLICY, admission.BINDING)}
    assert stage(account) is Stage.ONBOARDED
    assert entry(account).policies == ()


def test_one_that_a_user_narrowed_is_put_back():
    account = onboarded()
    server = account.servers["gpu-1"]
    wanted = server.objects[OF_TUNER]["spec"]
    narrowed = {**wanted["matchConstraints"], "namespaceSelector": {"matchLabels": {"a": "b"}}}
    server.patch(OF_TUNER, [{"op": "replace", "path": "/spec/matchConstraints", "value": narrowed}])

    reconcile_again(account)

    assert server.objects[OF_TUNER]["spec"] == wanted
    assert stage(account) is Stage.ONBOARDED
    assert entry(account).policies == ()


def test_a_name_that_another_owner_has_is_refused():
    account = Account(POLICY)
    account.create_cluster()
    account.servers["gpu-1"].create(
        {"apiVersion": V1, "kind": admission.POLICY, "metadata": {"name": rbac.TUNER}, "spec": {}}
    )
    reconcile_again(account)

    assert stage(account) is Stage.BLOCKED
    assert [finding.code for finding in account.record().findings if finding.blocking] == ["name-taken"]
