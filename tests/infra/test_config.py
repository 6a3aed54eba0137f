"""A wrong configuration or policy gives one error that says where, what and what instead."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from slicewise.policy import checked, parse
from slicewise.policy import model as policy

from cdk_app.assets import policies
from cdk_app.config import ROOT, Config, InvalidConfig
from tests.infra.conftest import bare

DEFAULTS = json.loads((ROOT / "cdk.json").read_text())["context"]


def configured(**context: object) -> Config:
    return Config.from_context(DEFAULTS | context)


def refusal(**context: object) -> str:
    with pytest.raises(InvalidConfig) as caught:
        configured(**context)
    return str(caught.value)


def test_the_defaults_of_cdk_json_are_a_configuration():
    config = configured()

    assert (config.account, config.region) == (None, None)
    assert config.stack_name == "slicewise" and not config.install_karpenter


def test_the_nodes_role_is_known_by_name():
    assert configured(node_role="gpu-nodes").node_role == "gpu-nodes"
    assert configured().node_role == ""


@pytest.mark.parametrize("key", ["gpu_operator_chart", "gpu_operator_version", "karpenter_version"])
def test_a_missing_key_is_named_with_how_to_pass_it(key):
    context = {name: value for name, value in DEFAULTS.items() if name != key}

    with pytest.raises(InvalidConfig, match=f"context '{key}': is missing: pass -c {key}=") as caught:
        Config.from_context(context)
    assert str(caught.value).count(key) == 2  # once named, once in the remedy


WRONG = {
    "a typo": ({"install_karpnter": "true"}, "did you mean 'install_karpenter'?"),
    "a flag": ({"install_karpenter": "yes"}, "'install_karpenter': is 'yes': pass true or false"),
    "an account": ({"account": "1234", "region": "eu-west-1"}, "'account': is '1234'"),
    "half a place": ({"region": "eu-west-1"}, "pass account and region together"),
    "a subnet": (
        {"subnet_ids": "vpc-1", "security_group_ids": "sg-0123456789abcdef0"},
        "'subnet_ids': has 'vpc-1'",
    ),
    "half a network": ({"subnet_ids": "subnet-0123456789abcdef0"}, "pass subnet_ids and security_group_ids"),
    "a chart that is not there": ({"karpenter_chart": "karpenter.tgz"}, "which is no .tgz file"),
    "a chart over http": ({"karpenter_chart": "http://x/y.tgz"}, "pass an oci:// or https:// reference"),
    "a packed chart of another version": (
        {"gpu_operator_version": "v26.9.0"},
        "'gpu_operator_version': is 'v26.9.0', but gpu_operator_chart is the file 'gpu-operator-v26.7.0.tgz'",
    ),
    "a node role's ARN": (
        {"node_role": "arn:aws:iam::111122223333:role/x"},
        "pass the name of an IAM role, not its ARN",
    ),
    "interruption handling without Karpenter": (
        {"karpenter_interruptions": "true"},
        "'karpenter_interruptions': pass install_karpenter=true as well",
    ),
    "Fargate without Karpenter": (
        {"karpenter_on_fargate": "true"},
        "'karpenter_on_fargate': pass install_karpenter=true as well",
    ),
    "two node roles": (
        {"node_role": "gpu-nodes", "install_karpenter": "true"},
        "'node_role': install_karpenter makes a role for nodes: pass one of the two",
    ),
    "an address": ({"notification_email": "nobody"}, "'notification_email': is 'nobody'"),
    "a number": ({"stack_name": 7}, "'stack_name': is 7, which is not text"),
    "a prefix too long": ({"role_prefix": "x" * 44}, "'role_prefix'"),
}


@pytest.mark.parametrize(("context", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_value_is_reported_with_its_remedy(context, message):
    assert message in refusal(**context)


DIGEST = "0123456789abcdef" * 4


def test_a_chart_comes_with_its_digest_or_with_a_command_that_prints_it(tmp_path):
    config = configured(gpu_operator_sha256=DIGEST)
    assert (config.gpu_operator.digest, config.karpenter.digest) == (DIGEST, "")
    assert config.gpu_operator.shown_by == f"curl -fsSL {DEFAULTS['gpu_operator_chart']} | sha256sum"
    assert config.karpenter_crd.shown_by == (
        "helm pull oci://public.ecr.aws/karpenter/karpenter-crd --version 1.15.0 "
        "&& sha256sum karpenter-crd-1.15.0.tgz"
    )


def test_a_chart_that_is_carried_along_is_known_by_the_digest_that_it_has(tmp_path):
    file = tmp_path / "gpu-operator-v26.7.0.tgz"
    file.write_bytes(b"a chart")
    known = hashlib.sha256(b"a chart").hexdigest()

    for digest in ("", known):
        found = configured(gpu_operator_chart=str(file), gpu_operator_sha256=digest)
        assert found.gpu_operator.digest == known
    message = refusal(gpu_operator_chart=str(file), gpu_operator_sha256=DIGEST)
    assert f"'gpu_operator_sha256': is '{DIGEST}', but '{file}' has '{known}'" in message


@pytest.mark.parametrize("digest", ["abc", DIGEST.upper(), f"sha256:{DIGEST}", DIGEST[:-1]])
def test_what_is_no_digest_is_reported_with_the_command_that_prints_one(digest):
    assert (
        f"'karpenter_sha256': is '{digest}': pass the 64 digits that `helm pull "
        "oci://public.ecr.aws/karpenter/"
        "karpenter --version 1.15.0 && sha256sum karpenter-1.15.0.tgz` prints"
        in refusal(karpenter_sha256=digest)
    )


@pytest.mark.parametrize("tag", [":1.14.1", f"@sha256:{DIGEST}"])
def test_a_registrys_reference_has_neither_version_nor_digest_in_it(tag):
    chart = f"oci://registry.example:5000/karpenter{tag}"

    assert (
        f"is {chart!r}: its version goes into karpenter_version, its digest into karpenter_sha256"
        in refusal(karpenter_chart=chart)
    )
    configured(karpenter_chart="oci://registry.example:5000/karpenter")


def test_charts_that_would_overwrite_each_other_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "chart-1.14.1.tgz").write_bytes(b"")

    message = refusal(
        karpenter_chart=str(tmp_path / "a" / "chart-1.14.1.tgz"),
        karpenter_crd_chart=str(tmp_path / "b" / "chart-1.14.1.tgz"),
    )

    assert "two charts have the same file name" in message


def test_a_dashboard_needs_metrics_and_has_them():
    assert not configured().metrics and not configured().dashboard
    assert configured(metrics="true").metrics and not configured(metrics="true").dashboard
    assert configured(dashboard="true").metrics and configured(dashboard="true").dashboard


def test_every_problem_is_told_at_once():
    message = refusal(install_karpenter="yes", notification_email="nobody", region="eu-west-1")

    assert message.count("\n") == 3


def test_other_peoples_context_keys_pass():
    configured(**{"@aws-cdk/core:newStyle": True, "acknowledged-issue-numbers": [1], "team": "gpu"})


def test_lists_come_from_the_command_line_or_from_cdk_json():
    ids = ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1")
    group = "sg-0123456789abcdef0"

    assert configured(subnet_ids=", ".join(ids), security_group_ids=group).subnet_ids == ids
    assert configured(subnet_ids=list(ids), security_group_ids=[group]).subnet_ids == ids


def test_our_own_policies_pass_at_synthesis():
    assert "default" in {policy.name for policy in policies.load(ROOT / "policies", "default")}


def refused(folder, default: str = "") -> str:
    with pytest.raises(policies.RefusedPolicies) as caught:
        policies.load(folder, default)
    return str(caught.value)


def test_a_wrong_policy_is_refused_at_synthesis_with_path_value_and_remedy(tmp_path):
    good = (ROOT / "policies" / "default.yaml").read_text()
    (tmp_path / "good.yaml").write_text(good)
    (tmp_path / "bad.yaml").write_text(
        "pools:\n  shared: {sharing: time-slicing, gpus: [l4], maxGpus: 4, replicas: {start: 49, max: 8}}\n"
    )
    message = refused(tmp_path)

    assert "bad.yaml" in message and "good.yaml" not in message
    assert "pools.shared.replicas.start" in message and "49" in message


def test_a_policy_larger_than_a_parameter_is_refused_with_its_size(tmp_path):
    pool = "sharing: time-slicing, gpus: [l4, a10g], maxGpus: 4, replicas: {start: 4, max: 8}"
    pools = "".join(f"  pool-{number:03}: {{{pool}}}\n" for number in range(50))
    (tmp_path / "long.yaml").write_text(f"pools:\n{pools}")

    assert re.search(r"has 4\d\d\d bytes, and a parameter holds 4096: split it", refused(tmp_path))


def test_a_policy_that_only_its_mark_makes_too_large_is_deployed_without_it(tmp_path):
    pool = {"sharing": "none", "gpus": ["l4"], "maxGpus": 4}
    metrics = {"source": "prometheus", "endpoint": "http://p/"}
    text = json.dumps({"pools": {"whole": pool}, "metrics": metrics}, separators=(",", ":"))
    text = text.replace("http://p/", "http://p/" + "x" * (policies.LARGEST - len(text)))
    (tmp_path / "long.yaml").write_text(text)

    [found] = policies.load(tmp_path, "")

    assert len(found.text) == policies.LARGEST and checked.read(found.text, "long") is None
    assert policy.parse(found.text, "long") == policy.parse(text, "long")


def test_a_policy_is_deployed_as_checked_json_without_its_comments_and_means_the_same(tmp_path):
    """A release that knows no such line, and no JSON, reads it as YAML: the same values come out."""
    dated = "offHours: {timeZone: Europe/Berlin, asleep: [Sat-Sun, 2026-12-24], awake: [2026-12-31]}\n"
    good = (ROOT / "policies" / "default.yaml").read_text()
    # Systems Manager takes what stands in double braces for another parameter's name, and refuses it.
    (tmp_path / "dated.yaml").write_text("# ü {{ team }}\n" + "# x\n" * 1024 + good + dated)
    (tmp_path / "every-way.yaml").write_text((ROOT / "policies" / "every-way.yaml").read_text())

    found = {file.name: file.text for file in policies.load(tmp_path, "")}

    for name in ("dated", "every-way"):
        written = (tmp_path / f"{name}.yaml").read_text()
        mark, body = found[name].split("\n")
        assert checked.read(found[name], name) == policy.parse(written, name) == parse.strictly(body, name)
        assert mark.startswith("# slicewise 1 ")
        assert json.loads(body) == yaml.safe_load(found[name])
        assert "#" not in body


def test_a_default_policy_that_does_not_exist_is_refused_with_those_that_do(tmp_path):
    (tmp_path / "small.yaml").write_text((ROOT / "policies" / "default.yaml").read_text())

    assert f"context 'default_policy': is 'smal', but {tmp_path} has small" in refused(tmp_path, "smal")


def test_a_policy_needs_a_name_that_a_tag_can_say(tmp_path):
    (tmp_path / "My Policy.yaml").write_text((ROOT / "policies" / "default.yaml").read_text())

    assert "policy 'My Policy': name the file with lower-case letters" in refused(tmp_path)


def test_a_folder_without_policies_is_refused(tmp_path):
    assert "has no policy" in refused(tmp_path)


HOLIDAYS = (
    "BEGIN:VCALENDAR\r\nPRODID:-//somebody//EN\r\nBEGIN:VTIMEZONE\r\nBEGIN:STANDARD\r\nDTSTART:19701025T030000\r\n"
    "END:STANDARD\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\nUID:1@example.com\r\nSUMMARY:New\r\n  Year\r\n"
    "DTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=YEARLY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


def with_holidays(folder: Path, text: str) -> Path:
    (folder / "default.yaml").write_text((ROOT / "policies" / "default.yaml").read_text())
    (folder / "holidays").mkdir()
    (folder / "holidays" / "de.ics").write_text(text)
    return folder


def test_holidays_are_deployed_beside_policies_without_what_nobody_reads(tmp_path):
    found = policies.load(with_holidays(tmp_path, HOLIDAYS), "default")

    assert {file.name: file.text for file in found}["holidays/de"].splitlines() == [
        "BEGIN:VCALENDAR",
        "BEGIN:VEVENT",
        "SUMMARY:New Year",
        "DTSTART;VALUE=DATE:20260101",
        "RRULE:FREQ=YEARLY",
        "END:VEVENT",
        "END:VCALENDAR",
    ]


def test_holidays_that_cannot_be_read_are_refused_at_synthesis(tmp_path):
    assert "FREQ=YEARLY" in refused(with_holidays(tmp_path, HOLIDAYS.replace("YEARLY", "WEEKLY")))


def test_holidays_that_are_not_there_are_refused_at_synthesis(tmp_path):
    text = (ROOT / "policies" / "default.yaml").read_text()
    nights = 'offHours: {timeZone: UTC, asleep: ["Sat-Sun"], holidays: de}\n'
    (tmp_path / "default.yaml").write_text(text + nights)

    assert f"offHours.holidays: 'de': there is no file {tmp_path}/holidays/de.ics" in refused(tmp_path)


def test_at_the_command_line_an_error_is_a_message_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "cdk_app", "--out", tmp_path / "cdk.out", "-c", "install_karpenter=yes"]

    answer = subprocess.run(command, cwd=ROOT, env=bare(tmp_path), capture_output=True, text=True)

    assert answer.returncode == 1
    assert answer.stderr.strip().endswith("context 'install_karpenter': is 'yes': pass true or false")
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "cdk.out" / "Slicewise.template.json").exists()


def test_every_context_key_is_in_the_documentation():
    source = (ROOT / "cdk_app" / "config.py").read_text()
    keys = set(re.findall(r'read\.\w+\(\s*"(\w+)"', source)) - {"account"} | {"karpenter_version"}
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "deploying.md").read_text()))

    assert len(keys) > 10
    assert keys <= documented
