"""The command from its options to what it prints and writes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from slicewise.errors import Refused
from slicewise.policy.model import parse

from cli import assessor
from cli.assessment.sharing import EXCLUSIONS
from cli.assessor import _side_by_side
from cli.main import main
from tests.fakes.prometheus import Prometheus
from tests.support.assessed_cluster import series_of_a_week, three_teams
from tests.support.kube_api import NODE_POOLS, NODES, PODS, KubeApi, kubeconfig

FOUND = three_teams()


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The API server of three teams, by the context `prod`; `away` is nowhere."""
    with KubeApi({NODES: FOUND.nodes, PODS: FOUND.pods, NODE_POOLS: []}) as api:
        file = kubeconfig(tmp_path / "config", {"prod": api.url, "away": "http://127.0.0.1:1"})
        monkeypatch.setenv("KUBECONFIG", str(file))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        yield api


@pytest.fixture
def recorded(tmp_path):
    file = tmp_path / "week.json"
    result = [
        {
            "metric": {"__name__": one.name, **one.labels},
            "values": [[at, str(value)] for at, value in zip(one.times, one.values, strict=True)],
        }
        for one in series_of_a_week()
    ]
    file.write_text(json.dumps({"data": {"result": result}}))
    return file


def gpus(reported, rule, model="l4"):
    (found,) = [one for one in reported["models"] if one["model"] == model]
    return next(one["gpus"] for one in found["rules"] if one["rule"] == rule)


def test_a_plain_cluster_is_assessed_with_nothing_deployed(cluster, capsys):
    assert main(["assess"]) == 0

    reported = capsys.readouterr().out
    assert "19 GPUs on 9 nodes: 32.19 $ an hour" in reported
    assert "No Karpenter NodePool was found" in reported


def test_a_recording_reports_what_the_rules_would_need(cluster, recorded, capsys):
    assert main(["assess", "--recorded", str(recorded), "--json"]) == 0

    (reported,) = json.loads(capsys.readouterr().out)
    assert (reported["metrics"], gpus(reported, "classes"), gpus(reported, "n")) == ("prometheus", 7, 11)


def test_the_policy_that_it_writes_passes_the_check(cluster, recorded, tmp_path, capsys):
    file = tmp_path / "suggested.yaml"

    assert main(["assess", "--recorded", str(recorded), "--write-policy", str(file)]) == 0
    assert main(["policy", "check", str(file)]) == 0
    assert {pool.name for pool in parse(file.read_text(), "x").pools} == {
        "l4",
        "l4-whole",
        "a100-40gb-1g-5gb",
    }


def test_a_file_that_is_there_is_not_written_over(cluster, tmp_path, capsys):
    (tmp_path / "prod.yaml").write_text("mine")

    assert main(["assess", "--write-policy", str(tmp_path / "prod.yaml")]) == 2
    assert (tmp_path / "prod.yaml").read_text() == "mine"
    assert "is there already" in capsys.readouterr().err


def test_where_nothing_could_be_a_pool_no_policy_is_written(cluster, tmp_path, capsys):
    cluster.lists[PODS] = ()
    cluster.lists[NODES] = [node for node in FOUND.nodes if node["metadata"]["name"] != "a100"]

    assert main(["assess", "--write-policy", str(tmp_path / "prod.yaml")]) == 2
    assert not (tmp_path / "prod.yaml").exists()
    assert "there is no policy to suggest" in capsys.readouterr().err


def test_a_prometheus_that_is_away_is_reported_and_the_rest_is_said(cluster, capsys):
    assert main(["assess", "--prometheus", "http://127.0.0.1:1"]) == 0

    reported = capsys.readouterr().out
    assert "The metrics cannot be read" in reported
    assert "could-share" in reported


def test_an_empty_prometheus_is_reported(cluster, capsys):
    with Prometheus() as server:
        assert main(["assess", "--prometheus", server.url]) == 0

    reported = capsys.readouterr().out
    assert "0 of 7 pods that could share have a full day" in reported
    assert "calls this cluster otherwise than prod, pass --cluster-name" in reported


def test_one_cluster_of_several_that_is_away_stops_no_other(cluster, capsys):
    assert main(["assess", "--context", "prod", "--context", "away", "--json"]) == 2

    printed = capsys.readouterr()
    assert [one["context"] for one in json.loads(printed.out)] == ["prod"]
    assert "away: The API server of context away is out of reach" in printed.err


def test_the_rights_are_those_to_list_three_kinds(capsys):
    assert main(["assess", "--rights"]) == 0

    role = json.loads(capsys.readouterr().out)
    assert [(rule["resources"], rule["verbs"]) for rule in role["rules"]] == [
        (["nodes"], ["list"]),
        (["pods"], ["list"]),
        (["nodepools"], ["list"]),
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--since", "2w"], "write 1d to 7d"),
        (["--since", "30d"], "write 1d to 7d"),
        (["--price", "g6=1"], "such as g6.xlarge=0.62"),
        (["--time-zone", "Mars/Base"], "write an IANA name"),
        (["--prometheus", "prometheus:9090"], "write an http or https URL"),
        (["--prometheus", "http://me@prometheus:9090"], "write an http or https URL"),
        (["--prometheus", "http://[x"], "write an http or https URL"),
        (["--prometheus", "http://0.0.0.0:9090"], "that a function could reach"),
        (["--prometheus", "http://169.254.1.1:9090"], "that a function could reach"),
        (["--prometheus", "HTTP://prometheus:9090"], "write an http or https URL"),
        (["--prometheus", "http://prometheus:9090/a\tb"], "write an http or https URL"),
        (["--price", "g6.xlarge:sport=0.2"], "write g6.xlarge, g6.xlarge:spot or g6.xlarge:reserved"),
        (["--price", "g6.xlrge=0.3"], "--price g6.xlrge: no node is of that type"),
        (["--amp", "http://prometheus:9090"], "write a workspace's URL"),
        (["--recorded", "gone.json"], "gone.json cannot be read"),
        (["--context", "nowhere"], "no context nowhere"),
        (["--context", "prod", "--context", "away", "--write-policy", "x"], "Name one --context"),
        (["--write-policy", "/nowhere/x.yaml"], "cannot be written"),
    ],
)
def test_options_that_cannot_be_followed_are_reported_with_what_to_write(cluster, options, says, capsys):
    assert main(["assess", *options]) == 2
    assert says in capsys.readouterr().err


def test_without_the_client_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "kubernetes", None)

    assert main(["assess"]) == 2
    assert "pip install kubernetes" in capsys.readouterr().err


def test_a_region_is_asked_for_where_cloudwatch_is_read(cluster, capsys, monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

    assert main(["assess", "--container-insights"]) == 0
    assert "no Region is known" in capsys.readouterr().out


def test_live_prices_that_cannot_be_read_are_reported_and_the_table_counts(cluster, capsys, monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

    assert main(["assess", "--prices", "live"]) == 0

    reported = capsys.readouterr().out
    assert "Live prices: no Region is known" in reported
    assert "32.19 $ an hour" in reported, "the table that ships counts instead"


def test_on_a_terminal_several_clusters_have_a_bar(cluster, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")

    assert main(["assess", "--context", "prod", "--context", "prod"]) == 0

    printed = capsys.readouterr()
    assert "reading clusters" in printed.err


def test_the_docs_have_every_option_and_every_reason(capsys):
    docs = (Path(__file__).parents[3] / "docs/assess.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["assess", "--help"])
    options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}

    assert len(options) > 10
    assert {one for one in options if f"`{one}" not in docs} == set()
    assert {why.code for _, why in EXCLUSIONS if f"`{why.code}`" not in docs} == set()


def test_pods_that_may_not_be_listed_are_not_gpus_that_nobody_holds(cluster, tmp_path, capsys):
    cluster.refused[PODS] = 403

    assert main(["assess"]) == 2
    reported = capsys.readouterr().out
    assert "19 GPUs on 9 nodes: 32.19 $ an hour" in reported
    assert "Its pods were not read" in reported
    assert not any(one in reported for one in ("unallocated", "held by", "saves", "fewer GPUs"))

    assert main(["assess", "--write-policy", str(tmp_path / "x.yaml")]) == 2
    assert "The pods of context prod were not read" in capsys.readouterr().err
    assert not (tmp_path / "x.yaml").exists()


def test_nodes_that_may_not_be_listed_are_not_a_cluster_without_gpus(cluster, capsys):
    cluster.refused[NODES] = 403

    assert main(["assess"]) == 2
    reported = capsys.readouterr().out
    assert "Its nodes were not read" in reported
    assert "nothing to save" not in reported


def test_a_fault_in_one_cluster_loses_nothing_of_the_others(capsys):
    def one(context):
        if context == "odd":
            raise ZeroDivisionError("division by zero")
        return context

    assert _side_by_side(["odd", "prod"], one) == (["prod"], 1)
    assert "odd: it could not be assessed (ZeroDivisionError" in capsys.readouterr().err


def test_a_cluster_of_two_contexts_counts_once(cluster, tmp_path, monkeypatch, capsys):
    """By two addresses, as admin and developers may have it."""
    servers = {"prod": cluster.url, "dev": cluster.url.replace("127.0.0.1", "localhost")}
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "both", servers)))

    assert main(["assess", "--context", "prod", "--context", "dev"]) == 0

    printed = capsys.readouterr()
    assert "2 clusters" not in printed.out
    assert "context dev is the cluster of context prod, which counts" in printed.err


def test_the_region_and_the_profile_of_the_kubeconfig_come_before_the_environments(monkeypatch, tmp_path):
    config = tmp_path / "aws"
    config.write_text("[profile prod]\nregion = us-west-2\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    known = replace(FOUND, region="eu-west-1", profile="prod")

    assert assessor._region(known, assessor._session(known)) == "eu-west-1"
    assert assessor._region(replace(known, region=""), assessor._session(known)) == "us-west-2"
    assert assessor._region(replace(known, region="", profile=""), assessor._session(FOUND)) == "us-east-1"
    with pytest.raises(Refused, match="gone"):
        assessor._session(replace(known, profile="gone"))


@pytest.mark.parametrize("option", ["--prometheus", "--amp"])
def test_a_password_in_a_url_is_not_printed(cluster, option, capsys):
    assert main(["assess", option, "https://admin:S3CRET@prometheus/"]) == 2
    reported = capsys.readouterr()
    assert "…@prometheus/" in reported.err
    assert "S3CRET" not in reported.err + reported.out
