"""
One Lambda execution environment: AWS's own runtime client in a process, over a loopback Runtime API.

The Runtime API's four calls (next, response, error, init error) are AWS's published interface
between the service and a runtime.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sandbox.aws.core.loopback import Handler, Server

INIT_LIMIT_SECONDS = 10.0  # AWS's own limit for the init phase
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Outcome:
    """
    Attributes:
        payload: JSON, what the handler returned, or AWS's error object.
        failed: The handler raised, timed out, or its process ended.
    """

    payload: bytes
    failed: bool
    request_id: str


@dataclass(frozen=True)
class Invocation:
    request_id: str
    event: bytes
    deadline_ms: int
    function_arn: str


class RuntimeApi:
    """What the runtime client asks for work; one client each."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.init_error: bytes | None = None
        self._work: queue.Queue[Invocation | None] = queue.Queue()
        self._outcomes: queue.Queue[Outcome] = queue.Queue()
        self._server = Server(_handler(self))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    def give(self, invocation: Invocation) -> None:
        self._work.put(invocation)

    def outcome(self, within_seconds: float) -> Outcome | None:
        try:
            return self._outcomes.get(timeout=within_seconds)
        except queue.Empty:
            return None

    def close(self) -> None:
        self._work.put(None)
        self._server.close()

    def next(self) -> Invocation | None:
        self.asked.set()
        return self._work.get()

    def finished(self, outcome: Outcome) -> None:
        self._outcomes.put(outcome)

    def failed_to_start(self, error: bytes) -> None:
        self.init_error = error
        self.asked.set()


def _handler(api: RuntimeApi) -> type[Handler]:
    class RuntimeHandler(Handler):
        def do_GET(self) -> None:
            work = api.next()
            if work is None:
                return self.reply(500)
            self.reply(
                200,
                work.event,
                {
                    "Content-Type": "application/json",
                    "Lambda-Runtime-Aws-Request-Id": work.request_id,
                    "Lambda-Runtime-Deadline-Ms": str(work.deadline_ms),
                    "Lambda-Runtime-Invoked-Function-Arn": work.function_arn,
                },
            )

        def do_POST(self) -> None:
            body = self.body()
            *_, subject, kind = self.path.split("/")
            if (subject, kind) == ("init", "error"):
                api.failed_to_start(body)
            else:
                api.finished(Outcome(body, failed=kind == "error", request_id=subject))
            self.reply(202)

    return RuntimeHandler


@dataclass(frozen=True)
class Recipe:
    """What an environment is started from; equal recipes share warm environments."""

    python: Path
    task: Path
    opt: Path
    handler: str
    function_arn: str
    timeout_seconds: int
    variables: tuple[tuple[str, str], ...]


class Environment:
    """
    Cold start in the constructor, then `invoke` again and again, one at a time.

    Attributes:
        alive: False once it timed out, crashed or was killed; start another one.
    """

    def __init__(self, recipe: Recipe, credentials: Mapping[str, str], log: IO[bytes]):
        self.recipe, self.alive, self.born = recipe, True, time.monotonic()
        self.log_stream = credentials["AWS_LAMBDA_LOG_STREAM_NAME"]
        self._api = RuntimeApi()
        self._process = subprocess.Popen(
            [recipe.python, "-m", "awslambdaric", recipe.handler],
            env=_process_environment(recipe, credentials, self._api.address),
            cwd=recipe.task,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: what it starts (helm) ends with it
        )
        self._wait_for_init()
        self.init_seconds = time.monotonic() - self.born

    def invoke(self, event: bytes) -> Outcome:
        request_id, limit = str(uuid.uuid4()), self.recipe.timeout_seconds
        if not self.alive:
            error = self._api.init_error or _error(
                "Runtime.ExitError", f"RequestId: {request_id} Error: init"
            )
            return Outcome(error, failed=True, request_id=request_id)
        deadline = time.time() + limit
        self._api.give(Invocation(request_id, event, int(deadline * 1000), self.recipe.function_arn))
        while time.time() < deadline:
            outcome = self._api.outcome(_POLL_SECONDS)
            if outcome:
                return outcome
            if self._process.poll() is not None:
                self.alive = False
                self._kill_group()  # what the function started outlives it otherwise
                return _crashed(request_id, self._process.returncode)
        self.stop()
        message = f"RequestId: {request_id} Error: Task timed out after {limit:.2f} seconds"
        return Outcome(_error("Sandbox.Timedout", message), failed=True, request_id=request_id)

    def cpu_seconds(self) -> float:
        """That its process has taken; 0 where it has ended, or the system does not say."""
        try:
            # Linux's number for the clock of a process.
            return time.clock_gettime(~self._process.pid << 3 | 2)
        except OSError:
            return 0.0

    def kill(self) -> None:
        """As if the machine went away with all that runs on it; an invocation in progress ends as a crash."""
        if self._process.poll() is None:
            self._kill_group()

    def stop(self) -> None:
        self.alive = False
        self.kill()
        self._process.wait()
        self._api.close()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):  # nobody of it is left
            os.killpg(self._process.pid, signal.SIGKILL)

    def _wait_for_init(self) -> None:
        end = self.born + INIT_LIMIT_SECONDS
        while not self._api.asked.wait(_POLL_SECONDS):
            if self._process.poll() is not None or time.monotonic() > end:
                break
        if self._api.init_error or not self._api.asked.is_set():
            self.alive = False


def _process_environment(recipe: Recipe, credentials: Mapping[str, str], api: str) -> dict[str, str]:
    """Built from nothing, as AWS does it: what this process has set must not leak in."""
    layer_paths = [recipe.opt / "python" / "lib" / "python3.13" / "site-packages", recipe.opt / "python"]
    python_path = [*(str(path) for path in layer_paths if path.is_dir()), str(recipe.task)]
    return {
        "PATH": f"/usr/local/bin:/usr/bin:/bin:{recipe.opt}/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONPATH": ":".join(python_path),
        "LAMBDA_TASK_ROOT": str(recipe.task),
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": recipe.handler,
        "AWS_LAMBDA_RUNTIME_API": api,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        # Not AWS's: layers lie in /opt there. The product reads it with that default.
        "OPT_ROOT": str(recipe.opt),
        **credentials,
        **dict(recipe.variables),
    }


def _crashed(request_id: str, status: int) -> Outcome:
    said = f"signal: {-status}" if status < 0 else f"exit status {status}"
    message = f"RequestId: {request_id} Error: Runtime exited with error: {said}"
    return Outcome(_error("Runtime.ExitError", message), failed=True, request_id=request_id)


def _error(kind: str, message: str) -> bytes:
    body: dict[str, Any] = {"errorType": kind, "errorMessage": message}
    return json.dumps(body).encode()
