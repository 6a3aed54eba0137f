"""A GPU model takes three places, a policy field one: docs/architecture.md names them, copies try it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.nonempty import nonempty

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

MODEL = '    GpuModel("x9", "x9", 32768, (1, 4), ("g9",)),\n'
AFTER_MODEL = '    GpuModel("b300", "b300", 275040, (8,), ("p6-b300",), _B300),\n'
PRICES, AFTER_PRICES = '    "g9": {"xlarge": 2.0, "12xlarge": 8.0},\n', "_USD_AN_HOUR = {\n"
TYPES = (
    "g9.xlarge,nvidia,x9,NVIDIA X9,9.9,1,32768,1,32,4,32768,amd64,1,3920m,29317Mi,2.0,2.0,1.0,yes,none,none\n"
    "g9.12xlarge,nvidia,x9,NVIDIA X9,9.9,4,32768,4,128,48,393216,amd64,4,47m,3Gi,8.0,2.0,4.0,yes,none,none\n"
)

# What a contributor changes.
PLACES: dict[str, Callable[[str], str]] = {
    "layers/slicewise/python/slicewise/hardware/gpus.py": lambda text: inserted(text, AFTER_MODEL, MODEL),
    "layers/slicewise/python/slicewise/hardware/prices.py": lambda text: inserted(text, AFTER_PRICES, PRICES),
    "traces/data/ec2_gpu_instances.csv": lambda text: text + TYPES,
}
# What judges the tables of hardware, and what is made of each model in them.
CHECKS = ("tests/unit/hardware", "tests/unit/offhours/test_savings.py", "tests/unit/pools/test_layout.py")
POLICY = "pools: {new: {sharing: time-slicing, gpus: [x9], maxGpus: 4}}\n"

SECTION = "layers/slicewise/python/slicewise/policy/model.py"
ALL_FIELDS, SCHEMA, DOCS = "policies/every-way.yaml", "policies/policy.schema.json", "docs/policies.md"
FIELD = """    patience: int = fields.declare(
        fields.Whole(Bounds(1, 9, "more is stubborn")), "How patient the new field is.", default=3
    )
"""
EXAMPLE, AFTER_EXAMPLE = "  patience: 3\n", "  minimumHistory: 24h         # of measured use, to raise N\n"
HELP = "Allows shorter times, to watch N change; not for clusters that matter."
AFTER_FIELD = f'    trial: bool = fields.flag(False, "{HELP}")\n'
COMMAND = "import sys; from cli.main import main; sys.exit(main(sys.argv[1:]))"
# What judges that schema, docs and the example of all fields follow the declarations.
OF_FIELDS = ("tests/unit/cli/test_policy_schema.py", "tests/unit/cli/test_policy_reference.py")
# All that the tests below change in a copy, beside a policy of their own.
CHANGED = (*PLACES, SECTION, ALL_FIELDS, SCHEMA, DOCS)
NEW = "new.yaml"


def inserted(text: str, after: str, line: str) -> str:
    assert text.count(after) == 1
    return text.replace(after, after + line)


@pytest.fixture(scope="module")
def whole_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: what Python compiles of a copy is most of what such a test takes."""
    folder = tmp_path_factory.mktemp("copy")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in nonempty(listed.stdout.split("\0")[:-1]):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture
def copy(whole_copy: Path) -> Iterator[Path]:
    """As it was after each test. Python compiles a file again whose length is another: each change is one."""
    before = {place: (whole_copy / place).read_bytes() for place in CHANGED}
    yield whole_copy
    for place, content in before.items():
        (whole_copy / place).write_bytes(content)
    (whole_copy / NEW).unlink(missing_ok=True)


def change(copy: Path, places: Iterable[str]) -> None:
    for place in places:
        path = copy / place
        path.write_text(PLACES[place](path.read_text()))


def python(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In the copy and of the copy: nothing of a surrounding pytest, nor of this checkout."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    path = os.pathsep.join([str(copy), str(copy / "layers/slicewise/python")])
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env={**own, "PYTHONPATH": path}, capture_output=True, text=True)


def checks(copy: Path) -> subprocess.CompletedProcess[str]:
    """Until the first that fails."""
    return python(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *CHECKS)


def test_a_gpu_model_is_added_in_three_places(copy):
    change(copy, PLACES)
    (copy / NEW).write_text(POLICY)
    answer = f"import sys; from cli.main import main; sys.exit(main(['policy', 'check', '{NEW}']))"

    done, checked = checks(copy), python(copy, "-c", answer)

    assert done.returncode == 0, done.stdout
    assert (checked.returncode, checked.stdout.split(". ")[0]) == (0, f"{NEW}: fine"), checked
    assert len(PLACES) <= 3


@pytest.mark.parametrize("forgotten", PLACES)
def test_the_checks_fail_when_one_of_the_places_is_forgotten(copy, forgotten):
    change(copy, PLACES.keys() - {forgotten})

    done = checks(copy)

    assert done.returncode == 1, done.stdout + done.stderr


def test_the_architecture_names_these_places():
    lines = (ROOT / "docs/architecture.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("| a GPU model |"))

    assert [place for place in PLACES if f"`{place.split('python/slicewise/')[-1]}`" not in row] == []


def add_field(copy: Path) -> None:
    for place, after, line in (
        (SECTION, AFTER_FIELD, FIELD),
        (ALL_FIELDS, AFTER_EXAMPLE, EXAMPLE),
    ):
        (copy / place).write_text(inserted((copy / place).read_text(), after, line))


def command(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(copy, "-c", COMMAND, *arguments)


def test_a_policy_field_is_declared_in_one_place_and_is_read_explained_and_documented(copy):
    add_field(copy)
    (copy / NEW).write_text(POLICY.replace("x9", "l4") + "tuning: {patience: 10}\n")

    read, explained = (
        command(copy, "policy", "check", NEW),
        command(copy, "policy", "explain", "patience"),
    )
    (copy / SCHEMA).write_text(command(copy, "policy", "schema").stdout)
    python(copy, "-m", "cli.policy_reference", DOCS)
    done = python(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *OF_FIELDS)

    assert "tuning.patience: 10: write a whole number from 1 to 9; more is stubborn" in read.stdout, read
    assert explained.stdout.startswith("tuning.patience\n  How patient the new field is."), explained
    assert done.returncode == 0, done.stdout


def test_the_checks_fail_until_schema_and_docs_are_written_again(copy):
    add_field(copy)

    done = python(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *OF_FIELDS)

    assert done.returncode == 1
    assert "slicewise policy schema > policies/policy.schema.json" in done.stdout
    assert "python -m cli.policy_reference docs/policies.md" in done.stdout
