"""
What the gateways to AWS share: clients that wait and retry sensibly, and one reading of their errors.

They use botocore, which boto3's clients are made of: boto3 itself would bring what moves files to S3, and a
cold start would pay for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialResolver, EnvProvider
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader
from botocore.session import Session

from slicewise.errors import Conflict, Refused, SlicewiseError, Unavailable

_CONFIG = Config(  # type: ignore[call-arg]  # its stubs lack user_agent_appid
    connect_timeout=5,
    read_timeout=20,
    # Adaptive: EKS's control API throttles a fleet's sweep; the client then slows itself down.
    retries={"mode": "adaptive", "max_attempts": 4},
    user_agent_appid="slicewise",
)

_CONFLICTS = frozenset(
    {
        "ConditionalCheckFailedException",
        "ConflictException",  # EventBridge Scheduler
        "ResourceConflict",  # CloudWatch
        "ResourceInUseException",
    }
)
_BUSY = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "ProvisionedThroughputExceededException",
        "RequestThrottled",
        "TransactionConflictException",
    }
)

# The layer's build puts it there: botocore's data, cut down to the calls that gateways make.
API_MODELS = Path(__file__).parent / "api_models"

_clients: dict[tuple[int, str, str], tuple[Session, Any]] = {}
_contexts: dict[int, Any] = {}


def session(models: Path = API_MODELS) -> Session:
    """Of the user who runs this; with botocore's whole data where the package was not built into a layer."""
    made = botocore.session.get_session()
    # A function's credentials are in its environment, where botocore searches first. The other places that it
    # would search cost a cold start two TLS contexts.
    if "AWS_ACCESS_KEY_ID" in os.environ:
        made.register_component("credential_provider", CredentialResolver([EnvProvider()]))
    if models.is_dir():
        loader = Loader([str(models)], include_default_search_paths=False)
        # For botocore as good as its own: endpoints come from each service's rules.
        loader.BUILTIN_DATA_PATH = str(models)
        made.register_component("data_loader", loader)
    return made


def client(service: str, session: Session, region: str) -> Any:
    """One a service, session and region, for all callers: making one takes longer than a call."""
    key = (id(session), service, region)
    if key not in _clients:
        # With the session, whose id no other one gets while it lives.
        _clients[key] = session, session.create_client(service, region_name=region, config=_CONFIG)
        _share_certificates(_clients[key][1], id(session))
    return _clients[key][1]


def _share_certificates(made: Any, session_id: int) -> None:
    """
    Have all clients of a session use one TLS context, which reads each file of authorities once.

    Else every connection of every client reads them again: 20 ms of a processor, and a reconcile has five.
    """
    try:
        settings = made._endpoint.http_session._manager.connection_pool_kw
        context = settings["ssl_context"]
    except (AttributeError, KeyError):
        return  # another botocore: it works as it does
    if session_id not in _contexts:
        context.load_verify_locations = cache(context.load_verify_locations)
    settings["ssl_context"] = _contexts.setdefault(session_id, context)


def code_of(error: ClientError) -> str:
    """Such as "ResourceNotFoundException"; SQS's query-era prefix ("AWS.SimpleQueueService.") is cut."""
    return error.response.get("Error", {}).get("Code", "").rpartition(".")[2]


@contextmanager
def own_errors(what: str) -> Iterator[None]:
    """
    Translate what botocore raises: Conflict, Refused or Unavailable, by error code and status.

    Args:
        what: The call and what it was about, for the message: "eks:DescribeCluster of gpu-1".
    """
    try:
        yield
    except ClientError as error:
        raise _translated(error)(f"{what}: {error}") from error
    except BotoCoreError as error:
        raise Unavailable(f"{what}: {error}") from error


def _translated(error: ClientError) -> type[SlicewiseError]:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if code in _CONFLICTS:
        return Conflict
    if code in _BUSY or status == 429 or status >= 500:
        return Unavailable
    return Refused
