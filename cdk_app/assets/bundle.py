"""
Builds the folders that become Lambda assets: without docker, and with the network only once.

Packages come by pip for the runtime's Python into the user's cache folder, under a key of their pins.
Layer and function folders are put together under `build/`, each under a key of everything that went into it;
that key is the asset's hash, so equal input gives an equal deployment on any machine.

Bytecode matters: the runtime's code folders are read-only, so without it every cold start compiles every
module again (4 to 6 times slower). It must come from the runtime's own minor version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import botocore

from cdk_app.assets import api_models, kept_code
from cdk_app.config import ROOT, Config
from cdk_app.errors import DeploymentError

RUNTIME_PYTHON = "3.13"
RUNTIME_CACHE_TAG = "cpython-313"
REQUIREMENTS = ROOT / "layers" / "slicewise" / "requirements.txt"
PACKAGE = ROOT / "layers" / "slicewise" / "python" / "slicewise"
LAMBDAS = ROOT / "lambdas"
BUILD = ROOT / "build" / "assets"

# Raise it when this file builds something else from the same input: it is part of every key.
RECIPE = 2


class BundlingFailed(DeploymentError):
    """An asset cannot be built on this machine; the message says what to install or pass."""


@dataclass(frozen=True)
class Asset:
    """A finished folder and the hash of what went into it."""

    folder: Path
    hash: str


@dataclass(frozen=True)
class Assets:
    """All that is uploaded. `has_bytecode` is False where no Python of the runtime's version was found."""

    layer: Asset
    onboard_cluster: Asset
    tune_slicing: Asset
    shift_capacity: Asset
    sweep_fleet: Asset
    watch_openings: Asset
    has_bytecode: bool


@dataclass(frozen=True)
class Interpreter:
    """A Python that compiles for us. `cache_tag` is such as "cpython-313"."""

    command: str
    cache_tag: str
    version: str


def build_all(config: Config) -> Assets:
    """
    Raises:
        BundlingFailed: The message says what to install or pass.
    """
    pythons = find_interpreters(config.bytecode_pythons)
    sources = (config.gpu_operator, config.karpenter, config.karpenter_crd)
    charts = [source.vendored for source in sources if source.vendored]
    return Assets(
        layer=build_layer(pythons),
        onboard_cluster=build_function("onboard_cluster", pythons, charts),
        tune_slicing=build_function("tune_slicing", pythons),
        shift_capacity=build_function("shift_capacity", pythons),
        sweep_fleet=build_function("sweep_fleet", pythons),
        watch_openings=build_function("watch_openings", pythons),
        has_bytecode=any(python.cache_tag == RUNTIME_CACHE_TAG for python in pythons),
    )


def find_interpreters(wanted: tuple[str, ...]) -> tuple[Interpreter, ...]:
    """
    The interpreters to compile with: those asked for, else one of the runtime's version where there is one.

    Raises:
        BundlingFailed: One that was asked for does not run.
    """
    for command in wanted:
        if _ask(command) is None:
            raise BundlingFailed(
                f"context 'bytecode_python': {command!r} does not run as a Python: "
                f"pass the path of a Python {RUNTIME_PYTHON}, or leave it out"
            )
    candidates = wanted or (sys.executable, f"python{RUNTIME_PYTHON}")
    found = {item.cache_tag: item for command in candidates if (item := _ask(command))}
    return tuple(item for item in found.values() if wanted or item.cache_tag == RUNTIME_CACHE_TAG)


def _ask(command: str) -> Interpreter | None:
    # A version manager's shim is on the PATH also where it leads to no interpreter: only an answer counts.
    question = "import platform, sys; print(sys.implementation.cache_tag, platform.python_version())"
    try:
        answer = subprocess.run([command, "-I", "-c", question], capture_output=True, text=True, timeout=30)
    except OSError:
        return None
    return Interpreter(command, *answer.stdout.split()) if answer.returncode == 0 else None


def build_layer(interpreters: Iterable[Interpreter]) -> Asset:
    """Our package and its dependencies, pure Python, so that one layer serves arm64 and x86-64."""
    sources = _python_files(PACKAGE)
    models = [
        api_models.SOURCE.encode(),
        *(Path(str(made.__file__)).read_bytes() for made in (api_models, kept_code)),
    ]
    key = _key([REQUIREMENTS.read_bytes(), *models, *_fingerprints(PACKAGE, sources)], interpreters)

    def fill(folder: Path) -> None:
        package = folder / "python" / "slicewise"
        shutil.copytree(_packages(), folder / "python")
        _copy(sources, PACKAGE, package)
        api_models.write(package / "gateways" / "api_models")
        _keep_digest(folder / "python")
        _compile(folder, interpreters, appears_at="/opt")
        _keep_code(folder / "python", interpreters)

    return Asset(_built(BUILD / f"layer-{key}", fill), key)


def build_function(name: str, interpreters: Iterable[Interpreter], charts: Iterable[Path] = ()) -> Asset:
    """`lambdas/<name>`, with packed Helm charts beside it where the function installs them."""
    source, charts = LAMBDAS / name, sorted(set(charts))
    sources = _python_files(source)
    if source / "handler.py" not in sources:
        raise BundlingFailed(
            f"{source.relative_to(ROOT)}/handler.py is missing: a function needs its handler"
        )
    content = _fingerprints(source, sources)
    content += [fingerprint for chart in charts for fingerprint in _fingerprints(chart.parent, [chart])]
    key = _key(content, interpreters)

    def fill(folder: Path) -> None:
        _copy(sources, source, folder)
        for chart in charts:
            (folder / "charts").mkdir(exist_ok=True)
            shutil.copyfile(chart, folder / "charts" / chart.name)
        _compile(folder, interpreters, appears_at="/var/task")

    return Asset(_built(BUILD / f"{name}-{key}", fill), key)


def _packages() -> Path:
    """The layer's dependencies, installed once a machine."""
    key = _key([REQUIREMENTS.read_bytes(), RUNTIME_PYTHON.encode()], ())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slicewise"
    return _built(cache / f"layer-packages-{key}", _install)


def _install(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
    ]
    # The platform only chooses which wheel is downloaded: what is compiled in it is dropped below.
    command += [
        "--platform",
        "manylinux2014_aarch64",
        "--implementation",
        "cp",
        "--python-version",
        RUNTIME_PYTHON,
    ]
    command += [
        "--only-binary=:all:",
        "--no-deps",
        "--target",
        str(folder),
        "--requirement",
        str(REQUIREMENTS),
    ]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise BundlingFailed(
            f"pip could not fetch the layer's packages ({REQUIREMENTS.relative_to(ROOT)}). It is needed "
            f"once, with access to your package index:\n{answer.stderr.strip()}"
        )
    # PyYAML runs without its C extension, and a policy is a page of YAML.
    for compiled in folder.rglob("*.so"):
        compiled.unlink()
    shutil.rmtree(folder / "bin", ignore_errors=True)


def _compile(folder: Path, interpreters: Iterable[Interpreter], *, appears_at: str) -> None:
    """Unchecked: zipping changes time stamps, and a folder that is never edited has no stale file."""
    for interpreter in interpreters:
        command = [interpreter.command, "-I", "-m", "compileall", "-q", "-f"]
        command += ["--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", appears_at, str(folder)]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode:
            raise BundlingFailed(
                f"{interpreter.command} cannot compile {folder.name}:\n{answer.stdout}{answer.stderr}"
            )


def _keep_code(folder: Path, interpreters: Iterable[Interpreter]) -> None:
    """What modules compile while they are imported, botocore's with them: the runtime brings those."""
    place = folder / "slicewise" / "kept_code"
    place.mkdir()
    for interpreter in interpreters:
        command = [interpreter.command, "-I", "-S", "-B", kept_code.__file__, str(folder)]
        command += [str(place / f"{interpreter.cache_tag}.bin"), str(Path(botocore.__file__).parent.parent)]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode:
            raise BundlingFailed(
                f"{interpreter.command} cannot import the layer that it has compiled:\n{answer.stderr}"
            )


def _keep_digest(folder: Path) -> None:
    """Of the rules that read policies: else each start would read their sources for it."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from slicewise.policy import rules_digest as found; "
        "found.KEPT.write_text(found.of(found.PACKAGE))"
    )
    subprocess.run([sys.executable, "-I", "-S", "-B", "-c", program, str(folder)], check=True)


def _built(folder: Path, fill: Callable[[Path], None]) -> Path:
    """`folder`, filled once. It appears whole or not at all, also where two processes build it together."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            draft = Path(scratch) / "draft"
            draft.mkdir(mode=0o755)
            fill(draft)
            try:
                draft.rename(folder)
            except OSError:
                if not folder.exists():
                    raise
    return folder


def _python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def _copy(files: Iterable[Path], source: Path, target: Path) -> None:
    for path in files:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _fingerprints(root: Path, files: Iterable[Path]) -> list[bytes]:
    """Place and content of each file. The root itself does not count: a clone elsewhere builds the same."""
    return [f"{p.relative_to(root)}:{hashlib.sha256(p.read_bytes()).hexdigest()}".encode() for p in files]


def _key(content: list[bytes], interpreters: Iterable[Interpreter]) -> str:
    tags = [f"{item.cache_tag} {item.version}".encode() for item in interpreters]
    return hashlib.sha256(b"\0".join([b"%d" % RECIPE, *content, *tags])).hexdigest()[:24]
