"""The functions' interpreter has what AWS's has, at the versions that the project pins."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

from sandbox.aws.functions.environment import PACKAGES, lambda_python


def test_its_versions_are_the_projects():
    assert {package: f"{package}=={metadata.version(package)}" for package in ("awslambdaric", "boto3")} == {
        package.split("==")[0]: package for package in PACKAGES
    }


def test_it_holds_the_runtime_client_and_boto3_and_nothing_of_the_project():
    names = ["awslambdaric", "boto3", "moto", "kubernetes", "yaml", "aws_lambda_powertools"]
    program = f"import json, importlib.util as u; print(json.dumps([bool(u.find_spec(n)) for n in {names}]))"
    done = subprocess.run([lambda_python(), "-I", "-c", program], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == [True, True, False, False, False, False]


def test_clones_share_it(tmp_path, monkeypatch):
    """Each would else leave 60 MB in the user's cache folder."""
    mine = lambda_python()
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    assert lambda_python() == mine
