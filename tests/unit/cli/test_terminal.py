"""What the command does with a terminal, with programs that call it, and with a shell that completes it."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from slicewise.errors import Unavailable
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry

from cli import main as command
from cli.main import main
from cli.output import Answer
from cli.terminal import completion
from cli.terminal.columns import Screen, screen_of, table
from cli.terminal.help import EXAMPLES, EXIT_STATUS, leaves
from cli.terminal.watch import watch
from tests.fakes.account import PERSON, POLICY, Account
from tests.support.tuning.tuned_account import TunedAccount

ROOT = Path(__file__).parents[3]
NIGHTS = POLICY + 'offHours: {timeZone: UTC, asleep: ["Mon-Fri 20:00-07:00"]}\n'
COMMANDS = leaves(command._parser(Account))
USE = "time,pod,busy,memory_mib\n" + "".join(
    f"{step * 600},pod-{pod},0.{pod + 1},2000\n" for step in range(3 * 144) for pod in range(3)
)


# `--json`: each command has a line here, with what its value must have.
AS_JSON = {
    "policy check": ("{folder}/gpus.yaml", "files"),
    "policy explain": ("maxGpus", "fields"),
    "policy schema": ("", "properties"),
    "status": ("gpu-1", "clusters"),
    "report": ("gpu-1", "slicewise_report"),
    "onboard": ("gpu-1", "queued"),
    "tune": ("gpu-1", "queued"),
    "explain": ("gpu-1", "pools"),
    "plan": ("gpu-1", "actions"),
    "snapshot": ("gpu-1", "slicewise_snapshot"),
    "sleep": ("sleeper --until 22:30", "until"),
    "wake": ("sleeper --for 2h", "until"),
    "snooze": ("sleeper", "until"),
    "follow-calendar": ("sleeper", "done"),
    "calendar": ("{folder}/gpus.yaml --from 2026-12-21", "edges"),
    "pause": ("gpu-1", "asleep"),
    "resume": ("gpu-1", "resumed"),
    "offboard": ("gpu-1 --dry-run", "clusters"),
    "assess": ("--rights", "rules"),
    "backtest": ("{folder}/use.csv", "policies"),
    "completion": ("bash", "script"),
}


@pytest.fixture(scope="module")
def account() -> TunedAccount:
    """Two clusters: `gpu-1` that was tuned, and `sleeper`, whose policy has nights."""
    made = TunedAccount(pods=(0,))
    made.hours(1)
    made.eks.entries["gpu-1", PERSON] = AccessEntry(PERSON, policies=(CLUSTER_ADMIN_POLICY,))
    return made


@pytest.fixture(scope="module")
def sleeper() -> Account:
    made = Account(NIGHTS)
    made.create_cluster("sleeper")
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("files")
    (made / "gpus.yaml").write_text(NIGHTS)
    (made / "use.csv").write_text(USE)
    return made


def test_every_command_is_in_the_tables_of_json_and_of_examples():
    assert set(COMMANDS) == set(AS_JSON) == set(EXAMPLES)


@pytest.mark.parametrize("name", AS_JSON)
def test_each_command_prints_json_and_nothing_else(name, account, sleeper, folder, capsys):
    arguments, key = AS_JSON[name]
    world = sleeper if arguments.startswith("sleeper") else account
    words = [*name.split(), *arguments.format(folder=folder).split(), "--json"]

    assert main(words, find_app=world.person) == 0

    assert key in json.loads(capsys.readouterr().out)


def test_the_status_of_the_fleet_as_json_has_each_cluster_once(account, capsys):
    assert main(["status", "--json"], find_app=account.person) == 0

    (cluster,) = json.loads(capsys.readouterr().out)["clusters"]
    stages = {one["capability"]: one["stage"] for one in cluster["capabilities"]}
    assert cluster["cluster"] == "gpu-1" and stages["onboarding"] == "onboarded"


def test_an_answer_that_is_no_is_json_too_and_a_failure_leaves_standard_output_empty(tmp_path, capsys):
    assert main(["policy", "check", "--json", str(tmp_path / "missing.yaml")]) == 1
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert file["fine"] is False and "missing.yaml" in file["unread"]

    assert main(["plan", "--json", "--snapshot", str(tmp_path / "missing.json")]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "missing.json" in told.err


# Help


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "backtest"])
def test_each_example_is_a_command_that_is_taken_and_help_shows_it(name):
    shown = " ".join(COMMANDS[name].format_help().split())
    for line in EXAMPLES[name]:
        assert " ".join(line.split()) in shown
        words = shlex.split(line.replace("<(", " ").replace(")", " ").split(" > ")[0])
        parsed = command._parser(Account).parse_args(words[words.index("slicewise") + 1 :])
        assert callable(parsed.run)
    assert " ".join(EXIT_STATUS.split()) in shown


def test_what_has_a_parser_of_its_own_shows_its_examples_too(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["backtest", "--help"])

    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "exit status" in shown
    assert all(line in shown for line in EXAMPLES["backtest"])


def test_long_work_says_on_a_terminals_standard_error_what_it_reads_and_leaves_nothing(
    account, capsys, monkeypatch
):
    assert main(["plan", "gpu-1"], find_app=account.person) == 0
    assert capsys.readouterr().err == ""

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["plan", "gpu-1"], find_app=account.person) == 0

    err = capsys.readouterr().err
    assert err.startswith("reading gpu-1 …") and err.endswith("\r\x1b[2K")


# Exit status


def test_the_exit_status_is_two_for_what_could_not_be_done_with_the_reason_on_standard_error(capsys):
    def nowhere():
        raise Unavailable("dynamodb:Scan: no answer")

    assert main(["status"], find_app=nowhere) == 2
    told = capsys.readouterr()
    assert told.out == "" and "no answer" in told.err


def test_ctrl_c_ends_a_command_with_130_and_no_traceback(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert main(["status"], find_app=interrupted) == 130
    assert capsys.readouterr().err == "slicewise: interrupted\n"


def test_what_reads_a_pipe_may_have_seen_enough():
    command_line = f"{sys.executable} -m cli.main policy schema | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command_line], cwd=ROOT, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")


# Columns and colours


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


HEAD, ROWS = ("CLUSTER", "STAGE", "REASON"), [("gpu-1", "blocked", "no"), ("b", "onboarded", "all is well")]


def test_columns_are_as_wide_as_their_widest_entry():
    lines = [line for row in table(HEAD, ROWS, Screen(), 1) for line in row]

    assert lines == [
        "CLUSTER  STAGE      REASON",
        "gpu-1    blocked    no",
        "b        onboarded  all is well",
    ]


def test_on_a_terminal_stages_are_coloured_and_a_long_reason_is_wrapped_in_its_column():
    rows = [("gpu-1", "blocked", "a reason of many words and slicewise-shared-l4 that does not fit")]

    _, (first, second) = table(HEAD, rows, Screen(60, colours=True), 1)

    assert "\x1b[31mblocked\x1b[0m" in first and first.endswith("words and")
    assert second == " " * 18 + "slicewise-shared-l4 that does not fit"


@pytest.mark.parametrize(
    ("stream", "environ", "colours"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
    ids=["a terminal", "NO_COLOR", "an empty NO_COLOR", "a dumb terminal", "a file"],
)
def test_colours_are_for_terminals_that_want_them(stream, environ, colours):
    assert screen_of(stream, environ).colours is colours


# `--watch`


def test_watching_draws_again_and_again_and_ends_with_the_last_status():
    answers, slept, screen = iter([Answer({}, ("one",)), Answer({}, ("two",), 1)]), [], Terminal()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    assert watch(lambda: next(answers), 30, screen, sleep) == 1

    drawn = screen.getvalue().split("\x1b[H\x1b[2J\x1b[3J")
    assert [line.split("\n")[2] for line in drawn[1:]] == ["one", "two"]
    assert slept == [30, 30]


def test_what_could_not_be_read_is_shown_and_read_again():
    screen = io.StringIO()

    def refuses() -> Answer:
        raise Unavailable("throttled")

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    assert watch(refuses, 5, screen, interrupt) == 2
    assert "Unavailable: throttled" in screen.getvalue() and "\x1b" not in screen.getvalue()


@pytest.mark.parametrize("seconds", ["gpu-1", "0", "nan", "1e9"])
def test_a_span_to_watch_that_is_none_is_refused_with_what_to_write(seconds, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["status", "--watch", seconds])

    assert ended.value.code == 2
    assert "a cluster is named before --watch" in capsys.readouterr().err


def test_watching_is_for_people(account, capsys):
    assert main(["status", "--watch", "--json"], find_app=account.person) == 2
    assert "--watch redraws the screen" in capsys.readouterr().err


def test_a_real_ctrl_c_ends_a_watch_cleanly(tmp_path):
    # What a shell starts in the background ignores the signal, and so would all that it starts.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from cli.main import main; from tests.fakes.account import Account; "
        "sys.exit(main(['status', '--watch', '1'], find_app=Account().person))"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "layers/slicewise/python")])
    running = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout
    while "no cluster" not in running.stdout.readline():
        assert running.poll() is None
    running.send_signal(signal.SIGINT)

    assert running.communicate(timeout=30)[1] == ""
    assert running.returncode == 0


# Completion


@cache
def completion_of(shell: str) -> str:
    return "\n".join(completion.script(command._parser(Account), shell).lines)


def script(shell: str, folder: Path) -> Path:
    file = folder / f"slicewise.{shell}"
    file.write_text(completion_of(shell))
    return file


BASH = """
source {script}
COMP_WORDS=({words}) COMP_CWORD={last} COMP_LINE="{words}" COMP_POINT={point}
_shtab_slicewise slicewise "{current}" "{before}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed_by_bash(words: list[str], folder: Path) -> set[str]:
    line = " ".join(words)
    program = BASH.format(
        script=script("bash", folder),
        words=" ".join(f"'{word}'" for word in words),
        last=len(words) - 1,
        point=len(line),
        current=words[-1],
        before=words[-2],
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["slicewise", "sn"], {"snapshot", "snooze"}),
        (["slicewise", "policy", ""], {"check", "explain", "schema"}),
        (["slicewise", "status", "--w"], {"--watch"}),
        (["slicewise", "completion", ""], {"bash", "zsh", "fish"}),
        (["slicewise", "policy", "check", "my"], {"mypolicy.yaml"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes_commands_options_choices_and_files(words, found, tmp_path):
    (tmp_path / "mypolicy.yaml").touch()

    assert completed_by_bash(words, tmp_path) >= found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_knows_every_command(shell):
    assert all(word in completion_of(shell) for name in COMMANDS for word in name.split())


@pytest.mark.parametrize("shell", [one for one in ("zsh", "fish") if shutil.which(one)] or ["bash"])
def test_the_shells_that_are_there_read_the_script_without_complaint(shell, tmp_path):
    done = subprocess.run([shell, "-n", str(script(shell, tmp_path))], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_without_shtab_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)

    assert main(["completion", "bash"]) == 2
    assert "pip install shtab" in capsys.readouterr().err
