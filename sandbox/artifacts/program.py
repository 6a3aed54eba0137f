"""
Commands of other projects, each built from source once into the user's cache folder.

A folder `sandbox/go/<name>` has the module file that pins the project and all that it needs; the command's
own sources stay in Go's cache, and no file of the project is copied into ours.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from sandbox.artifacts import go_modules, go_toolchain, versions
from sandbox.artifacts.cache import cache_folder
from sandbox.artifacts.go_modules import BuildFailed
from sandbox.artifacts.kept import kept, key
from sandbox.libyaml import LOADER

# Raise it when this file builds or copies something else than before: the cache's key holds it.
RECIPE = 1
# Has the command end with the process that started it.
HOLD = """package main

import "{module}/lifeline"

func init() {{
	lifeline.Hold()
}}
"""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """
    Attributes:
        name: Of its folder below `sandbox/go`, and of the command.
        title: As its project writes it: "KubeRay".
        module: The project's, which our module file requires.
        package: The command's folder in it; "" is the module's own.
        minutes: What the build took on 2 cores with empty caches.
        tags: Build tags.
        stamp: The variable that holds the version, which a build without it leaves empty.
        version_file: Has the version, where that is not the module's.
        copies: What else is taken from the module: globs of YAML files, by the folder that they are put into,
            as JSON, which is read ten times as fast.
        edits: What is replaced in the command's own sources, by what stands there: a path of the machine that
            no flag says.
        module_edits: The same in other packages of its module, by file: an address that no flag says. It is
            built from a copy of the module then.
    """

    name: str
    title: str
    module: str
    package: str
    minutes: float
    tags: str = ""
    stamp: str = ""
    version_file: str = ""
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    edits: Mapping[str, str] = field(default_factory=dict, hash=False)
    module_edits: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False)

    @property
    def folder(self) -> Path:
        return versions.MODULE / self.name

    @property
    def our_module(self) -> str:
        """As our module file has it: below the project's where the command imports what is internal to it."""
        first, *_ = (self.folder / "go.mod").read_text().splitlines()
        return first.removeprefix("module ").strip()

    @property
    def version(self) -> str:
        """Of the module, as its file says: "v1.5.0"."""
        for line in (self.folder / "go.mod").read_text().splitlines():
            match line.split():
                case [self.module, version, *_] | ["require", self.module, version, *_]:
                    return version
        raise BuildFailed(f"{self.folder}/go.mod does not require {self.module}")

    @property
    def least_go(self) -> tuple[int, ...]:
        """That builds it, as our module file says: (1, 26, 10)."""
        for line in (self.folder / "go.mod").read_text().splitlines():
            match line.split():
                case ["go", version]:
                    return tuple(map(int, version.split(".")))
        raise BuildFailed(f"{self.folder}/go.mod says no version of Go")


def built(program: Program, progress: Progress = print) -> Path:
    """
    The folder with the command and what was copied beside it; the first call builds it.

    Raises:
        BuildFailed: The build or a download failed.
    """
    return kept(_name(program), lambda work: _build(program, work, progress), progress)


def is_built(program: Program) -> bool:
    """Whether `built` has nothing left to do."""
    return (cache_folder() / _name(program)).exists()


def _name(program: Program) -> str:
    """What the build depends on: the row, our module file, Go's version and the machine."""
    copied = json.dumps({folder: list(globs) for folder, globs in program.copies.items()})
    edits = "".join(json.dumps(dict(each)) for each in (program.edits, program.module_edits) if each)
    says = (
        program.module,
        program.package,
        program.tags,
        program.stamp,
        program.version_file,
        copied + edits,
    )
    files = (*sorted(program.folder.iterdir()), _lifeline())
    return f"{program.name}-{key(str(RECIPE), _go(program).version, *says, files=files)}"


def _go(program: Program) -> go_toolchain.Go:
    """One build, whichever pair of Kubernetes and Karpenter runs beside it; some projects need a later Go."""
    return go_toolchain.choose(max(versions.named("newest").go, program.least_go))


def _lifeline() -> Path:
    return versions.MODULE / "lifeline" / "lifeline.go"


def _build(program: Program, work: Path, progress: Progress) -> None:
    go = go_toolchain.install(_go(program), progress)
    progress(
        f"building {program.title} from source, once: about {program.minutes:g} minutes on 2 cores with "
        "empty caches"
    )
    module = _downloaded(go, program)
    _copy(program, module, work)
    sources = work / "sources"
    sources.mkdir()
    overlay = sources / "overlay.json"
    overlay.write_text(json.dumps({"Replace": _sources(program, module, sources)}))
    options = ["-C", program.folder, "-overlay", overlay, "-tags", program.tags, "-trimpath"]
    options += ["-ldflags", _link_flags(program, module), "-o", work / program.name]
    if program.module_edits:
        options += ["-modfile", _edited_module(program, module, sources)]
    go_modules.build([go, "build", *map(str, options), "."], work, progress)
    shutil.rmtree(sources)


def _downloaded(go: Path, program: Program) -> Path:
    """Where the version that go.mod requires lies unpacked; Go holds it to go.sum."""
    command = ["mod", "download", "-json", program.module]
    return Path(json.loads(go_modules.run(go, command, program.folder))["Dir"])


def _sources(program: Program, module: Path, work: Path) -> dict[str, str]:
    """
    Where Go finds the files that our folder lacks, by where it looks for them.

    A command is a package that nothing can import, so its files are built as ours.
    """
    found = sorted((module / program.package).glob("*.go"))
    files = [file for file in found if not file.name.endswith("_test.go")]
    if not files:
        raise BuildFailed(f"{module} has no {program.package or 'command'}")
    hold = work / "hold.go"
    hold.write_text(HOLD.format(module=program.our_module))
    ours = {program.folder / "slicewise_hold.go": hold, program.folder / "lifeline/lifeline.go": _lifeline()}
    theirs = {program.folder / file.name: file for file in files}
    return {str(at): str(file) for at, file in (theirs | _edited(program, files, work) | ours).items()}


def _edited(program: Program, files: Sequence[Path], work: Path) -> dict[Path, Path]:
    """Where the command's own sources lie that are other than its project's."""
    found: dict[Path, Path] = {}
    for before, after in program.edits.items():
        holding = [file for file in files if before in file.read_text()]
        if not holding:
            raise BuildFailed(f"{program.module}@{program.version} has no {before} to be replaced")
        for file in holding:
            copy = found.setdefault(program.folder / file.name, work / file.name)
            copy.write_text((copy if copy.exists() else file).read_text().replace(before, after))
    return found


def _edited_module(program: Program, module: Path, work: Path) -> Path:
    """
    Our module file, with an edited copy in the module's place.

    An overlay, as the command's own sources have it, may not replace what lies in Go's cache of modules.
    """
    copy, ours = work / "module", work / "edited.mod"
    shutil.copytree(module, copy, copy_function=shutil.copyfile)
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # as Go unpacked it, nobody may write or delete there
    for name, (before, after) in program.module_edits.items():
        file = copy / name
        if before not in file.read_text():
            raise BuildFailed(f"{program.module}@{program.version} has no {before} in {name} to be replaced")
        file.write_text(file.read_text().replace(before, after))
    ours.write_text(f"{(program.folder / 'go.mod').read_text()}\nreplace {program.module} => {copy}\n")
    ours.with_suffix(".sum").write_text((program.folder / "go.sum").read_text())
    return ours


def _link_flags(program: Program, module: Path) -> str:
    if not program.stamp:
        return "-s -w"
    file = program.version_file
    version = (module / file).read_text().strip() if file else program.version
    return f"-s -w -X {program.stamp}={version}"


def _copy(program: Program, module: Path, work: Path) -> None:
    for folder, globs in program.copies.items():
        (work / folder).mkdir()
        for glob in globs:
            files = sorted(module.glob(glob))
            if not files:
                raise BuildFailed(f"{program.module}@{program.version} has no {glob}")
            for file in files:
                (work / folder / f"{file.stem}.json").write_text(json.dumps(_documents(file)))


def _documents(file: Path) -> list[object]:
    return [document for document in yaml.load_all(file.read_text(), LOADER) if document]
