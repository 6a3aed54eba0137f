"""A Kubeflow Notebook is stopped by its own annotation: the StatefulSet is its controller's."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from slicewise.kube.objects import annotations_of
from slicewise.kube.ref import Ref, ref_of
from slicewise.offhours.targets import KEEP_AWAKE
from slicewise.planning.outcome import Stage
from slicewise.policy.off_hours import Volumes

from tests.fakes.kube.controllers import STOPPED, keeping_volumes, notebook, owned, scaled
from tests.fakes.sleeper import NIGHTS, Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, codes, objects_of

ADA = notebook("nb-ada")
NB, SET, POD = ref_of(ADA), Ref("apps/v1", "StatefulSet", "nb-ada", "ml"), Ref("v1", "Pod", "nb-ada-0", "ml")


def with_notebook(item: Any = ADA) -> Sleeper:
    sleeper = Sleeper()
    sleeper.create(copy.deepcopy(item))
    return sleeper


def stopped(sleeper: Sleeper) -> str | None:
    return annotations_of(sleeper.server.objects[NB]).get(STOPPED)


def test_it_sleeps_and_wakes_as_it_was_and_its_set_is_its_controllers():
    sleeper = with_notebook()
    before = objects_of(sleeper)
    assert sleeper.live(POD)

    asleep = sleeper.at(NIGHT).settle()
    assert stopped(sleeper) == "slicewise-off-hours" and sleeper.live(POD) is None
    assert asleep.outcome.stage is Stage.ASLEEP and codes(asleep) == set()
    later = sleeper.later(hours=1).settle()
    assert codes(later) == set(), "nobody fights"

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before and sleeper.live(POD)
    assert not any(call.startswith("kubernetes.scale") for call in sleeper.calls.made)


def test_one_that_its_user_or_the_culler_has_stopped_stays_so():
    sleeper = with_notebook(notebook("nb-ada", stopped="2026-11-25T15:00:00Z"))
    before = objects_of(sleeper)

    sleeper.at(NIGHT).settle()
    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


def test_who_starts_it_at_night_keeps_it():
    sleeper = with_notebook()
    sleeper.at(NIGHT).settle()

    sleeper.edit(NB, ("metadata", "annotations", STOPPED), None)
    reported = sleeper.later(hours=1).settle()
    assert sleeper.live(POD) and "woken-by-somebody" in codes(reported)

    sleeper.at(MORNING).settle()
    assert stopped(sleeper) is None


def test_one_that_is_marked_stays_awake():
    marked = copy.deepcopy(ADA)
    marked["metadata"]["annotations"] = {KEEP_AWAKE: "true"}
    sleeper = with_notebook(marked)

    assert "kept-awake" in codes(sleeper.at(NIGHT).settle()) and stopped(sleeper) is None


@pytest.mark.parametrize("policy", [NIGHTS, replace(NIGHTS, volumes=Volumes.RETAIN)], ids=["leave", "retain"])
def test_a_set_below_it_that_would_lose_its_volumes_is_left_with_it(policy):
    """What stops the Notebook scales its StatefulSet: with whenScaled: Delete its data would go."""
    sleeper = with_notebook()
    sleeper.off_hours = policy
    losing = keeping_volumes(scaled("StatefulSet", "nb-ada", 1))
    live = sleeper.server.objects[SET]
    for field in ("persistentVolumeClaimRetentionPolicy", "volumeClaimTemplates"):
        live["spec"][field] = losing["spec"][field]

    reported = sleeper.at(NIGHT).settle()

    assert stopped(sleeper) is None and {"volumes-would-go", "open-for-what-stays"} <= codes(reported)
    [finding] = [one for one in reported.outcome.findings if one.code == "volumes-would-go"]
    assert "offHours" not in finding.remedy, "what would not help"


def test_the_annotation_wakes_it_where_the_table_has_lost_it():
    sleeper = with_notebook()
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    sleeper.kept._kept.clear()

    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


def test_without_a_definition_what_stands_above_is_no_kind_of_ours():
    """Some other Notebook, whose controller we do not know: its set is scaled as ever."""
    other = {"apiVersion": "example.com/v1", "kind": "Notebook", "metadata": {"name": "n", "uid": "u"}}
    sleeper = Sleeper()
    sleeper.create(owned(scaled("StatefulSet", "nb-bob", 1), other))

    sleeper.at(NIGHT).settle()

    assert not any("kubeflow" in str(one) for plan in sleeper.plans for one in plan.actions)


def test_the_version_that_an_owner_reference_names_makes_no_other_notebook_of_it():
    """Kubeflow's controller owns its StatefulSet as v1beta1; the API server serves each in all versions."""
    sleeper = with_notebook()
    before = objects_of(sleeper)
    sleeper.server.objects[SET]["metadata"]["ownerReferences"][0]["apiVersion"] = "kubeflow.org/v1beta1"

    asleep = sleeper.at(NIGHT).settle()
    assert stopped(sleeper) and codes(asleep) == set()
    assert {kept.ref for kept in sleeper.kept.snapshots(sleeper.cluster.arn) if kept.ref.kind == NB.kind} == {
        NB
    }

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before
