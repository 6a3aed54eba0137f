"""
python -m sandbox build                             build the control plane, once; the others do it too
python -m sandbox demo [--out FILE]                 the main job, told step by step
python -m sandbox up [--keep] [--folder FOLDER]     start, and hold until Ctrl-C (or keep running)
python -m sandbox down [--folder FOLDER]            end what `up --keep` left running
python -m sandbox status [--folder FOLDER]          what runs, and how to reach it
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sandbox import binaries, session
from sandbox.binaries import BuildFailed
from sandbox.control_plane import ControlPlane
from sandbox.go_toolchain import GoMissing
from sandbox.gpu_stand_in import GpuStandIn
from sandbox.tools import ToolMissing


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m sandbox", description="Slicewise's world on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, tells in (
        ("up", "start a control plane with Karpenter and GPUs to come"),
        ("down", "end what up --keep left running"),
        ("status", "say what runs, and how to reach it"),
    ):
        command = commands.add_parser(name, help=tells)
        command.add_argument("--folder", type=Path, default=session.default_folder())
        if name == "up":
            command.add_argument("--keep", action="store_true", help="run in the background until down")
    commands.add_parser("build", help="build the control plane, once: about 5 minutes on 2 cores")
    demo = commands.add_parser("demo", help="tell the main job step by step, and check each claim")
    demo.add_argument("--out", type=Path, default=Path("out/demo.json"))
    chosen = parser.parse_args(arguments)
    try:
        return _run(chosen)
    except (session.SessionError, BuildFailed, GoMissing, ToolMissing) as error:
        print(error, file=sys.stderr)
        return 1


def _run(chosen: argparse.Namespace) -> int:
    if chosen.command == "build":
        binaries.ensure()
        binaries.tools()
        return 0
    if chosen.command == "demo":
        from sandbox.demo import run  # brings the CDK along, which the others do without

        return 0 if run(chosen.out) else 1
    folder = chosen.folder.expanduser().resolve()
    if chosen.command == "up":
        return _up(folder, chosen.keep)
    return _down(folder) if chosen.command == "down" else _status(folder)


@contextmanager
def world(folder: Path) -> Iterator[Mapping[str, str]]:
    """Everything that `up` starts."""
    with ControlPlane.start(folder / "cluster") as plane, GpuStandIn(plane.kube):
        yield {"KUBECONFIG": str(plane.kubeconfig)}


def _up(folder: Path, keep: bool) -> int:
    if keep:
        session.up_in_background(folder, ["up", "--folder", str(folder)])
    else:
        session.up(folder, world)
    return 0


def _down(folder: Path) -> int:
    print("ended" if session.down(folder) else f"nothing was running in {folder}")
    return 0


def _status(folder: Path) -> int:
    state = session.read(folder)
    if not session.is_recorded_alive(folder / session.RECORD):
        print(f"nothing runs in {folder}")
        return 1
    print(session.describe(state["reach"]) if state["ready"] else "starting")
    return 0


if __name__ == "__main__":
    sys.exit(main())
