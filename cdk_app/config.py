"""
What a person decides about a deployment, read from CDK context.

Values come from `cdk.json`, from `-c name=value`, or from a test, in this order of increasing weight. Every
problem is reported at once: a deployment that fails five times for five typos costs an afternoon.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdk_app.errors import DeploymentError

ROOT = Path(__file__).resolve().parents[1]
POLICIES = ROOT / "policies"


class InvalidConfig(DeploymentError):
    """The context lacks something, or has something that cannot be deployed."""


def digest_of(file: Path) -> str:
    """sha256 in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@dataclass(frozen=True)
class ChartSource:
    """
    A Helm chart for the installer.

    Attributes:
        reference: An `oci://` or `https://` reference, or the path of a packed chart (.tgz), which is
            then carried in the installer's own code, so that nothing is downloaded at run time.
        version: The chart's version, as its Chart.yaml spells it.
        sha256: Of the packed chart, in hex: the installer refuses any other. Empty where none is given; of a
            file the digest that it has now is taken then.
    """

    reference: str
    version: str
    sha256: str = ""

    @property
    def vendored(self) -> Path | None:
        """The packed chart to carry, if it is a file."""
        return None if "://" in self.reference else Path(self.reference).expanduser().resolve()

    @property
    def for_runtime(self) -> str:
        """What the installer is given: `charts/<file>` lies in its own code folder."""
        return f"charts/{self.vendored.name}" if self.vendored else self.reference

    @property
    def digest(self) -> str:
        """What the installer is to expect; empty where it is not known."""
        return self.sha256 or (digest_of(self.vendored) if self.vendored else "")

    @property
    def shown_by(self) -> str:
        """A command that prints the digest of what is there now."""
        if self.reference.startswith("https://"):
            return f"curl -fsSL {self.reference} | sha256sum"
        name = self.reference.rpartition("/")[2]
        return f"helm pull {self.reference} --version {self.version} && sha256sum {name}-{self.version}.tgz"


@dataclass(frozen=True)
class Config:
    """
    One deployment: one account, one Region.

    Attributes:
        stack_name: The CloudFormation stack.
        account, region: Both, or neither: then `cdk deploy` takes them from the credentials in use.
        role_prefix: IAM roles are global in an account, so a second Region needs another prefix.
        default_policy: Name of a policy for clusters without a `slicewise.dev/policy` tag; empty means that
            such clusters are unmanaged.
        policies: Folder of the policy files.
        subnet_ids, security_group_ids: Where the functions that talk to clusters run; empty means outside
            any VPC. Given as ids, so that synthesis looks nothing up.
        gpu_operator, karpenter, karpenter_crd: The charts that are installed.
        install_karpenter: Deploys the roles that let policies ask for Karpenter's installation.
        karpenter_on_fargate: With the rights and the role that let policies put it on Fargate.
        karpenter_interruptions: With the rights that let policies have it handle interruptions.
        node_role: Name of the IAM role that our NodeClass gives nodes where Karpenter has another owner;
            empty means that policies must name a NodeClass of their own.
        amp_workspaces: ARNs of the AMP workspaces that policies may name as their source of metrics.
        metrics: Reconciles emit CloudWatch metrics, which cost 0.30 $ each and month.
        dashboard: A CloudWatch dashboard of them, which needs them.
        notification_email: Receives the alarms; empty means that there is no subscription.
        bytecode_pythons: Interpreters to compile the Lambda code with; empty means "a Python 3.13, if found".
    """

    stack_name: str
    account: str | None
    region: str | None
    role_prefix: str
    default_policy: str
    policies: Path
    subnet_ids: tuple[str, ...]
    security_group_ids: tuple[str, ...]
    gpu_operator: ChartSource
    karpenter: ChartSource
    karpenter_crd: ChartSource
    install_karpenter: bool
    karpenter_on_fargate: bool
    karpenter_interruptions: bool
    node_role: str
    amp_workspaces: tuple[str, ...]
    metrics: bool
    dashboard: bool
    notification_email: str
    bytecode_pythons: tuple[str, ...]

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> Config:
        """
        Raises:
            InvalidConfig: Names every missing, misspelt or impossible key, with what to pass instead.
        """
        read = _Reader(context)
        config = cls(
            stack_name=read.text("stack_name", "slicewise", matching=r"[A-Za-z][A-Za-z0-9-]{0,127}"),
            account=read.text("account", "", matching=r"\d{12}|") or None,
            region=read.text("region", "", matching=r"[a-z]{2}(-[a-z]+)+-\d|") or None,
            # 64 characters is IAM's limit; our longest suffix is "-karpenter-controller", or on Fargate
            # "-on-fargate-" with nine of a cluster's name and its digest.
            role_prefix=read.text("role_prefix", "slicewise", matching=r"[A-Za-z][A-Za-z0-9_+=,.@-]{0,42}"),
            default_policy=read.text("default_policy", ""),
            policies=Path(read.text("policies", str(POLICIES))),
            subnet_ids=read.several("subnet_ids", matching=r"subnet-([0-9a-f]{8}|[0-9a-f]{17})"),
            security_group_ids=read.several("security_group_ids", matching=r"sg-([0-9a-f]{8}|[0-9a-f]{17})"),
            gpu_operator=read.chart("gpu_operator_chart", "gpu_operator_version", "gpu_operator_sha256"),
            karpenter=read.chart("karpenter_chart", "karpenter_version", "karpenter_sha256"),
            karpenter_crd=read.chart("karpenter_crd_chart", "karpenter_version", "karpenter_crd_sha256"),
            install_karpenter=read.flag("install_karpenter"),
            karpenter_on_fargate=read.flag("karpenter_on_fargate"),
            karpenter_interruptions=read.flag("karpenter_interruptions"),
            node_role=read.text("node_role", ""),
            amp_workspaces=read.several(
                "amp_workspaces", matching=r"arn:aws[a-z-]*:aps:[^:]+:\d{12}:workspace/.+"
            ),
            metrics=read.flag("metrics") or read.flag("dashboard"),
            dashboard=read.flag("dashboard"),
            notification_email=read.text("notification_email", "", matching=r"[^@\s]+@[^@\s]+|"),
            bytecode_pythons=read.several("bytecode_python"),
        )
        _check_pairs(config, read)
        read.finish()
        return config


class _Reader:
    """Reads keys one by one, and keeps what is wrong with them for one error at the end."""

    def __init__(self, context: Mapping[str, Any]):
        self.context = context
        self.known: set[str] = set()
        self.problems: list[str] = []

    def problem(self, key: str, remedy: str) -> None:
        self.problems.append(f"context {key!r}: {remedy}")

    def text(self, key: str, default: str | None = None, *, matching: str | None = None) -> str:
        """The value as text; without a default the key must be there."""
        self.known.add(key)
        value = self.context.get(key, default)
        if value is None or (default is None and value == ""):
            self.problem(key, f"is missing: pass -c {key}=... or set it in cdk.json")
            return ""
        if not isinstance(value, str):
            self.problem(key, f"is {value!r}, which is not text: pass -c {key}=...")
            return ""
        if matching is not None and not re.fullmatch(matching, value):
            self.problem(key, f"is {value!r}, which does not look like {key.replace('_', ' ')} ({matching})")
        return value

    def several(self, key: str, *, matching: str | None = None) -> tuple[str, ...]:
        """A list in cdk.json, or text with commas on the command line."""
        self.known.add(key)
        value = self.context.get(key, ())
        if not (isinstance(value, str | list | tuple) and all(isinstance(item, str) for item in value)):
            self.problem(key, f"is {value!r}: pass -c {key}=FIRST,SECOND")
            return ()
        items = value.split(",") if isinstance(value, str) else value
        found = tuple(item.strip() for item in items if item.strip())
        for item in found:
            if matching is not None and not re.fullmatch(matching, item):
                self.problem(key, f"has {item!r}, which does not look like {matching}")
        return found

    def flag(self, key: str) -> bool:
        self.known.add(key)
        value = self.context.get(key, False)
        if value in (True, "true") or value in (False, "false"):
            return value in (True, "true")
        self.problem(key, f"is {value!r}: pass true or false")
        return False

    def chart(self, key: str, version_key: str, digest_key: str) -> ChartSource:
        source = ChartSource(self.text(key), self.text(version_key), self.text(digest_key, ""))
        if not re.fullmatch(r"[0-9a-f]{64}|", source.sha256):
            self.problem(
                digest_key,
                f"is {source.sha256!r}: pass the 64 digits that `{source.shown_by}` prints, or nothing",
            )
        if not source.reference:
            return source
        if source.vendored is None and not source.reference.startswith(("oci://", "https://")):
            self.problem(
                key, f"is {source.reference!r}: pass an oci:// or https:// reference, or a .tgz file"
            )
        if source.vendored is not None and not (
            source.vendored.is_file() and source.vendored.suffix == ".tgz"
        ):
            self.problem(key, f"is {source.reference!r}, which is no .tgz file: pack it with `helm package`")
        elif source.vendored is not None and source.sha256 not in ("", digest_of(source.vendored)):
            self.problem(
                digest_key,
                f"is {source.sha256!r}, but {source.reference!r} has {digest_of(source.vendored)!r}: pass "
                "both of one chart, or no digest, and the file's is taken",
            )
        if source.reference.startswith("oci://") and re.search(r"[:@]", source.reference.rpartition("/")[2]):
            self.problem(
                key,
                f"is {source.reference!r}: its version goes into {version_key}, its digest into {digest_key}",
            )
        # Of a packed chart helm installs the version that it is, no matter what we ask for: the installer
        # would find another than it wants, and upgrade for ever.
        packed = source.reference.endswith(".tgz")
        if packed and source.version and not source.reference.endswith(f"-{source.version}.tgz"):
            self.problem(
                version_key,
                f"is {source.version!r}, but {key} is the file {source.reference.rpartition('/')[2]!r}: pass "
                "both of one version, the file named as `helm package` names it",
            )
        return source

    def finish(self) -> None:
        """Keys of others are ignored; one that is nearly ours is a typo, which would be ignored silently."""
        for key in self.context:
            near = [] if key in self.known else difflib.get_close_matches(key, sorted(self.known), 1, 0.8)
            for meant in near:
                self.problem(key, f"is not a key of ours: did you mean {meant!r}?")
        if self.problems:
            # Two charts share one version key: its problem is reported once.
            lines = "\n  ".join(dict.fromkeys(self.problems))
            raise InvalidConfig(f"the deployment's configuration is refused:\n  {lines}")


def _check_pairs(config: Config, read: _Reader) -> None:
    """What two keys say together."""
    if (config.account is None) != (config.region is None):
        read.problem("account", "pass account and region together, or neither to use the credentials' own")
    if bool(config.subnet_ids) != bool(config.security_group_ids):
        read.problem("subnet_ids", "pass subnet_ids and security_group_ids together, or neither")
    if not re.fullmatch(r"[\w+=,.@-]{0,64}", config.node_role, re.ASCII):
        read.problem("node_role", f"is {config.node_role!r}: pass the name of an IAM role, not its ARN")
    if config.node_role and config.install_karpenter:
        read.problem("node_role", "install_karpenter makes a role for nodes: pass one of the two")
    if config.karpenter_on_fargate and not config.install_karpenter:
        read.problem("karpenter_on_fargate", "pass install_karpenter=true as well: it is who puts it there")
    if config.karpenter_interruptions and not config.install_karpenter:
        read.problem(
            "karpenter_interruptions", "pass install_karpenter=true as well: no other Karpenter gets it"
        )
    carried = {source.vendored for source in (config.gpu_operator, config.karpenter, config.karpenter_crd)}
    names = [path.name for path in carried if path]
    if len(names) != len(set(names)):
        read.problem("karpenter_chart", "two charts have the same file name: rename one, they share a folder")
