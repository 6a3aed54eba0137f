"""
The Python that deployed functions run under: awslambdaric and boto3, nothing else.

AWS's runtime has no more either, so a dependency that an asset forgot is missing here, too.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

from sandbox.artifacts.cache import cache_folder, locked

# The same versions as in requirements.txt and requirements-dev.txt.
PACKAGES = ("awslambdaric==4.2.2", "boto3==1.44.5")


def lambda_python(progress: Callable[[str], None] = print) -> Path:
    """
    The interpreter, from an environment built at the first call (about 20 seconds) and kept.

    Raises:
        RuntimeError: pip could not install the packages; the message holds what it said.
    """
    # The interpreter itself, of which our own environment is only a view: clones share what is built.
    base = str(Path(sys.executable).resolve())
    about = "\n".join([*PACKAGES, platform.python_version(), platform.machine(), base])
    key = hashlib.sha256(about.encode()).hexdigest()[:16]
    folder = cache_folder() / f"lambda-runtime-{key}"
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        with locked(folder.with_suffix(".lock"), progress):
            if not (folder / ".complete").exists():
                progress("preparing Lambda's runtime (awslambdaric, boto3): about 20 seconds, once")
                _build(folder, python)
    return python


def _build(folder: Path, python: Path) -> None:
    # Built in place, since an environment does not survive being moved; the mark comes last.
    rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True, symlinks=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"could not install {', '.join(PACKAGES)} into {folder}:\n{done.stderr[-2000:]}")
    # Compiled once here, as AWS's image is: otherwise each cold start might compile again.
    subprocess.run([python, "-m", "compileall", "-q", folder / "lib"], capture_output=True)
    (folder / ".complete").touch()
