"""
python -m sandbox build [--versions newest|oldest]  build what they all run, once; the others do it too
python -m sandbox build --with NAME,...             and these real controllers (build --help lists them)
python -m sandbox demo [--out FILE]                 the main job, told step by step
python -m sandbox try NAME [--out FILE]             an example of examples/, tried here (--list: which)
python -m sandbox up [--keep] [--folder FOLDER]     start the whole system, and hold until Ctrl-C (or keep it)
python -m sandbox up --with NAME,...                with these real controllers in its control plane
python -m sandbox send create-cluster NAME ...      make something happen in it (send --help)
python -m sandbox status [--folder FOLDER]          what runs, and how to reach it
python -m sandbox down [--folder FOLDER]            end what `up --keep` left running
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sandbox import send, session
from sandbox.artifacts import (
    api_schemas,
    binaries,
    karpenter_charts,
    nvidia_config,
    program,
    prometheus_binary,
    versions,
    workload_crds,
)
from sandbox.artifacts.binaries import BuildFailed
from sandbox.artifacts.go_toolchain import GoMissing
from sandbox.artifacts.tools import ToolMissing, tools
from sandbox.controllers import catalog
from sandbox.controllers.catalog import Controller
from sandbox.examples import catalog as examples
from sandbox.examples.catalog import Example
from sandbox.rows import UnknownName


def main(arguments: list[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    try:
        return _COMMANDS[chosen.command](chosen)
    except (session.SessionError, BuildFailed, GoMissing, ToolMissing, versions.UnknownVersions) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m sandbox", description="Slicewise's world on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, tells in (
        ("up", "start AWS, the deployed stack and a control plane with Karpenter"),
        ("down", "end what up --keep left running"),
        ("status", "say what runs, and how to reach it"),
        ("send", "make something happen in a running sandbox"),
    ):
        command = commands.add_parser(name, help=tells)
        command.add_argument("--folder", type=Path, default=session.default_folder())
        if name == "up":
            command.add_argument("--keep", action="store_true", help="run in the background until down")
            _add_controllers(command)
        if name == "send":
            send.add_arguments(command)
    build = commands.add_parser("build", help="build what sandbox and tests run, once: minutes")
    build.add_argument(
        "--versions",
        choices=versions.PAIRS,
        help=f"of Kubernetes and Karpenter; else what {versions.SWITCH} says",
    )
    build.add_argument(
        "--if-cached", action="store_true", help="build nothing; 0 if all of it is there, else 1"
    )
    _add_controllers(build)
    demo = commands.add_parser("demo", help="run the main job step by step, and check each claim")
    demo.add_argument("--out", type=Path, default=Path("out/demo.json"))
    _add_try(commands.add_parser("try", help="apply an example's own files here, and check what must hold"))
    return parser


def _add_try(command: argparse.ArgumentParser) -> None:
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("example", metavar="NAME", nargs="?", type=_example, help=", ".join(examples.EXAMPLES))
    which.add_argument("--list", action="store_true", help="print each example, and what it needs built")
    command.add_argument("--out", type=Path, help="where its claims are kept; else out/try-NAME.json")


def _example(name: str) -> Example:
    try:
        return examples.named(name)
    except UnknownName as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_controllers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--with",
        dest="controllers",
        metavar="NAME,...",
        type=_controllers,
        default=(),
        help=f"real controllers beside it, each built once: {', '.join(catalog.CONTROLLERS)}",
    )


def _controllers(names: str) -> tuple[Controller, ...]:
    try:
        return catalog.listed(names)
    except UnknownName as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@contextmanager
def world(folder: Path, controllers: Sequence[Controller] = ()) -> Iterator[Mapping[str, str]]:
    """Everything that `up` starts. One control plane stands behind every cluster that somebody creates."""
    from sandbox.controllers.process import Controllers
    from sandbox.system import System  # brings the CDK along, which the other commands do without

    with System.start(folder) as system:
        plane = system.start_control_plane("sandbox", any_cluster=True, progress=print).plane
        with Controllers.start(plane, *(row.name for row in controllers)):
            yield {
                **system.aws.environment(),
                "KUBECONFIG": str(plane.kubeconfig),
                "PATH": f"{tools().kubectl.parent}:$PATH",  # helm lies beside it
            }


def _build(chosen: argparse.Namespace) -> int:
    if chosen.versions:
        os.environ[versions.SWITCH] = chosen.versions
    if chosen.if_cached:
        return _is_cached(chosen.controllers)
    tools()
    binaries.ensure()
    for get in (
        *(karpenter_charts.folder, workload_crds.folder, api_schemas.folder),
        *(nvidia_config.command, prometheus_binary.command),
    ):
        get()
    for row in dict.fromkeys((*catalog.IN_EVERY_TEST_RUN, *chosen.controllers)):
        program.built(row.program)
    return 0


def _is_cached(controllers: Sequence[Controller]) -> int:
    built = {f"the {versions.chosen().name} versions are": binaries.is_built()}
    built |= {f"{row.program.title} is": program.is_built(row.program) for row in controllers}
    for what, there in built.items():
        print(f"{what} {'' if there else 'not '}built")
    return 0 if all(built.values()) else 1


def _demo(chosen: argparse.Namespace) -> int:
    from sandbox.demo.story import run  # brings the CDK along, which the other commands do without

    return 0 if run(chosen.out) else 1


def _try(chosen: argparse.Namespace) -> int:
    if chosen.list:
        for row in examples.EXAMPLES.values():
            print(f"{row.name:20} {row.title} ({', '.join(row.controllers) or 'no controllers'})")
        return 0
    from sandbox.examples.run import run  # brings the CDK along, which the other commands do without

    return 0 if run(chosen.example, chosen.out or Path(f"out/try-{chosen.example.name}.json")) else 1


def _up(chosen: argparse.Namespace) -> int:
    folder = _folder(chosen)
    if chosen.keep:
        beside = [f"--with={','.join(row.name for row in chosen.controllers)}"] if chosen.controllers else []
        session.up_in_background(folder, ["up", "--folder", str(folder), *beside])
    else:
        session.up(folder, partial(world, controllers=chosen.controllers))
    return 0


def _down(chosen: argparse.Namespace) -> int:
    folder = _folder(chosen)
    print("ended" if session.down(folder) else f"nothing was running in {folder}")
    return 0


def _status(chosen: argparse.Namespace) -> int:
    folder = _folder(chosen)
    if not session.is_recorded_alive(folder / session.RECORD):
        print(f"nothing runs in {folder}")
        return 1
    reach = _reach(folder)
    print(session.describe(reach) if reach else "starting")
    return 0


def _send(chosen: argparse.Namespace) -> int:
    reach = _reach(_folder(chosen))
    if not reach:
        raise session.SessionError("the sandbox is still starting; try again in some seconds")
    print(send.send(chosen, reach))
    return 0


def _reach(folder: Path) -> Mapping[str, str]:
    """The environment that reaches what runs in this folder; empty while it starts."""
    if not session.is_recorded_alive(folder / session.RECORD):
        raise session.SessionError(f"nothing runs in {folder}: start it with `python -m sandbox up --keep`")
    state = session.read(folder)
    return state["reach"] if state["ready"] else {}


def _folder(chosen: argparse.Namespace) -> Path:
    return chosen.folder.expanduser().resolve()


_COMMANDS = {
    "build": _build,
    "demo": _demo,
    "try": _try,
    "up": _up,
    "down": _down,
    "status": _status,
    "send": _send,
}

if __name__ == "__main__":
    # A build takes minutes: its progress must be seen also through a pipe.
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main())
