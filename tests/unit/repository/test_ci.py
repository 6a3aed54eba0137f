"""`.ci/run` on a repository of a few tests: what it runs, where, and what it makes of the answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
NO_CHART = "needs NVIDIA's GPU Operator chart: `SLICEWISE_CHARTS=<folder> make test` runs this"

# As the project's: an environment in the clone, and every test.
MAKE = f"""#!/bin/sh -e
[ "$1" = "${{FAILING_TARGET:-}}" ] && exit 2
[ "$1" = test-oldest ] && echo "the oldest versions pass" && exit 0
[ "$1" = test-exhaustive ] && echo "every input passes" && exit 0
[ "$1" = test ]
mkdir -p .venv/bin
printf '#!/bin/sh\\nexec {sys.executable} "$@"\\n' > .venv/bin/python
chmod +x .venv/bin/python
pwd > "$SEEN/folder"
ls -A "$(dirname "$PWD")" > "$SEEN/beside"
exec .venv/bin/python -m pytest -q -p no:cacheprovider tests
"""
TESTS = f"""
import glob, os, pytest

def chart():
    if not glob.glob(os.environ.get("SLICEWISE_CHARTS", "none") + "/gpu-operator-*.tgz"):
        pytest.skip({NO_CHART!r})

def test_that_needs_nothing():
    assert "GIT_DIR" not in os.environ

@pytest.mark.parametrize("value", ["a/b c", "ä"])
def test_that_needs_the_chart(value):
    chart()
"""
ONE_THAT_FAILS = "def test_that_fails():\n    assert False\n"
ONE_THAT_IS_SKIPPED_ANYWAY = f"import pytest\ndef test_skipped():\n    pytest.skip({NO_CHART!r})\n"


@dataclass(frozen=True)
class Answer:
    status: int
    said: str


class Checkout:
    """A repository with our `.ci`, in a folder that may hold charts beside it."""

    def __init__(self, folder: Path):
        self.folder, self.temporary, self.seen = folder / "checkout", folder / "tmp", folder / "seen"
        self.commands = folder / "bin"
        for made in (self.folder / "tests", self.temporary, self.seen, self.commands):
            made.mkdir(parents=True)
        shutil.copytree(ROOT / ".ci", self.folder / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
        self.make(MAKE)
        self.git("init", "--quiet")
        self.commit("test_all.py", TESTS)

    def make(self, script: str) -> None:
        (self.commands / "make").write_text(script)
        (self.commands / "make").chmod(0o755)

    def commit(self, name: str, content: str, folder: str = "tests") -> None:
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        (self.folder / folder / name).write_text(content)
        self.git("add", "--all")
        self.git("-c", "user.name=ada", "-c", "user.email=ada@example.com", "commit", "--quiet", "-m", name)

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.folder, check=True)

    def chart(self, folder: str) -> Path:
        charts = self.folder.parent / folder
        charts.mkdir(parents=True)
        (charts / "gpu-operator-v26.7.0.tgz").touch()
        return charts

    def run(self, **environment: str) -> Answer:
        environ = {
            **os.environ,
            "PATH": f"{self.commands}:{os.environ['PATH']}",
            "TMPDIR": str(self.temporary),
        }
        environ |= {"SEEN": str(self.seen), "GIT_DIR": "/nowhere", "CI": "true"}
        environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment}
        environ = {name: value for name, value in environ.items() if value}
        command = [str(self.folder / ".ci" / "run")]
        done = subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=300
        )
        return Answer(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.delenv("SLICEWISE_CHARTS", raising=False)
    return Checkout(tmp_path)


def test_the_readmes_test_command_runs_on_a_clone_with_nothing_beside_it(checkout):
    (checkout.folder / "tests" / "test_not_committed.py").write_text(ONE_THAT_FAILS)

    answer = checkout.run()

    assert answer.status == 0, answer.said
    assert "1 passed, 2 skipped" in answer.said
    assert (checkout.seen / "beside").read_text().split() == ["slicewise"]
    assert not Path((checkout.seen / "folder").read_text().strip()).exists()
    assert list(checkout.temporary.iterdir()) == []


def test_without_a_chart_it_says_so_and_passes(checkout):
    (checkout.chart("other/charts") / "gpu-operator-v26.7.0.tgz").rename(
        checkout.folder.parent / "elsewhere.tgz"
    )

    answer = checkout.run()

    assert answer.status == 0, answer.said
    assert "2 tests were skipped for lack of NVIDIA's GPU Operator chart" in answer.said
    assert "SLICEWISE_CHARTS" in answer.said


@pytest.mark.parametrize("named", [False, True], ids=["beside the checkout", "named"])
def test_with_a_chart_only_those_that_were_skipped_for_it_run_again(checkout, named):
    charts = checkout.chart("charts" if named else "other/charts")

    answer = checkout.run(SLICEWISE_CHARTS=str(charts) if named else "")

    assert answer.status == 0, answer.said
    assert [line for line in answer.said.splitlines() if " passed" in line] != []
    assert "1 passed, 2 skipped" in answer.said and "\n2 passed in" in answer.said


def test_tests_that_stay_skipped_with_the_chart_fail(checkout):
    checkout.chart("other/charts")
    checkout.commit("test_more.py", ONE_THAT_IS_SKIPPED_ANYWAY)

    answer = checkout.run()

    assert answer.status == 1
    assert "1 of the tests that need the chart were skipped again" in answer.said


def test_a_test_that_fails_with_the_chart_alone_fails(checkout):
    checkout.chart("other/charts")
    checkout.commit("test_more.py", TESTS.replace("    chart()\n", "    chart()\n    assert not value\n"))

    answer = checkout.run()

    assert answer.status == 1
    assert "the tests that need the chart failed with status 1" in answer.said


def test_a_test_that_fails_fails_at_once(checkout):
    checkout.chart("other/charts")
    checkout.commit("test_fails.py", ONE_THAT_FAILS)

    answer = checkout.run()

    assert answer.status == 1
    assert "1 failed, 1 passed, 2 skipped" in answer.said and "make test failed with status 1" in answer.said
    assert "\n2 passed" not in answer.said
    assert list(checkout.temporary.iterdir()) == []


def test_more_than_six_skipped_tests_fail(checkout):
    """What a stranger's machine lacks must not hide what the clone lacks."""
    skips = "".join(f"@pytest.mark.skip('needs {n}')\ndef test_{n}(): ...\n" for n in range(5))
    checkout.commit("test_more.py", f"import pytest\n{skips}")

    answer = checkout.run()

    assert answer.status == 1
    assert "7 tests were skipped, and at most 6 may be" in answer.said and "  needs 4" in answer.said


def test_a_test_command_that_runs_no_test_fails(checkout):
    checkout.make("#!/bin/sh\nexit 0\n")

    answer = checkout.run()

    assert answer.status == 1
    assert "did it run any test?" in answer.said


def test_what_runs_when_time_is_over_is_killed_with_all_that_it_started(checkout):
    checkout.make(
        "#!/bin/sh\ntrap '' TERM\nsleep 300 &\necho $! > $SEEN/child\necho started\nwait\nsleep 300\n"
    )

    answer = checkout.run(SLICEWISE_CI_SECONDS="15")  # what comes before takes one on a machine at rest

    assert answer.status == 124
    assert (
        "started" in answer.said and "out of time: make test was running and has been killed" in answer.said
    )
    assert not is_alive(int((checkout.seen / "child").read_text()))
    assert list(checkout.temporary.iterdir()) == []


def is_alive(process: int) -> bool:
    """Killed, it is gone, or a zombie where nobody waits for it."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


ONLY_THE_OLDEST = "import sys\nsys.exit(sys.argv[1:] != ['build', '--versions', 'oldest', '--if-cached'])\n"


def test_the_oldest_versions_are_tested_where_they_are_built(checkout):
    checkout.commit("__main__.py", ONLY_THE_OLDEST, "sandbox")

    answer = checkout.run()

    assert answer.status == 0, answer.said
    assert "the oldest versions pass" in answer.said


def test_every_input_is_tested_too_and_one_that_fails_fails(checkout):
    assert "every input passes" in checkout.run().said

    answer = checkout.run(FAILING_TARGET="test-exhaustive")

    assert answer.status == 2
    assert "make test-exhaustive failed with status 2" in answer.said


def test_oldest_versions_that_fail_fail(checkout):
    checkout.commit("__main__.py", ONLY_THE_OLDEST, "sandbox")

    answer = checkout.run(FAILING_TARGET="test-oldest")

    assert answer.status == 2
    assert "make test-oldest failed with status 2" in answer.said


@pytest.mark.parametrize(
    ("sandbox", "seconds", "why"),
    [
        pytest.param(
            "import sys\nsys.exit(2)\n", "", "the oldest versions are not built here", id="not built"
        ),
        pytest.param(ONLY_THE_OLDEST, "1800", "fewer than 30 minutes are left", id="no time"),
    ],
)
def test_the_oldest_versions_are_left_out_with_a_word(checkout, sandbox, seconds, why):
    checkout.commit("__main__.py", sandbox, "sandbox")

    answer = checkout.run(SLICEWISE_CI_SECONDS=seconds)

    assert answer.status == 0, answer.said
    assert f"make test-oldest was not run: {why}" in answer.said
    assert "the oldest versions pass" not in answer.said


# As the project's: it says of which controllers a build is there.
BUILDS = """import sys
asked = sys.argv[1:]
sys.exit(asked[:2] != ["build", "--with"] or asked[3:] != ["--if-cached"] or asked[2] not in {built!r})
"""
OF_A_CONTROLLER = """import os, pathlib, sys, pytest

pytestmark = pytest.mark.controllers("{name}")

def test_it():
    name = pathlib.Path(__file__).stem
    if "-m" in sys.argv and "controllers" in sys.argv:
        with open(os.environ["SEEN"] + "/rounds", "a") as seen:
            seen.write(name + "\\n")
        assert name != os.environ.get("FAILING")
"""


@pytest.fixture
def controllers(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout with tests of three controllers, two of which are built; nothing has run yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(checkout.seen / "cache"))
    checkout.commit("__main__.py", BUILDS.format(built=["keda", "kueue"]), "sandbox")
    for name in ("keda", "kserve", "kueue"):
        checkout.commit(f"test_{name}.py", OF_A_CONTROLLER.replace("{name}", name), "tests/controllers")
    return checkout


def rounds(checkout: Checkout) -> list[str]:
    """Whose tests have run, in that order, since this was asked last."""
    seen = checkout.seen / "rounds"
    found = seen.read_text().split() if seen.exists() else []
    seen.unlink(missing_ok=True)
    return [name.removeprefix("test_") for name in found]


def test_the_tests_of_controllers_that_are_built_run_and_the_others_are_named(controllers):
    answer = controllers.run()

    assert answer.status == 0, answer.said
    assert rounds(controllers) == ["keda", "kueue"]
    assert (
        "in test_kserve.py were not run: not built here; `python -m sandbox build --with kserve`"
        in answer.said
    )


def test_tests_in_a_folder_below_run_too_and_one_that_needs_no_controller_always(controllers):
    test = OF_A_CONTROLLER.replace('"{name}"', "")
    controllers.commit("test_plain.py", test, "tests/controllers/examples")

    answer = controllers.run()

    assert answer.status == 0, answer.said
    assert "runs the controllers' tests in examples/test_plain.py" in answer.said
    assert rounds(controllers) == ["plain", "keda", "kueue"]


def test_a_controllers_test_that_fails_fails_and_is_the_last_to_run_again(controllers):
    answer = controllers.run(FAILING="test_keda")
    assert answer.status == 1
    assert "pytest test_keda.py failed with status 1" in answer.said
    assert rounds(controllers) == ["keda"]

    assert controllers.run().status == 0
    assert rounds(controllers) == ["kueue", "keda"]


@pytest.mark.parametrize(
    ("took_s", "ran"), [(30 * 60, ["kueue"]), (60, ["kueue", "keda"])], ids=["took long", "took short"]
)
def test_what_took_longer_last_time_than_is_left_now_is_left_out_with_a_word(controllers, took_s, ran):
    record = controllers.seen / "cache/slicewise/controller-rounds.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"test_keda.py": {"ended": 1.0, "took_s": took_s}}))

    answer = controllers.run(SLICEWISE_CI_SECONDS="1500")

    assert answer.status == 0, answer.said
    assert rounds(controllers) == ran
    reported = "in test_keda.py were not run: fewer than 60 minutes are left" in answer.said
    assert reported == (ran == ["kueue"])
