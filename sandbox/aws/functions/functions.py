"""
Deployed functions: code and layers from moto's Lambda back end, warm environments, one log a function.

A function runs under its own role: its credentials come from `sts:AssumeRole`, its
session is named after it, and IAM checks them like anybody's.
"""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.aws.cloudwatch import embedded_metrics
from sandbox.aws.cloudwatch.metrics import MetricStore
from sandbox.aws.core.account import Account
from sandbox.aws.functions.environment import lambda_python
from sandbox.aws.functions.runtime import Environment, Outcome, Recipe

log = logging.getLogger(__name__)

# moto's sessions last an hour; a warm environment is given up before its credentials end.
WARM_SECONDS = 50 * 60


@dataclass(frozen=True)
class Run:
    """
    One invocation, for whoever wants to know how long things took, and where.

    Attributes:
        log_stream: That of the environment it ran in; each has one of its own.
        cpu_seconds: What the environment had taken of the processors by the end, since it was born.
    """

    function: str
    log_stream: str
    cold: bool
    init_seconds: float
    run_seconds: float
    cpu_seconds: float
    failed: bool
    request_id: str


class Functions:
    """
    Attributes:
        logs: Folder with `<function>.log`: what CloudWatch Logs would hold.
        runs: Every invocation so far, in order of its end.
    """

    def __init__(self, account: Account, folder: Path, python: Path | None):
        self.logs, self.runs = folder / "logs", list[Run]()
        self._account, self._code, self._python = account, folder / "code", python
        self._idle: dict[Recipe, list[Environment]] = defaultdict(list)
        self._busy: dict[str, set[Environment]] = defaultdict(set)
        self._lock, self._stopped = threading.Lock(), False
        self._under_way: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._measured: Counter[str] = Counter()
        self._measuring = threading.Lock()
        self._changed = threading.Condition()
        self.logs.mkdir(parents=True, exist_ok=True)
        self._code.mkdir(exist_ok=True)

    def invoke(self, name: str, event: Any) -> Outcome:
        """
        Run the function once and wait for it.

        Args:
            name: Name or ARN.
            event: What the handler gets; anything that JSON can say.

        Raises:
            LookupError: There is no such function.
        """
        return self.invoke_raw(name, json.dumps(event).encode())

    def invoke_raw(self, name: str, event: bytes) -> Outcome:
        function = self._function(name)
        with self._counted(function.function_name):
            return self._invoke(function, event)

    def _invoke(self, function: Any, event: bytes) -> Outcome:
        environment, cold = self._take(function)
        started = time.monotonic()
        try:
            outcome = environment.invoke(event)
        finally:
            self._give_back(function.function_name, environment)
            self._measure(function)
        self.runs.append(
            Run(
                function=function.function_name,
                log_stream=environment.log_stream,
                cold=cold,
                init_seconds=environment.init_seconds if cold else 0.0,
                run_seconds=time.monotonic() - started,
                cpu_seconds=environment.cpu_seconds(),
                failed=outcome.failed,
                request_id=outcome.request_id,
            )
        )
        if outcome.failed:
            self._note(function.function_name, outcome)
        return outcome

    def invoke_later(self, name: str, event: bytes) -> None:
        """As invocation type Event: nobody waits. AWS repeats a failure twice; here it is logged."""

        def run() -> None:
            try:
                self.invoke_raw(name, event)
            except Exception:
                log.warning("could not invoke %s", name, exc_info=True)

        threading.Thread(target=run, daemon=True).start()

    def log(self, name: str) -> str:
        path = self.logs / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def busy(self, name: str) -> int:
        """How many of the function's environments are in the middle of an invocation."""
        with self._lock:
            return len(self._busy[name])

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """
        Meanwhile no invocation of the function is under way: those at work end first, those that come wait.
        For what it must not see half done.

        Raises:
            LookupError: There is no such function.
        """
        name = self._function(name).function_name
        with self._changed:
            self._held[name] += 1
            self._changed.wait_for(lambda: not self._under_way[name])
        try:
            yield
        finally:
            with self._changed:
                self._held[name] -= 1
                self._changed.notify_all()

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._held[name])
            self._under_way[name] += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way[name] -= 1
                self._changed.notify_all()

    def warm(self, name: str) -> list[str]:
        """Log streams of the idle environments, of which the next invocation takes one."""
        with self._lock:
            return [
                environment.log_stream
                for recipe, pool in self._idle.items()
                if recipe.function_arn.endswith(f":{name}")
                for environment in pool
            ]

    def kill(self, name: str) -> int:
        """Kill the function's environments that are in the middle of an invocation; how many."""
        with self._lock:
            busy = list(self._busy[name])
        for environment in busy:
            environment.kill()
        return len(busy)

    def forget_warm(self, name: str | None = None) -> None:
        """Stop idle environments, of one function or of all, so that the next start is cold."""
        with self._lock:
            gone = [
                environment
                for recipe, pool in self._idle.items()
                if name is None or recipe.function_arn.endswith(f":{name}")
                for environment in pool
            ]
            for pool in self._idle.values():
                pool[:] = [environment for environment in pool if environment not in gone]
        for environment in gone:
            environment.stop()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            busy = [environment for group in self._busy.values() for environment in group]
        for environment in busy:
            environment.kill()
        with self._changed:
            self._changed.notify_all()
        self.forget_warm()

    def backend(self) -> Any:
        from moto.awslambda.utils import get_backend

        return get_backend(self._account.account, self._account.region)

    def _function(self, name: str) -> Any:
        try:
            # An ARN may carry a qualifier; we have one version of each function.
            return self.backend().get_function(name.split(":")[6] if name.startswith("arn:") else name)
        except Exception as error:
            raise LookupError(f"no function {name} is deployed") from error

    def _take(self, function: Any) -> tuple[Environment, bool]:
        recipe = self._recipe(function)
        with self._lock:
            if self._stopped:
                raise RuntimeError(f"{function.function_name} was invoked while the sandbox stops")
            while self._idle[recipe]:
                environment = self._idle[recipe].pop()
                if time.monotonic() - environment.born < WARM_SECONDS:
                    self._busy[function.function_name].add(environment)
                    return environment, False
                environment.stop()
        environment = self._start(function, recipe)
        with self._lock:
            self._busy[function.function_name].add(environment)
        return environment, True

    def _give_back(self, name: str, environment: Environment) -> None:
        with self._lock:
            self._busy[name].discard(environment)
            keep = environment.alive and not self._stopped
            if keep:
                self._idle[environment.recipe].append(environment)
        if not keep:
            environment.stop()

    def _start(self, function: Any, recipe: Recipe) -> Environment:
        session = self._account.client("sts").assume_role(
            RoleArn=function.role, RoleSessionName=function.function_name
        )["Credentials"]
        stream = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{os.urandom(16).hex()}"
        credentials = {
            "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
            "AWS_SESSION_TOKEN": session["SessionToken"],
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        }
        with (self.logs / f"{function.function_name}.log").open("ab") as output:
            return Environment(recipe, credentials, output)

    def _recipe(self, function: Any) -> Recipe:
        backend = self.backend()
        layers = [backend.layers_versions_by_arn(layer["Arn"]) for layer in function.layers]
        task = self._unpack("task", [(function.code_sha_256, function.code_bytes)])
        opt = self._unpack("opt", [(layer.code_sha_256, layer.code_bytes) for layer in layers])
        return Recipe(
            python=self._python or lambda_python(),
            task=task,
            opt=opt,
            handler=function.handler,
            function_arn=function.function_arn,
            timeout_seconds=int(function.timeout),
            variables=tuple(sorted(self._variables(function).items())),
        )

    def _measure(self, function: Any) -> None:
        """What whole lines have been added to its log since, and are in the embedded metric format."""
        name = function.function_name
        path = self.logs / f"{name}.log"
        with self._measuring, path.open("rb") as log_file:
            log_file.seek(self._measured[name])
            whole, newline, _ = log_file.read().rpartition(b"\n")
            self._measured[name] += len(whole + newline)
            text, group = whole.decode(errors="replace"), _log_group(function)
            embedded_metrics.take(self._account.service(MetricStore), group, text, datetime.now(UTC))

    def _variables(self, function: Any) -> Mapping[str, str]:
        logging = getattr(function, "logging_config", None) or {}
        variables = {
            "AWS_REGION": self._account.region,
            "AWS_DEFAULT_REGION": self._account.region,
            "AWS_ENDPOINT_URL": self._account.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_LOG_GROUP_NAME": _log_group(function),
            "AWS_LAMBDA_LOG_FORMAT": logging.get("LogFormat", "Text"),
        }
        if level := logging.get("ApplicationLogLevel"):
            variables["AWS_LAMBDA_LOG_LEVEL"] = level
        return {**variables, **(function.environment_vars or {})}

    def _unpack(self, kind: str, archives: list[tuple[str, bytes]]) -> Path:
        """A folder with the archives' files over one another, modes kept; made once a content."""
        digests = "-".join(digest[:16].replace("/", "_").replace("+", "_") for digest, _ in archives)
        folder = self._code / f"{kind}-{digests or 'none'}"
        with self._lock:
            if folder.exists():
                return folder
            work = folder.with_name(folder.name + ".tmp")
            work.mkdir(parents=True, exist_ok=True)
            for _, content in archives:
                _extract(content, work)
            work.rename(folder)
        return folder

    def _note(self, name: str, outcome: Outcome) -> None:
        with (self.logs / f"{name}.log").open("ab") as output:
            output.write(b"[sandbox] invocation failed: " + outcome.payload + b"\n")


def _log_group(function: Any) -> str:
    logging = getattr(function, "logging_config", None) or {}
    return str(logging.get("LogGroup", f"/aws/lambda/{function.function_name}"))


def _extract(content: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            archive.extract(member, folder)
            # zipfile drops modes; helm and kubectl in a layer must stay executable.
            mode = (member.external_attr >> 16) & 0o777
            if mode:
                (folder / member.filename).chmod(mode)
