"""
AWS on one loopback URL, in this process.

>>> with Aws.start(folder) as aws:
...     aws.client("eks").create_cluster(...)

State is moto's, in memory, by account; it is gone when `stop` returns. Several can run in one
process if each has an account of its own.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
from botocore.config import Config
from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from sandbox.aws import limits, moto_fixes
from sandbox.aws.cloudformation import fixes as stack_fixes
from sandbox.aws.cloudformation import types as stack_types
from sandbox.aws.cloudtrail.events import Events
from sandbox.aws.cloudwatch import alarms, metrics
from sandbox.aws.cloudwatch.metrics import MetricStore
from sandbox.aws.core import botocore_files, registry
from sandbox.aws.core.account import Attachment, Service
from sandbox.aws.core.clock import Clock
from sandbox.aws.core.patching import Patches
from sandbox.aws.eks import clusters as eks
from sandbox.aws.eks.authenticator import Authenticator
from sandbox.aws.functions import event_source_mappings
from sandbox.aws.functions.functions import Functions
from sandbox.aws.iam import enforcement
from sandbox.aws.iam.enforcement import Iam
from sandbox.aws.scheduler import schedules
from sandbox.aws.scheduler.schedules import Schedules

ADMIN_SECRET = "sandbox-admin"
# A Lambda may run for 15 minutes; a client that gives up and repeats would run it twice at once.
CLIENT_CONFIG = Config(read_timeout=910, retries={"max_attempts": 0}, max_pool_connections=50)

_PATCHING = (
    *(moto_fixes, stack_fixes, stack_types, eks, metrics, alarms, schedules),
    # A call that is wrong and not allowed is told to be the latter: so the former is asked last.
    *(limits, enforcement, event_source_mappings),
)
_patches, _starting = Patches(), threading.Lock()
botocore_files.read_once()


class Aws:
    """
    Attributes:
        endpoint: The URL for every service (`AWS_ENDPOINT_URL`).
        region, account: Where everything is.
        events: How CloudTrail and alarm events arrive: late, or not at all.
        iam: Every decision about an assumed role's request.
        functions: Runs deployed functions; holds their logs.
        clock: What schedules follow.
        schedules: What has fired.
        metrics: What CloudWatch has been told.
        webhook_ca_pem: Of the token webhook's serving certificate.
        creating_seconds: How long clusters and add-ons are CREATING, and clusters UPDATING.
        delay_share: See `start`.
        witness: Called with an assumed role's name before its request is answered, by AWS or (at its token)
            by a cluster. Whoever asked waits meanwhile, so a test can kill it at just that moment.
    """

    def __init__(
        self,
        folder: Path,
        *,
        region: str,
        account: str,
        python_for_lambdas: Path | None,
        creating_seconds: float,
        cloudtrail_delay_seconds: float,
        delay_share: float,
        enforce_iam: bool,
    ):
        self.folder, self.region, self.account = folder, region, account
        self.creating_seconds, self.delay_share = creating_seconds, delay_share
        self.witness: Callable[[str], None] = lambda role: None
        self._attachments: dict[str | None, Attachment] = {}
        self._clients: dict[str, Any] = {}
        self._clients_lock = threading.Lock()
        self._stopped = False
        folder.mkdir(parents=True, exist_ok=True)
        _enter(self)
        try:
            self._server = _serve(account)
            self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
            self.clock = Clock()
            self.events = Events(self, cloudtrail_delay_seconds)
            self.iam = Iam(account, enforced=enforce_iam)
            self.metrics = MetricStore()
            self.functions = Functions(self, folder / "lambda", python_for_lambdas)
            self._authenticator = Authenticator(self, folder / "webhook")
            self.webhook_ca_pem = self._authenticator.ca_pem
            self.schedules = Schedules(self, self.iam, self.functions)
            self._mappings = event_source_mappings.Mappings(self, self.functions)
        except BaseException:
            _leave(self)
            raise

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        region: str = "eu-west-1",
        account: str = "123456789012",
        python_for_lambdas: Path | None = None,
        creating_seconds: float = 2.0,
        cloudtrail_delay_seconds: float = 0.0,
        delay_share: float = 1.0,
        enforce_iam: bool = True,
    ) -> Aws:
        """
        Args:
            folder: Gets logs, unpacked functions and the webhook's keys.
            python_for_lambdas: Instead of the environment that is built once, see `lambda_environment`.
            creating_seconds: How long clusters and add-ons are CREATING.
            cloudtrail_delay_seconds: How late CloudTrail events arrive.
            delay_share: How long queues hold back what is sent or put back for later, as a share of what was
                asked for. Less than 1 for tests, where installations of minutes take seconds.
            enforce_iam: Refuse what an assumed role is not granted; decisions are logged either way.

        Raises:
            RuntimeError: The account is served already in this process.
        """
        return cls(
            folder,
            region=region,
            account=account,
            python_for_lambdas=python_for_lambdas,
            creating_seconds=creating_seconds,
            cloudtrail_delay_seconds=cloudtrail_delay_seconds,
            delay_share=delay_share,
            enforce_iam=enforce_iam,
        )

    def client(self, service: str) -> Any:
        """A boto3 client with an administrator's keys; the same one each time."""
        with self._clients_lock:
            if service not in self._clients:
                session = boto3.Session(self.admin_key_id, ADMIN_SECRET, region_name=self.region)
                self._clients[service] = session.client(
                    service, endpoint_url=self.endpoint, config=CLIENT_CONFIG
                )
            return self._clients[service]

    def service(self, kind: type[Service]) -> Service:
        """See `core.account.Account`."""
        for one in (self.events, self.iam, self.metrics, self.functions):
            if isinstance(one, kind):
                return one
        raise LookupError(f"an account has no {kind.__name__} of its own")

    @property
    def admin_key_id(self) -> str:
        # One an account: the CDK CLI remembers which account a key belongs to.
        return f"AKIASAND{self.account}"

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def environment(self) -> dict[str, str]:
        """What a process needs to be an administrator here (AWS CLI, CDK CLI, scripts)."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.admin_key_id,
            "AWS_SECRET_ACCESS_KEY": ADMIN_SECRET,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def attach(
        self, cluster_name: str | None, endpoint_url: str, ca_pem: str, *, control_plane: str | None = None
    ) -> None:
        """
        Put a real control plane behind a cluster.

        Args:
            cluster_name: None for every cluster that is not attached by name.
            ca_pem: PEM text, as DescribeCluster gives it base64-encoded.
            control_plane: The name under which the apiserver calls the webhook; by default
                the cluster's own. Clusters that share one accept each other's audience only
                where the token was signed for one of them, with that one's access entries.
        """
        name = control_plane or cluster_name or "default"
        self._attachments[cluster_name] = Attachment(endpoint_url, ca_pem, name)

    def detach(self, cluster_name: str | None) -> None:
        self._attachments.pop(cluster_name, None)

    def attachment(self, cluster_name: str) -> Attachment | None:
        return self._attachments.get(cluster_name) or self._attachments.get(None)

    def clusters_of(self, control_plane: str) -> list[str]:
        """Names of the clusters behind which the control plane stands."""
        from moto.eks.models import eks_backends

        known = list(eks_backends[self.account][self.region].clusters)
        attached = [
            name
            for name in known
            if (found := self.attachment(name)) and found.control_plane == control_plane
        ]
        return attached or [control_plane]

    def token_webhook_url(self, control_plane: str) -> str:
        """For kube-apiserver's --authentication-token-webhook-config-file."""
        return self._authenticator.url(control_plane)

    def webhook_url(self, control_plane: str) -> str:
        return self.token_webhook_url(control_plane)

    @property
    def token_reviews(self) -> list[Any]:
        return list(self._authenticator.reviews)

    def stop(self) -> None:
        """End everything that runs and forget all state. Stopping twice is harmless."""
        if self._stopped:
            return
        self._stopped = True
        self.schedules.stop()
        self.events.stop()
        self.functions.stop()
        self._mappings.stop()
        self._authenticator.stop()
        self._server.shutdown()
        self._server.server_close()
        _leave(self)

    def __enter__(self) -> Aws:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Handler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open
    wbufsize = -1  # one segment an answer: Nagle's algorithm would add 40 ms
    disable_nagle_algorithm = True

    def log_request(self, *_: object) -> None: ...

    def handle_expect_100(self) -> bool:
        # Since writes are buffered: else each S3 upload waits a second for "100 Continue".
        wanted = super().handle_expect_100()
        self.wfile.flush()
        return wanted


def _serve(account: str) -> Any:
    application = DomainDispatcherApplication(create_backend_app)

    def of_this_account(environ: dict[str, Any], start_response: Any) -> Any:
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = account
        return application(environ, start_response)

    server = make_server("127.0.0.1", 0, of_this_account, threaded=True, request_handler=_Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), name="aws", daemon=True).start()
    return server


def _enter(aws: Aws) -> None:
    with _starting:
        first = not registry.any_left()
        registry.enter(aws)
        if first:
            for module in _PATCHING:
                module.install(_patches)
        # Of a plain mock that ran before us.
        _forget_state(aws.account)
        _log_to(aws.folder / "aws.log")


def _leave(aws: Aws) -> None:
    with _starting:
        _forget_state(aws.account)
        registry.leave(aws)
        if not registry.any_left():
            _patches.undo()
    shutil.rmtree(aws.folder / "webhook", ignore_errors=True)  # private keys


def _forget_state(account: str) -> None:
    for backends in list(BackendDict._instances):
        if account in list(backends.keys()):
            backends[account].reset()


def _log_to(path: Path) -> None:
    """moto's and werkzeug's words go to a file, not to the console."""
    for name in ("moto", "werkzeug", "sandbox.aws"):
        logger = logging.getLogger(name)
        handler = logging.FileHandler(path, delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        before = (logger.propagate, logger.level)
        logger.addHandler(handler)
        logger.propagate, logger.level = False, logging.INFO
        _patches.on_undo(lambda a=logger, b=handler, c=before: _quiet_no_more(a, b, c))


def _quiet_no_more(logger: logging.Logger, handler: logging.Handler, before: tuple[bool, int]) -> None:
    logger.removeHandler(handler)
    handler.close()
    logger.propagate, logger.level = before
