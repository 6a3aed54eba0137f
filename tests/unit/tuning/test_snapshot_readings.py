"""What a pass read comes back from a snapshot as it was."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from slicewise.policy import model as policy
from slicewise.tuning import snapshot
from slicewise.tuning.plan import plan
from slicewise.tuning.state.observation import (
    Complete,
    Deleted,
    MetricsUnreadable,
    NotReady,
    Observed,
    Paused,
    Unmanaged,
)
from slicewise.tuning.usage.history import NOTHING
from slicewise.tuning.usage.pool_usage import read

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning.dcgm_samples import contents, one_gpu, pod, scraped

TEXT = "pools: {{shared: {{sharing: time-slicing, gpus: [l4], maxGpus: 9}}}}\nmetrics: {metrics}\n"
SOURCES = {
    "container-insights": "{source: container-insights}",
    "prometheus": "{source: prometheus, endpoint: 'http://p:9090'}",
}


@pytest.mark.parametrize(
    ("source", "series"),
    [
        ("container-insights", one_gpu),
        ("prometheus", lambda: scraped("4.5.3-virtual-gpus", xid=lambda step: 79.0 * (step > 100))),
        ("prometheus", lambda: scraped("4.4.2-virtual-gpus")),
    ],
    ids=["whole GPUs", "by pod", "repeated"],
)
def test_readings_come_back_from_a_snapshot(source, series):
    seen = contents(pod("a-0"), pod("b-0"))
    text = TEXT.format(metrics=SOURCES[source])
    found = read(series(), source, seen)
    found = replace(found, gone=found.devices[:1])
    observed = Observed(
        builders.cluster(),
        "default",
        policy.parse(text, "default"),
        seen,
        Complete(found, NOTHING, NOW),
        policy_text=text,
    )

    again, at = snapshot.load(snapshot.dump(observed, NOW))

    assert again.measurement.readings == found and found.devices
    assert plan(again, at) == plan(observed, NOW)


def test_series_of_an_earlier_releases_snapshot_become_readings():
    seen, text = contents(pod("a-0"), pod("b-0")), TEXT.format(metrics=SOURCES["container-insights"])
    found, asked = read(one_gpu(), "container-insights", seen), policy.parse(text, "default")
    observed = Observed(
        builders.cluster(), "default", asked, seen, Complete(found, NOTHING, NOW), policy_text=text
    )
    written = json.loads(snapshot.dump(observed, NOW))
    for name in ("found", "measured", "measured_at"):
        del written[name]

    again, at = snapshot.load(json.dumps({**written, "series": [asdict(one) for one in one_gpu()]}))

    assert again.measurement.readings == found and found.devices
    assert plan(again, at) == plan(observed, NOW)


YAML = TEXT.format(metrics=SOURCES["prometheus"])
ASKED = ("default", policy.parse(YAML, "default"))


@pytest.mark.parametrize(
    "observed",
    [
        Deleted(),
        Paused(builders.cluster(), "an audit", "default", ({"node_pool": "a", "rollout": "2 of 3"},)),
        Unmanaged(builders.cluster()),
        Unmanaged(builders.cluster(), contents=contents()),
        NotReady(builders.cluster(), *ASKED, YAML),
        Observed(builders.cluster(), *ASKED, contents(), MetricsUnreadable("no answer"), policy_text=YAML),
    ],
    ids=["deleted", "paused", "unmanaged", "unmanaged, and looked into", "not ready", "without metrics"],
)
def test_each_state_leads_to_the_same_plan_from_a_snapshot(observed):
    again, at = snapshot.load(snapshot.dump(observed, NOW))

    assert type(again) is type(observed)
    assert plan(again, at) == plan(observed, NOW)
