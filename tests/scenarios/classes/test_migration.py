"""
Workloads that opted in are moved to the class that they belong in, whatever strikes the passes on the way.

Stand-ins as in test_tuning.py; the Deployment controller replaces all pods of a template at once.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import pytest
from slicewise.app import TUNING
from slicewise.errors import Conflict
from slicewise.kube.labels import ASLEEP, CLASS_LABEL, POOL_LABEL
from slicewise.kube.ref import Ref
from slicewise.pools import layout
from slicewise.trigger import Trigger
from slicewise.tuning import explain, snapshot
from slicewise.tuning.plan import plan

from tests.fakes.calls import REFUSALS, strike
from tests.fakes.kube.deployments import NAMESPACE, Deployments, deployment
from tests.support.futures import Futures
from tests.support.tuning.tuned_account import DAY, GPU_1, TunedAccount, before

POLICY = """pools:
  shared: {sharing: time-slicing, gpus: [l4], classes: [1, 2, 3], movesADay: 2, maxGpus: 16, gpuCounts: [1]}
consolidation: {after: Never}
"""


class MovedAccount(TunedAccount):
    """Deployments whose pods have a GPU each, and have been measured alone there for three days."""

    def __init__(self, *, policy=POLICY, **replicas):
        super().__init__(pods=(), policy=policy)
        self.server = self.servers["gpu-1"]
        self.deployments = Deployments(self.server)
        self.karpenter.tick, tick = self._tick, self.karpenter.tick
        self._karpenters_tick = tick
        for name, count in replicas.items():
            self.server.create(deployment(name, count, auto=not name.startswith("by_hand")))
        self.let_pass(timedelta(seconds=30))
        self.clock.pass_by(3 * DAY)
        self.measure()

    def measure(self, **use):
        super().measure(**{"busy": 3.0, "memory_mib": 3000.0, "slots": 1} | use)

    def _tick(self):
        self._karpenters_tick()
        self.deployments.tick()

    def live(self, name):
        return self.server.objects[Ref("apps/v1", "Deployment", name, NAMESPACE)]

    def template(self, name):
        return self.live(name)["spec"]["template"]["spec"]

    def sizes(self):
        return {
            ref.name: layout.class_of(item["spec"]["template"]["spec"])
            for ref, item in sorted(self.server.of_kind("apps/v1", "Deployment"))
            if ref.namespace == NAMESPACE
        }

    def where(self, name):
        """Classes of the nodes that its pods are on."""
        nodes = {ref.name: item for ref, item in self.server.of_kind("v1", "Node")}
        return {
            nodes[pod["spec"]["nodeName"]]["metadata"]["labels"][CLASS_LABEL]
            for _, pod in self.deployments._pods(name)
        }

    def note(self, name):
        (found,) = [one for one in self.tuned.details if "classes" in one]
        return next(one.get("auto") for one in found["workloads"] if one["ref"][2] == name)


def test_one_after_another_is_moved_as_many_as_the_policy_lets_a_day():
    account = MovedAccount(a=3, b=2, c=1)

    account.hours(1)

    assert account.sizes() == {"a": 3, "b": 3, "c": None}
    assert account.where("a") == account.where("b") == {"3"}
    assert account.deployments.rolled == ["a", "b"]
    assert [subject for subject, _ in account.notices.sent] == [
        "Slicewise moves Deployment ml/a of gpu-1 to class 3",
        "Slicewise moves Deployment ml/b of gpu-1 to class 3",
    ]
    assert account.note("c") == "it is moved, but not now: 2 moves a day are allowed"

    account.measure()
    account.hours(24, busy=3.0)
    assert account.sizes()["c"] == 3 and account.deployments.rolled == ["a", "b", "c"]


def test_each_move_stands_in_the_history_with_its_reason():
    account = MovedAccount(a=3)

    account.hours(1)

    reported = [line for record in account.store.history for line in record.changed]
    assert any(line.startswith("move Deployment ml/a from class 1 to class 3: ") for line in reported)


def test_who_did_not_opt_in_is_only_reported():
    account = MovedAccount(by_hand=2)

    account.hours(2)

    assert account.sizes() == {"by_hand": None} and account.deployments.rolled == []
    (found,) = [one for one in account.tuned.details if "classes" in one]
    assert "Deployment ml/by_hand, 2 pods: class 1→3: " in "\n".join(explain.lines(found))


def test_a_mode_that_only_recommends_moves_nobody_and_says_what_it_would():
    account = MovedAccount(a=3)
    account.policies["default"] = "mode: recommend\n" + POLICY

    account.hours(2)

    assert account.sizes() == {"a": None} and account.notices.sent == []
    assert any(line.startswith("would move Deployment ml/a") for line in account.tuned.changed)


def test_a_snapshot_reports_whom_the_next_reconcile_would_move():
    account = MovedAccount(a=3)
    world, planned = account._apps[TUNING].tuning.dry_run(account.person().trigger("gpu-1", ""))

    again, now = snapshot.load(snapshot.dump(world, account.clock()))

    assert "move Deployment ml/a from class 1 to class 3" in [str(action) for action in planned.actions]
    assert plan(again, now).actions == planned.actions


def test_nobody_is_moved_in_a_paused_cluster_nor_in_a_pool_that_sleeps():
    account = MovedAccount(a=3)
    marks = account.server.objects[Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4-1")]["metadata"]
    marks["annotations"][ASLEEP] = "2026-11-25T06:00:00Z"
    account.hours(1)
    assert account.sizes() == {"a": None}

    del marks["annotations"][ASLEEP]
    account.store.pause(None, "a test")
    account.hours(1)
    assert account.sizes() == {"a": None}

    account.store.resume(None)
    account.hours(1)
    assert account.sizes() == {"a": 3}


def test_a_tool_that_puts_its_own_back_is_reported_and_not_contested():
    account = MovedAccount(a=3)
    account.hours(1)
    plain = deployment("a", 3)["spec"]["template"]["spec"]
    ref = Ref("apps/v1", "Deployment", "a", NAMESPACE)
    for field in ("nodeSelector", "tolerations"):
        path = f"/spec/template/spec/{field}"
        account.server.patch(
            ref, [{"op": "replace", "path": path, "value": plain[field]}], "argocd-controller"
        )
    rolled = list(account.deployments.rolled)

    account.hours(30)

    assert account.sizes() == {"a": None} and account.deployments.rolled == rolled
    (finding,) = [one for one in account.tuned.findings if one.code == "class-reverted"]
    assert finding.message.startswith("argocd-controller wrote over the class")


def test_a_toleration_that_a_user_applied_away_leaves_no_pod_that_cannot_start():
    account = MovedAccount(a=3)
    account.hours(1)
    plain = deployment("a", 3)["spec"]["template"]["spec"]["tolerations"]
    ref, path = Ref("apps/v1", "Deployment", "a", NAMESPACE), "/spec/template/spec/tolerations"
    account.server.patch(ref, [{"op": "replace", "path": path, "value": plain}], "kubectl-client-side-apply")

    account.hours(2)

    assert account.template("a")["nodeSelector"] == {POOL_LABEL: "shared"}
    assert account.template("a")["tolerations"] == plain
    assert account.where("a") == {"1"}


def test_when_the_pool_is_no_longer_split_its_workloads_go_home():
    account = MovedAccount(a=2)
    account.hours(1)
    assert account.where("a") == {"3"}
    whole = POLICY.replace("classes: [1, 2, 3], movesADay: 2", "replicas: {start: 2, max: 4}")
    account.policies["default"] = whole
    account.send_created()
    account.answer_gone()

    account.hours(1)

    assert account.sizes() == {"a": None}
    assert account.template("a")["tolerations"] == [{"key": layout.GPU_RESOURCE, "operator": "Exists"}]


def test_a_move_that_always_conflicts_is_reported_once_as_one_that_fails():
    """A status that changes all the time, or an autoscaler, changes the version of the whole object."""
    account = MovedAccount(a=3)
    apply = account.server.apply

    def busy(item, *more, **options):
        if item["kind"] == "Deployment":
            raise Conflict("409: the object has changed")
        return apply(item, *more, **options)

    account.server.apply = busy
    with pytest.raises(AssertionError, match="still busy"):
        account.hours(1)
    assert [subject for subject, _ in account.notices.sent] == [
        "Slicewise: 1 object of gpu-1 cannot be changed"
    ]
    assert account.sizes() == {"a": None}

    account.server.apply = apply
    account.measure()  # tries are rare, so days have passed
    account.hours(1)
    assert len(account.notices.sent) == 2 and account.sizes() == {"a": 3}


def test_a_move_is_reported_once_and_once_more_where_the_record_is_lost():
    account = MovedAccount(a=3)
    account.hours(2)
    assert len(account.notices.sent) == 1

    account.store.pause(None, "a test")
    account.hours(1)
    account.store.resume(None)
    account.hours(1)
    assert len(account.notices.sent) == 1, "a pause has nothing forgotten"

    account.store._records.clear()
    account.hours(2)
    assert len(account.notices.sent) == 2


@cache
def _on_the_way() -> list[MovedAccount]:
    """Nothing strikes: what stands before each message, and once both were moved."""
    account = MovedAccount(a=2, b=1)
    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    return account.way()


@cache
def struck(kinds: tuple[str, ...], first: int) -> tuple[dict[str, int | None], list[str], list[str]]:
    """
    Sizes in the end, what was replaced, and what was told. All calls are struck for one test, and some of
    them for a quick one, too.
    """
    account = before(first, _on_the_way())
    for number, kind in enumerate(kinds, first):
        strike(kind, number)(account.calls)
    end = _FUTURES.end(account)
    return end.sizes(), end.deployments.rolled, [subject for subject, _ in end.notices.sent]


def _go_on(account: MovedAccount) -> None:
    account.answer_all()
    account.hours(1)


_FUTURES = Futures(MovedAccount.answer_next, _go_on)


STRIKES = [("killed",), ("answer lost",), *((kind, kind) for kind in REFUSALS)]


@pytest.mark.parametrize("kinds", STRIKES, ids=lambda kinds: f"{kinds[0]}, {len(kinds)} in a row")
@pytest.mark.parametrize(
    "share",
    [pytest.param(7, id="here and there"), pytest.param(1, id="everywhere", marks=pytest.mark.exhaustive)],
)
def test_whatever_strikes_a_reconcile_each_is_moved_once_and_ends_where_it_belongs(kinds, share):
    begin, quiet = len(_on_the_way()[0].calls.made), _on_the_way()[-1]
    assert quiet.sizes() == {"a": 3, "b": 3}

    # Killed at each of them; of the others, each kind takes its turn.
    step = share if kinds == ("killed",) else 3 * share
    for number in range(begin + STRIKES.index(kinds) % step, len(quiet.calls.made), step):
        sizes, rolled, reported = struck(kinds, number)
        assert sizes == {"a": 3, "b": 3}, quiet.calls.made[number]
        assert rolled == ["a", "b"], quiet.calls.made[number]
        assert set(reported) == {f"Slicewise moves Deployment ml/{name} of gpu-1 to class 3" for name in "ab"}
        assert len(reported) <= 3, "one strike has one more sent at most"
