from __future__ import annotations

import io
from datetime import timedelta

import pytest
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry

from cli.main import main
from tests.fakes.account import HOME, PERSON, Account
from tests.support.operators import occupied
from tests.support.tuning.tuned_account import TunedAccount

GOOD = "pools:\n  whole: {sharing: none, gpus: [l4], maxGpus: 4}\n"
BAD = "pools:\n  shared: {sharing: time-slicing, gpus: [l4], replicas: {start: 1, max: 49}, maxGpus: 4}\n"


@pytest.fixture
def account() -> Account:
    made = Account()
    made.create_cluster()
    return made


def run(account: Account, *arguments: str) -> int:
    return main(arguments, find_app=lambda: account.person())


def test_a_sound_policy_is_reported_so(tmp_path, capsys):
    (tmp_path / "gpus.yaml").write_text(GOOD)

    assert main(["policy", "check", str(tmp_path / "gpus.yaml")]) == 0
    assert "fine" in capsys.readouterr().out


def test_every_problem_is_reported_with_path_value_and_remedy(tmp_path, capsys):
    (tmp_path / "gpus.yaml").write_text(BAD)

    assert main(["policy", "check", str(tmp_path / "gpus.yaml")]) == 1
    reported = capsys.readouterr().out
    assert "pools.shared.replicas.start: 1:" in reported
    assert "pools.shared.replicas.max: 49:" in reported


def test_one_bad_file_among_good_ones_fails_the_check(tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)

    assert main(["policy", "check", str(tmp_path / "bad.yaml"), str(tmp_path / "good.yaml")]) == 1


def test_a_file_that_is_not_there_fails_the_check(tmp_path, capsys):
    assert main(["policy", "check", str(tmp_path / "missing.yaml")]) == 1
    assert "cannot be read" in capsys.readouterr().out


def test_asking_by_hand_onboards_and_status_reports_it(account, capsys):
    assert run(account, "onboard", "gpu-1") == 0
    account.run_until_idle()

    assert run(account, "status") == 0
    assert run(account, "status", "gpu-1") == 0
    reported = capsys.readouterr().out
    assert "onboarded" in reported
    assert "nothing to change" in reported


def test_the_status_of_an_unknown_cluster_says_how_to_begin(account, capsys):
    assert run(account, "status", "gpu-1") == 1
    assert "slicewise onboard gpu-1" in capsys.readouterr().out


def test_a_plan_reports_what_would_be_done_and_does_nothing(account, capsys):
    account.eks.entries["gpu-1", PERSON] = AccessEntry(PERSON, policies=(CLUSTER_ADMIN_POLICY,))
    before = account.state()

    assert run(account, "plan", "gpu-1") == 0

    reported = capsys.readouterr().out
    assert "  make slicewise-installer cluster admin for the installation" in reported
    assert "  apply NodePool slicewise-shared-l4" in reported
    assert account.state() == before
    assert not account.queues.waiting


def test_a_plan_shows_each_value_of_a_users_operator_that_would_change(capsys):
    account = occupied()
    account.eks.entries["gpu-1", PERSON] = AccessEntry(PERSON, policies=(CLUSTER_ADMIN_POLICY,))
    before = account.state()

    assert run(account, "plan", "gpu-1") == 0

    reported = capsys.readouterr().out
    assert "  install gpus v26.7.0 in nvidia" in reported
    assert (
        '    devicePlugin.config.name: "team-slicing" -> "slicewise-device-plugin" (slicing needs it)'
        in reported
    )
    assert "  tried on the API server, writing nothing: gpus v26.7.0 is taken" in reported
    assert account.state() == before


def test_a_plan_without_access_says_that_it_cannot_look_inside(account, capsys):
    assert run(account, "plan", "gpu-1") == 0
    assert "you may not read the cluster (unauthorized)" in capsys.readouterr().out


def test_a_plan_without_access_to_an_onboarded_cluster_guesses_nothing(account, capsys):
    account.send_created()
    account.run_until_idle()

    assert run(account, "plan", "gpu-1") == 0

    reported = capsys.readouterr().out
    assert "you may not read the cluster (unauthorized)" in reported
    assert "cluster admin" not in reported
    assert "slicewise status gpu-1" in reported


@pytest.mark.parametrize("which", ["gpu-1", "--all"])
def test_pausing_and_resuming_by_hand(account, which):
    assert run(account, "pause", which, "--reason", "audit") == 0
    account.send_created()
    account.run_until_idle()
    assert account.store.paused(HOME.arn("gpu-1")) == "audit"
    assert account.record().stage == "paused"

    account.clock.pass_by(timedelta(minutes=1))
    assert run(account, "resume", which) == 0
    account.run_until_idle()
    assert account.record().stage == "onboarded"


@pytest.mark.parametrize("arguments", [["pause"], ["pause", "gpu-1", "--all"], [], ["policy"]])
def test_a_command_that_does_not_say_what_about_is_a_mistake(account, arguments):
    with pytest.raises(SystemExit) as ended:
        run(account, *arguments)
    assert ended.value.code == 2


def test_without_a_deployment_the_command_says_what_to_do(capsys, monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

    assert main(["status"]) == 2
    assert "set AWS_REGION" in capsys.readouterr().err


def test_a_plan_for_an_onboarded_cluster_finds_nothing_to_do(account, capsys):
    account.eks.entries["gpu-1", PERSON] = AccessEntry(PERSON, policies=(CLUSTER_ADMIN_POLICY,))
    account.send_created()
    account.run_until_idle()

    assert run(account, "plan", "gpu-1") == 0
    reported = capsys.readouterr().out
    assert "nothing to change" in reported
    assert "would" not in reported


# Tuning


@pytest.fixture(scope="module")
def tuned() -> TunedAccount:
    account = TunedAccount()
    account.hours(1)
    account.eks.entries["gpu-1", PERSON] = AccessEntry(PERSON, policies=(CLUSTER_ADMIN_POLICY,))
    return account


def test_asking_by_hand_tunes(tuned, capsys):
    assert run(tuned, "tune", "gpu-1") == 0
    assert [message.capability for message in tuned.queues.waiting] == ["tuning"]
    tuned.answer_all()


@pytest.mark.parametrize(
    "pool", [[], ["shared"], ["slicewise-shared-l4"]], ids=["all", "a pool", "a NodePool"]
)
def test_a_decision_is_explained_as_a_person_would_want_it_reported(tuned, capsys, pool):
    assert run(tuned, "explain", "gpu-1", *pool) == 0

    reported = capsys.readouterr().out
    assert "slicewise-shared-l4: N is 4" in reported
    assert "It stays: target 8 has not been stable for 2 h" in reported
    assert "By the rule N is 8, bound by the policy's maximum:" in reported
    assert "memory   allows  8: top-8 peaks 8.0 of 20.1 GiB" in reported
    assert "mean slowdown 1.2× (the budget is 2×)" in reported
    assert "20 pods on 5 nodes now, 5 needed" in reported
    assert "N = 9 would need a higher maximum in the policy." in reported
    assert "write replicas: {start: 4, max: 4} for pool shared in the policy" in reported


def test_an_unknown_pool_is_reported(tuned, capsys):
    assert run(tuned, "explain", "gpu-1", "batch") == 1
    assert "there is no pool batch" in capsys.readouterr().out


def test_what_was_never_decided_is_reported_so(account, capsys):
    assert run(account, "explain", "gpu-1") == 1
    assert "slicewise tune gpu-1" in capsys.readouterr().out


def test_a_plan_reports_what_tuning_would_do_next_and_does_nothing(tuned, capsys):
    before = tuned.state()

    assert run(tuned, "plan", "gpu-1") == 0

    assert "slicewise-shared-l4: N stays 4" in capsys.readouterr().out
    assert tuned.state() == before


def test_a_snapshot_explains_and_plans_without_a_cluster(tuned, tmp_path, capsys):
    assert run(tuned, "snapshot", "gpu-1") == 0
    file = tmp_path / "gpu-1.json"
    file.write_text(capsys.readouterr().out)

    assert main(["explain", "--snapshot", str(file)]) == 0
    assert main(["explain", "--snapshot", str(file), "shared"]) == 0
    assert main(["plan", "--snapshot", str(file)]) == 0
    reported = capsys.readouterr().out
    assert reported.count("By the rule N is 8") == 2
    assert "gpu-1: tuning: 5 GPU nodes, 20 of 20 slices" in reported


def test_a_snapshot_holds_nothing_of_a_pod_but_what_tuning_reads(tuned, capsys):
    server = tuned.servers["gpu-1"]
    pod = next(item for ref, item in server.objects.items() if ref.kind == "Pod")
    container = {**pod["spec"]["containers"][0], "env": [{"name": "TOKEN", "value": "hunter2"}]}
    server.create({**pod, "spec": {**pod["spec"], "containers": [container]}})

    assert run(tuned, "snapshot", "gpu-1") == 0

    assert "hunter2" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"slicewise_snapshot": 9}'])
def test_what_is_no_snapshot_is_reported(tmp_path, capsys, text):
    (tmp_path / "file").write_text(text)

    assert main(["plan", "--snapshot", str(tmp_path / "file")]) == 2
    assert main(["explain", "--snapshot", str(tmp_path / "file")]) == 2
    assert "file: it is" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "explain"])
def test_a_command_about_nothing_is_a_mistake(tuned, command):
    with pytest.raises(SystemExit) as ended:
        run(tuned, command)
    assert ended.value.code == 2


HOLIDAYS = (
    "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:New Year\nDTSTART;VALUE=DATE:20260101\nRRULE:FREQ=YEARLY\n"
    "END:VEVENT\nEND:VCALENDAR\n"
)
NIGHTS = GOOD + 'offHours: {timeZone: UTC, asleep: ["Mon-Fri 20:00-07:00"], holidays: de}\n'


def checked(folder, files, capsys) -> tuple[int, str]:
    (folder / "holidays").mkdir()
    (folder / "gpus.yaml").write_text(NIGHTS)
    for name, text in files.items():
        (folder / "holidays" / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return main(["policy", "check", str(folder / "gpus.yaml")]), capsys.readouterr().out


def test_a_policy_with_its_holidays_beside_it_is_fine(tmp_path, capsys):
    assert checked(tmp_path, {"de.ics": HOLIDAYS}, capsys)[0] == 0


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "there is no file {folder}/holidays/de.ics; add it, or remove this; there are: none"),
        ({"fr.ics": HOLIDAYS, "us.ics": HOLIDAYS}, "there are: fr, us"),
        ({"de.ics": HOLIDAYS.replace("YEARLY", "WEEKLY")}, "holidays/de.ics cannot be used: "),
        ({"de.ics": b"\xff\xfe"}, "holidays/de.ics cannot be used: "),
        ({"de.ics": "BEGIN:VCALENDAR\nEND:VCALENDAR\n"}, "holidays/de.ics has no holidays"),
    ],
    ids=["missing", "of others", "odd", "not text", "empty"],
)
def test_holidays_that_no_cluster_could_sleep_by_fail_the_check(tmp_path, capsys, files, words):
    status, reported = checked(tmp_path, files, capsys)

    assert status == 1
    assert "offHours.holidays: 'de': " in reported and words.format(folder=tmp_path) in reported


def test_from_standard_input_nobody_knows_which_holidays_lie_beside_a_policy(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(NIGHTS))

    assert main(["policy", "check", "-"]) == 0
