"""What functions read of a checked policy is what the strict reader reads of its file."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import slicewise
import yaml
from hypothesis import given, settings
from slicewise.errors import InvalidPolicy
from slicewise.policy import canonical, checked, rules_digest
from slicewise.policy.model import Policy, parse
from slicewise.policy.parse import strictly

from tests.unit.policy.strategies import documents

ROOT = Path(__file__).parents[3]
POOL = "{sharing: time-slicing, gpus: [l4], maxGpus: 4}"
A_POOL = f"pools: {{a: {POOL}}}\n"
ADOPTING = "pools: {mine: {sharing: time-slicing, gpus: [l4], adopt: gpu%s}}\n"
TEXTS = {
    **{path.stem: path.read_text() for path in sorted((ROOT / "policies").glob("*.yaml"))},
    "start above the default of max": f"pools: {{a: {POOL[:-1]}, replicas: {{start: 12}}}}}}",
    "adopted": ADOPTING % "",
    "adopted with a table of replicas": ADOPTING % ", replicas: {}",
    "adopted with a low max": ADOPTING % ", replicas: {max: 3}",
    "adopted with defaults written": ADOPTING % "" + "consolidation: {after: 10m, policy: WhenEmpty}",
    "a node class of ours by another name": A_POOL + "nodeClass: {name: gpu, create: true}",
    "our node class left alone": A_POOL + "nodeClass: {create: false}",
    "classes out of order": f"pools: {{a: {POOL[:-1]}, classes: [3, 1], movesADay: 0}}}}",
    "an endpoint with a slash": A_POOL + "metrics: {source: prometheus, endpoint: 'http://p/'}",
    "letters of a language": A_POOL + "metrics: {source: prometheus, endpoint: 'http://prüf-\U00010000'}",
    "a time slice of a trial": A_POOL + "tuning: {trial: true, canary: 90s, raiseAfter: 0s, dwell: 90m}",
    "others' charts": A_POOL + "karpenter: {install: true}\ngpuOperator: {adopt: true}",
    "an annotation as a switch": A_POOL
    + "offHours: {timeZone: UTC, asleep: [Sat], kinds: [{group: ml.example.com, kind: Server, "
    "path: 'metadata.annotations[ml.example.com/stop]', asleep: 'true'}]}",
}
READERS = (
    "yaml",
    *(f"slicewise.policy.{name}" for name in ("strict_yaml", "reader", "section_reader", "pairs")),
)
EARLIER = "# slicewise policy, format 1, checked by 0.1.0, sha256 %s"
BODY = canonical.dump(parse(TEXTS["default"], "any")).partition("\n")[2]


def holds_of(text: str) -> None:
    policy = strictly(text, "any")
    handed_over = canonical.dump(policy)

    assert checked.read(handed_over, "any") == policy
    # A release that knows no such line, and a person who edits it, read the same.
    assert strictly(handed_over, "any") == policy
    assert canonical.dump(checked.read(handed_over, "any")) == handed_over


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_handed_over_is_what_was_checked(text):
    holds_of(text)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(documents())
def test_what_is_handed_over_is_what_was_checked_of_any_policy(document):
    holds_of(json.dumps(document))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_parameter_holds_hardly_more_than_the_policy_itself(text):
    """Of 4,096 letters: a policy that fitted without the line is not to become too large by it."""
    policy_alone = json.dumps(yaml.safe_load(text), separators=(",", ":"), default=str)

    assert len(canonical.dump(parse(text, "any"))) < len(policy_alone) + 90


def test_no_reader_is_imported_for_a_policy_that_was_checked():
    code = (
        "import sys\n"
        "from slicewise.policy.model import found\n"
        "policy = found(sys.argv[1], 'default')\n"
        "print(policy.pools[0].name, *sorted(set(sys.argv[2:]) & sys.modules.keys()))"
    )
    text = canonical.dump(parse(TEXTS["default"], "default"))

    command = [sys.executable, "-c", code, text, *READERS]
    said = subprocess.run(command, capture_output=True, text=True, check=True)

    assert said.stdout.split() == ["shared"]


def mark(body: str, **others: object) -> str:
    return f"{replace(checked._ours(body), **others)}\n{body}"


def test_the_rules_are_all_that_reading_a_policy_imports():
    code = (
        "import sys\n"
        "from slicewise.policy import parse\n"
        "parse.strictly(sys.argv[1], 'any')\n"
        "print(*(module.__file__ for name, module in sys.modules.items() if name.startswith('slicewise.')))"
    )
    command = [sys.executable, "-c", code, TEXTS["every-way"]]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    imported = {Path(file).relative_to(rules_digest.PACKAGE).as_posix() for file in said.split()}

    # What raises, and what names fields and labels of Kubernetes: no rule of a policy.
    beside = {"errors.py", "kube/labels.py", "kube/ref.py"}
    modules = {file for file in imported if not file.endswith("__init__.py")}
    assert modules - beside <= {*rules_digest.sources(rules_digest.PACKAGE)}
    assert len(modules) > 15


def test_another_bound_is_another_digest(tmp_path):
    for name in rules_digest.sources(rules_digest.PACKAGE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((rules_digest.PACKAGE / name).read_bytes())
    assert rules_digest.of(tmp_path) == rules_digest.rules()

    model = tmp_path / "policy" / "model.py"
    model.write_text(model.read_text().replace("10_000", "20_000"))

    assert rules_digest.of(tmp_path) != rules_digest.rules()


def test_a_text_edited_by_hand_is_checked_at_each_reconcile():
    handed_over = canonical.dump(parse(TEXTS["default"], "any"))

    edited = parse(handed_over.replace('{"pools"', '{"mode":"observe","pools"'), "any")

    assert edited.mode == "observe"
    with pytest.raises(InvalidPolicy, match="maxGpus: 80000: write a whole number from 1 to 10000"):
        parse(handed_over.replace('"maxGpus":8', '"maxGpus":80000'), "any")


@pytest.mark.parametrize(
    "text",
    [
        TEXTS["default"],
        BODY,
        mark(BODY, release="0.0.9"),
        mark(BODY, rules="00000000"),
        f"{EARLIER % checked._digest(BODY)[:16]}\n{BODY}",
        mark(BODY).replace("\n{", "\n# mine\n{"),
    ],
    ids=[
        *("YAML", "JSON without a line", "of an earlier release", "by other rules of this release"),
        *("with the first releases' line", "with a line of one's own"),
    ],
)
def test_what_this_release_has_not_checked_is_read_strictly(text):
    assert checked.read(text, "any") is None
    assert parse(text, "any") == parse(TEXTS["default"], "any")


def test_a_policy_of_a_newer_format_is_refused_by_its_release():
    with pytest.raises(InvalidPolicy) as refused:
        parse("# slicewise policy, format 2, checked by 9.1.0, in words of its own\n" + BODY, "any")

    assert [str(problem) for problem in refused.value.problems] == [
        f"format: 2: release 9.1.0 wrote it, and release {slicewise.__version__} reads format 1 at most; "
        "deploy the newer release again, or the policies of this one"
    ]


@pytest.mark.parametrize(
    ("others", "who"),
    [
        ({"release": "9.1.0", "rules": "00000000"}, "release 9.1.0 (rules 00000000)"),
        ({"rules": "00000000"}, f"release {slicewise.__version__} (rules 00000000)"),
    ],
    ids=["of a newer release", "of this release's number"],
)
def test_a_field_that_other_rules_know_is_refused_with_who_took_it(others, who):
    with pytest.raises(InvalidPolicy) as refused:
        parse(mark(BODY.replace("{", '{"later":1,', 1), **others), "any")

    assert [problem.path for problem in refused.value.problems] == ["release", "later"]
    ours = f"release {slicewise.__version__} (rules {rules_digest.rules()})"
    assert f"{who} checked this policy, and {ours} reads it here" in refused.value.problems[0].remedy


def test_nobody_else_is_named_where_a_text_was_edited_since():
    text = mark(BODY, release="9.1.0").replace("{", '{"later":1,', 1)

    with pytest.raises(InvalidPolicy) as refused:
        parse(text, "any")

    assert [problem.path for problem in refused.value.problems] == ["later"]


@pytest.mark.parametrize("letter", ["\x7f", "\x80", "\ufeff", "\uffff"])
def test_an_endpoint_has_no_letters_that_yaml_refuses_where_they_are_not_escaped(letter):
    text = A_POOL + 'metrics: {source: prometheus, endpoint: "http://p/' + rf'\u{ord(letter):04x}"}}'

    with pytest.raises(InvalidPolicy, match=r"metrics\.endpoint: .*cannot be printed"):
        strictly(text, "any")


@pytest.mark.parametrize(
    ("written", "forged", "path"),
    [
        ('"pools":', '"later":1,"pools":', "later"),
        ('"sharing":"mps"', '"sharing":"mps","later":1', "pools.batch.later"),
        ('"mode":', '"karpenter":{"install":true,"later":1},"mode":', "karpenter.later"),
        ('"group":"ml.example.com"', '"group":"ml.example.com","later":1', "offHours.kinds[0].later"),
        ('"group":"ml.example.com"', '"group":"rbac.authorization.k8s.io"', "offHours.kinds[0].group"),
        ('"sharing":"mps"', '"sharing":"all"', "pools.batch.sharing"),
        ('"name":"gpu"', '"name":"GPU pool"', "nodeClass.name"),
        ('"gpus":["l4"],', "", "pools.batch.gpus"),
    ],
)
def test_a_line_that_vouches_for_what_no_check_takes_gains_nothing(written, forged, path):
    body = canonical.dump(parse(TEXTS["every-way"], "any")).partition("\n")[2]
    assert written in body

    with pytest.raises(InvalidPolicy) as refused:
        parse(mark(body.replace(written, forged)), "any")

    assert path in [problem.path for problem in refused.value.problems]


@pytest.mark.parametrize("body", ["", "[]", "{", "[" * 300, '{"pools":{}}', "\udc00", "null", "{}"])
def test_odd_text_that_is_vouched_for_is_refused(body):
    with pytest.raises(InvalidPolicy):
        parse(mark(body), "any")


def test_the_release_is_that_of_the_package():
    package = (ROOT / "pyproject.toml").read_text()

    assert f'\nversion = "{slicewise.__version__}"\n' in package


def test_every_policy_is_a_policy():
    assert isinstance(parse(canonical.dump(parse(TEXTS["observe"], "observe")), "observe"), Policy)
