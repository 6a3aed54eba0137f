"""
The CDK app synthesized, as `cdk synth` does it; kept from one run to the next.

The same files and the same context make the same cloud assembly, and making one takes 5 to 15 seconds.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from sandbox.artifacts.cache import cache_folder, locked
from sandbox.artifacts.tools import node, node_environment

ROOT = Path(__file__).resolve().parent.parent
# All that the app reads, beside what its context names.
SOURCES = ("cdk_app", "lambdas", "layers", "policies", "cdk.json", "requirements.txt", "constraints.txt")
ASSET = "/asset."  # how the CDK begins the name of each
_KEPT = 8  # of 50 MB each, helm and kubectl in the most part: those of the tests, and a demo's


class SynthesisFailed(RuntimeError):
    """The CDK app did not synthesize; the message is what it said."""


def synthesize(
    out: Path,
    context: Mapping[str, str],
    progress: Callable[[str], None] = print,
    environment: Mapping[str, str] | None = None,
) -> Path:
    """
    Run `python -m cdk_app` as a person would, or copy what it made of the same before; returns `out`.

    Args:
        context: CDK context; see cdk_app/config.py.
        environment: All that it gets, in the place of this process's environment and the Node found here.

    Raises:
        SynthesisFailed
    """
    folder = cache_folder() / "assemblies"
    kept = folder / _key(context, environment)
    with locked(folder.with_suffix(".lock"), progress):
        if not kept.exists():
            folder.mkdir(exist_ok=True)
            made = Path(tempfile.mkdtemp(dir=folder, prefix="unfinished-"))
            try:
                _run(made, context, environment)
                made.rename(kept)
            finally:
                shutil.rmtree(made, ignore_errors=True)
        kept.touch()
        for old in sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(old)
        shutil.rmtree(out, ignore_errors=True)  # a killed sandbox left one there
        return copied(kept, out)


def copied(assembly: Path, out: Path) -> Path:
    """
    The same files in the folder `out`, which must not be there yet; returns it.

    An asset is named by what is in it, so nobody writes to one: links do in the place of 58 MB, where both
    folders are on one file system.
    """
    return Path(shutil.copytree(assembly, out, copy_function=_put))


def _put(source: str, target: str) -> str:
    if ASSET in source:
        with suppress(OSError):  # another file system, or one without links
            os.link(source, target)
            return target
    return shutil.copy2(source, target)


def _run(out: Path, context: Mapping[str, str], environment: Mapping[str, str] | None) -> None:
    around = environment if environment is not None else {**os.environ, "JSII_NODE": str(node())}
    arguments = [argument for name, value in context.items() for argument in ("-c", f"{name}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "cdk_app", "--out", str(out), *arguments],
        cwd=ROOT,
        env={**around, **node_environment(around)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SynthesisFailed(done.stderr.strip() or done.stdout.strip())


def _key(context: Mapping[str, str], environment: Mapping[str, str] | None = None) -> str:
    """Of what is read, not of where it lies."""
    made_with = "this process's" if environment is None else sorted(environment)
    whole = hashlib.sha256(f"{sys.executable} {platform.python_version()} {made_with}".encode())
    for name in SOURCES:
        for part in _contents(ROOT / name):
            whole.update(part)
    for name, value in sorted(context.items()):
        path = Path(value)
        is_path = path.is_absolute() and path.exists() and path != Path(sys.executable)
        whole.update(f"\0{name}=".encode())
        for part in _contents(path) if is_path else (value.encode(),):
            whole.update(part)
    return whole.hexdigest()[:24]


def _contents(path: Path) -> Iterator[bytes]:
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield f"\0{file.relative_to(path.parent if path.is_file() else path)}\0".encode()
            yield hashlib.sha256(file.read_bytes()).digest()
