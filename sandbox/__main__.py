"""
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

from sandbox import session
from sandbox.control_plane import ControlPlane
from sandbox.gpu_stand_in import GpuStandIn


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
    chosen = parser.parse_args(arguments)
    folder = chosen.folder.expanduser().resolve()
    try:
        if chosen.command == "up":
            return _up(folder, chosen.keep)
        return _down(folder) if chosen.command == "down" else _status(folder)
    except session.SessionError as error:
        print(error, file=sys.stderr)
        return 1


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
