"""Every problem of a policy comes with its place, its value and what to write instead."""

import pytest

from tests.unit.policy.texts import pool, problems

# One mistake each: the path, the value, and words that the remedy must hold.
ONE_MISTAKE = {
    "no pools": ("mode: act", "pools", None, "write at least one"),
    "pools empty": ("pools: {}", "pools", {}, "write at least one"),
    "pools a list": ("pools: [l4]", "pools", ["l4"], "pools by name"),
    "pool empty": ("pools: {a: }", "pools.a", None, "write fields"),
    "nothing at all": ("", "(policy)", None, "is empty"),
    "not a table": ("hello", "(policy)", "hello", "not a table"),
    "unknown field": (pool() + "color: red", "color", "red", "known here: mode, pools"),
    "misspelt field": (pool(replica=3), "pools.shared.replica", 3, "did you mean replicas?"),
    "unknown mode": (pool() + "mode: on", "mode", True, "act or recommend or observe"),
    "no sharing": (pool(sharing=...), "pools.shared.sharing", None, "this is missing"),
    "unknown sharing": (pool(sharing="vgpu"), "pools.shared.sharing", "vgpu", "none or time-slicing or mps"),
    "no gpus": (pool(gpus=...), "pools.shared.gpus", None, "EC2 sells"),
    "gpus not a list": (pool(gpus="l4"), "pools.shared.gpus", "l4", "such as [l4]"),
    "gpu that EC2 lacks": (pool(gpus=["l4", "h800"]), "pools.shared.gpus[1]", "h800", "EC2 sells"),
    "gpu with two kinds": (pool(gpus=["a100"]), "pools.shared.gpus[0]", "a100", "a100-40gb (p4d) or"),
    "gpu twice": (pool(gpus=["l4", "l4"]), "pools.shared.gpus[1]", "l4", "is there twice"),
    "no maxGpus": (pool(maxGpus=...), "pools.shared.maxGpus", None, "bounds the bill"),
    "maxGpus zero": (pool(maxGpus=0), "pools.shared.maxGpus", 0, "from 1 to"),
    "maxGpus text": (pool(maxGpus="8"), "pools.shared.maxGpus", "8", "whole number"),
    "maxGpus true": (pool(maxGpus=True), "pools.shared.maxGpus", True, "whole number"),
    "replicas 1": (pool(replicas={"start": 1}), "pools.shared.replicas.start", 1, "sharing: none"),
    "replicas 49": (pool(replicas={"max": 49}), "pools.shared.replicas.max", 49, "from 2 to 16"),
    "replicas a number": (pool(replicas=4), "pools.shared.replicas", 4, "{start: 4, max: 8}"),
    "start above max": (
        pool(replicas={"start": 6, "max": 4}),
        "pools.shared.replicas.start",
        6,
        "above max (4)",
    ),
    "replicas of whole": (pool(sharing="none", replicas={}), "pools.shared.replicas", {}, "remove it"),
    "profile of whole": (
        pool(sharing="none", profile="1g.5gb"),
        "pools.shared.profile",
        "1g.5gb",
        "sharing: mig",
    ),
    "replicas of mig": (
        pool(sharing="mig", gpus=["h100"], profile="1g.10gb", replicas={"start": 2}),
        "pools.shared.replicas",
        {"start": 2},
        "the MIG profile says",
    ),
    "mig without profile": (
        pool(sharing="mig", gpus=["h100"]),
        "pools.shared.profile",
        None,
        "1g.10gb or 1g.20gb or 2g.20gb or 3g.40gb or 4g.40gb or 7g.80gb",
    ),
    "a list of profiles": (
        pool(sharing="mig", gpus=["h100"], profile=["1g.10gb"]),
        "pools.shared.profile",
        ["1g.10gb"],
        "h100 lacks this profile",
    ),
    "a limit below the smallest machine": (
        pool(gpus=["l4", "h200"]),
        "pools.shared.maxGpus",
        4,
        "the smallest machine with h200 here has 8 GPUs, so none would ever start",
    ),
    "a limit below the counts allowed": (
        pool(gpuCounts=[8]),
        "pools.shared.maxGpus",
        4,
        "write 8 or more, or remove l4",
    ),
    "profile of another card": (
        pool(sharing="mig", gpus=["a100-80gb"], profile="1g.5gb", maxGpus=8),
        "pools.shared.profile",
        "1g.5gb",
        "a100-80gb lacks this profile",
    ),
    "mig on a card without": (
        pool(sharing="mig", gpus=["l4"], profile="1g.5gb"),
        "pools.shared.profile",
        "1g.5gb",
        "l4 has no MIG",
    ),
    "capacity type unknown": (
        pool(capacityTypes=["on-demand", "cheap"]),
        "pools.shared.capacityTypes[1]",
        "cheap",
        "on-demand, spot",
    ),
    "count unknown": (pool(gpuCounts=[1, 3]), "pools.shared.gpuCounts[1]", 3, "1, 2, 4 or 8"),
    "count not sold": (pool(gpus=["h200"], gpuCounts=[1]), "pools.shared.gpuCounts", [1], "h200 only in"),
    "name of a pool": (pool().replace("shared", "My_Pool"), "pools.My_Pool", "My_Pool", "a-z, 0-9 and -"),
    "period in a pool": (pool(period="10ms"), "pools.shared.period", "10ms", "no such setting"),
    "period at the top": (
        pool() + "timeSlicing: {period: 1}",
        "timeSlicing",
        {"period": 1},
        "does not exist",
    ),
    "period in replicas": (
        pool(replicas={"start": 4, "period": 1}),
        "pools.shared.replicas.period",
        1,
        "no such setting",
    ),
    "off-hours without hours": (
        pool() + "offHours: {timeZone: Europe/Berlin}",
        "offHours.asleep",
        None,
        "Sat-Sun",
    ),
    "off-hours in no zone": (
        pool() + "offHours: {timeZone: Europe/Berln, asleep: [Sat-Sun]}",
        "offHours.timeZone",
        "Europe/Berln",
        "did you mean Europe/Berlin",
    ),
    "off-hours nobody can read": (
        pool() + "offHours: {timeZone: UTC, asleep: [weekends]}",
        "offHours.asleep[0]",
        "weekends",
        "write weekly hours",
    ),
    "an exception that does not exist": (
        pool() + 'offHours: {timeZone: UTC, asleep: [Sat-Sun], awake: ["2026-02-30"]}',
        "offHours.awake[0]",
        "2026-02-30",
        "no such date",
    ),
    "what jobs never do at night": (
        pool() + "offHours: {timeZone: UTC, asleep: [Sat-Sun], jobs: pause}",
        "offHours.jobs",
        "pause",
        "write one of finish or suspend or run",
    ),
    "a namespace of Kubernetes": (
        pool() + "offHours: {timeZone: UTC, asleep: [Sat-Sun], namespaces: [kube-system]}",
        "offHours.namespaces[0]",
        "kube-system",
        "a namespace of yours",
    ),
    "classes with replicas": (
        pool(classes=[1, 2], replicas={"start": 2}),
        "pools.shared.replicas",
        {"start": 2},
        "each class has its own number",
    ),
    "classes of whole": (
        pool(sharing="none", classes=[1, 2]),
        "pools.shared.classes",
        [1, 2],
        "or write `sharing: time-slicing` or mps",
    ),
    "classes of mig": (
        pool(sharing="mig", gpus=["h100"], profile="1g.10gb", maxGpus=8, classes=[1, 2]),
        "pools.shared.classes",
        [1, 2],
        "divide a GPU by a number",
    ),
    "classes of a NodePool that is there": (
        pool(classes=[1, 2], adopt="gpu"),
        "pools.shared.adopt",
        "gpu",
        "without replacing them",
    ),
    "classes without 1": (pool(classes=[2, 3]), "pools.shared.classes", [2, 3], "add 1"),
    "one class": (pool(classes=[1]), "pools.shared.classes", [1], "sharing: none"),
    "classes a number": (pool(classes=3), "pools.shared.classes", 3, "such as [1, 2, 3]"),
    "a class too many": (pool(classes=[1, 17]), "pools.shared.classes[1]", 17, "from 1 to 16"),
    "a class by name": (pool(classes=[1, "small"]), "pools.shared.classes[1]", "small", "whole number"),
    "a class twice": (pool(classes=[1, 2, 2]), "pools.shared.classes[2]", 2, "is there twice"),
    "moves without classes": (pool(movesADay=3), "pools.shared.movesADay", 3, "classes: [1, 2, 3]"),
    "moves below none": (pool(classes=[1, 2], movesADay=-1), "pools.shared.movesADay", -1, "from 0 to"),
    "source of metrics": (
        pool() + "metrics: {source: datadog}",
        "metrics.source",
        "datadog",
        "prometheus or",
    ),
    "prometheus nowhere": (
        pool() + "metrics: {source: prometheus}",
        "metrics.endpoint",
        None,
        "write the URL of a Prometheus-compatible server",
    ),
    "a password in the endpoint": (
        pool() + "metrics: {source: prometheus, endpoint: 'http://me:secret@prometheus:9090'}",
        "metrics.endpoint",
        "http://me:secret@prometheus:9090",
        "without user",
    ),
    "an endpoint for CloudWatch": (
        pool() + "metrics: {endpoint: 'http://prometheus:9090'}",
        "metrics.endpoint",
        "http://prometheus:9090",
        "remove it, or write `source: prometheus`",
    ),
    "time slice by the clock": (pool(timeSlice="10ms"), "pools.shared.timeSlice", "10ms", "short or medium"),
    "time slice of mps": (
        pool(sharing="mps", timeSlice="long"),
        "pools.shared.timeSlice",
        "long",
        "no turns",
    ),
    "slowdown below one": (
        pool(slowdownBudget=0.5),
        "pools.shared.slowdownBudget",
        0.5,
        "a number from 1.05 to 100",
    ),
    "slowdown of whole": (
        pool(sharing="none", slowdownBudget=2),
        "pools.shared.slowdownBudget",
        2,
        "no N to choose",
    ),
    "slowdown not a number": (pool(slowdownBudget=True), "pools.shared.slowdownBudget", True, "from 1.05"),
    "tuning without unit": (pool() + "tuning: {dwell: 6}", "tuning.dwell", 6, "30m, 24h"),
    "too little history": (
        pool() + "tuning: {minimumHistory: 23h}",
        "tuning.minimumHistory",
        "23h",
        "from 24h to 144h",
    ),
    "tuning misspelt": (pool() + "tuning: {dwel: 6h}", "tuning.dwel", "6h", "did you mean dwell"),
    "drift unknown": (pool() + "drift: ignore", "drift", "ignore", "repair or report"),
    "metrics of the machine itself": (
        pool() + "metrics: {source: prometheus, endpoint: 'http://169.254.169.254/x'}",
        "metrics.endpoint",
        "http://169.254.169.254/x",
        "no server can be reached there",
    ),
    "a name that no file can have": (
        pool() + "offHours: {timeZone: UTC, asleep: [Sun], holidays: de.2026}",
        "offHours.holidays",
        "de.2026",
        "without .ics",
    ),
    "idle after": (
        pool() + "consolidation: {idleAfter: Never}",
        "consolidation.idleAfter",
        "Never",
        "such as 1m",
    ),
    "no zone": (
        pool() + "consolidation: {businessHours: {hours: ['Sun 10:00-12:00']}}",
        "consolidation.businessHours.timeZone",
        None,
        "Europe/Berlin",
    ),
    "a zone that is not": (
        pool() + "consolidation: {businessHours: {timeZone: Europe, hours: ['Sun 10:00-12:00']}}",
        "consolidation.businessHours.timeZone",
        "Europe",
        "Europe/Berlin",
    ),
    "more hours than Karpenter takes": (
        pool()
        + "consolidation: {businessHours: {timeZone: UTC, hours: ["
        + ", ".join(f"'Mon 08:{minute}-18:00'" for minute in range(10, 23))
        + "]}}",
        "consolidation.businessHours.hours",
        13,
        "at most 12",
    ),
    "hours that are not": (
        pool() + "consolidation: {businessHours: {timeZone: UTC, hours: ['Mon 8-18']}}",
        "consolidation.businessHours.hours[0]",
        "Mon 8-18",
        "Mon-Fri 08:00-18:00",
    ),
    "nodes a bare number": (
        pool() + "consolidation: {businessHours: {timeZone: UTC, hours: ['Sun 10:00-24:00'], nodes: 0}}",
        "consolidation.businessHours.nodes",
        0,
        "in quotes",
    ),
    "consolidation policy": (
        pool() + "consolidation: {policy: Always}",
        "consolidation.policy",
        "Always",
        "WhenEmpty or",
    ),
    "consolidation after": (pool() + "consolidation: {after: 10}", "consolidation.after", 10, "10m"),
    "foreign class made by us": (
        pool() + "nodeClass: {group: karpenter.kwok.sh, kind: KWOKNodeClass, name: default, create: true}",
        "nodeClass.create",
        True,
        "write false",
    ),
    "install not a flag": (
        pool() + "karpenter: {install: maybe}",
        "karpenter.install",
        "maybe",
        "true or false",
    ),
    "version in the policy": (
        pool() + "gpuOperator: {version: v25}",
        "gpuOperator.version",
        "v25",
        "known here: adopt",
    ),
    "key twice": (pool() + "mode: act\nmode: observe", "line 8", "mode", "is there twice"),
    "key that is a list": ("[a, b]: 1", "line 1", "['a', 'b']", "plain words"),
    "not YAML": ("pools: [", "line 1, column 9", ..., "not YAML"),
    "a day that is not": ("when: 2026-02-30", "(policy)", ..., "not YAML"),
}


@pytest.mark.parametrize("text, path, value, words", ONE_MISTAKE.values(), ids=ONE_MISTAKE.keys())
def test_one_mistake_is_one_problem_with_path_value_and_remedy(text, path, value, words):
    ((found_path, found_value, remedy),) = problems(text)

    assert found_path == path
    assert value is ... or found_value == value
    assert words in remedy


def test_every_mistake_is_reported_at_once():
    found = problems(pool(gpus=["a100", "tpu"], replicas={"start": 1, "max": 49}, maxGpus=0, period=1))

    assert [path for path, _, _ in found] == [
        "pools.shared.gpus[0]",
        "pools.shared.gpus[1]",
        "pools.shared.maxGpus",
        "pools.shared.replicas.start",
        "pools.shared.replicas.max",
        "pools.shared.period",
    ]


def test_yaml_cannot_make_python_objects():
    ((_, _, remedy),) = problems("pools: !!python/object/apply:os.getcwd []")

    assert "not YAML" in remedy
