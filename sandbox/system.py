"""
The whole of Slicewise on this machine: AWS, the stack, and clusters with real control planes.

    with System.start(folder) as system:
        cluster = system.create_cluster("gpu-1", tags={"slicewise.dev/policy": "sandbox"})
        system.wait_for_stage("gpu-1", "onboarded")
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sandbox.artifacts import charts, versions
from sandbox.aws.cloudformation import assembly
from sandbox.aws.cloudtrail import events as cloudtrail
from sandbox.aws.server import Aws
from sandbox.cluster.client import KubeClient
from sandbox.cluster.control_plane import ControlPlane
from sandbox.cluster.karpenter_follower import KarpenterFollower
from sandbox.cluster.samples import node_class
from sandbox.gpus.gpu_nodes import GpuNodes
from sandbox.synthesis import synthesize

ROOT = Path(__file__).resolve().parent.parent
POLICIES = Path(__file__).with_name("policies")
CHARTS = ("gpu-operator", "karpenter", "karpenter-crd")
NETWORK = {"subnetIds": ["subnet-0a", "subnet-0b"], "securityGroupIds": ["sg-0a"]}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Cluster:
    """One EKS cluster's own control plane, with what stands in for its GPUs."""

    name: str
    plane: ControlPlane
    gpus: GpuNodes

    @property
    def kube(self) -> KubeClient:
        return self.plane.kube


class System:
    """
    Attributes:
        aws: The AWS side; `aws.client("eks")` and the like speak as an administrator.
        outputs: Of the deployed stack.
        clusters: Those with a control plane of their own, by name.
    """

    def __init__(self, folder: Path, aws: Aws, outputs: Mapping[str, str], ending: ExitStack):
        self.folder, self.aws, self.outputs = folder, aws, outputs
        self.clusters: dict[str, Cluster] = {}
        self._ending = ending
        self._endings: dict[str, ExitStack] = {}

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        context: Mapping[str, str] | None = None,
        account: str = "123456789012",
        creating_seconds: float = 2.0,
        cloudtrail_delay_seconds: float = 0.0,
        delay_share: float = 1.0,
        progress: Progress = print,
    ) -> System:
        """
        Synthesize the CDK app and deploy it into an AWS of its own.

        Args:
            context: CDK context beside that of `context_for`; see cdk_app/config.py.
            account: Its own where several run in one process.
            creating_seconds: How long clusters stay CREATING.
            cloudtrail_delay_seconds: How late the events of API calls arrive.
            delay_share: How long messages wait that were sent for later; see `Aws.start`.

        Raises:
            SynthesisFailed: With what the CDK app said.
        """
        with ExitStack() as starting:
            aws = starting.enter_context(
                Aws.start(
                    folder / "aws",
                    account=account,
                    creating_seconds=creating_seconds,
                    cloudtrail_delay_seconds=cloudtrail_delay_seconds,
                    delay_share=delay_share,
                )
            )
            progress("synthesizing the stack from cdk_app/, as `cdk deploy` would")
            synthesized = synthesize(folder / "cdk.out", context_for(aws) | dict(context or {}), progress)
            progress("deploying it through CloudFormation")
            outputs = assembly.deploy(synthesized, aws)
            return cls(folder, aws, outputs, starting.pop_all())

    def stop(self) -> None:
        """End everything; a second call does nothing."""
        self._ending.close()

    def __enter__(self) -> System:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_control_plane(
        self,
        name: str,
        *,
        karpenter: bool = True,
        node_overlay_gate: bool = True,
        any_cluster: bool = False,
        progress: Progress = lambda line: None,
    ) -> Cluster:
        """
        Start a control plane for the EKS cluster of this name; `create_cluster` then makes EKS know it.

        Args:
            karpenter: Whether Karpenter is there; if not, it starts when somebody installs its chart.
            any_cluster: It stands behind every cluster that has no control plane of its own.
        """
        folder = self.folder / "clusters" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        webhook_ca = self.folder / "token-webhook.pem"
        webhook_ca.write_text(_text(self.aws.webhook_ca_pem))
        behind = "default" if any_cluster else name
        plane = ControlPlane.start(
            folder,
            karpenter=karpenter,
            node_overlay_gate=node_overlay_gate,
            token_webhook_url=self.aws.token_webhook_url(behind),
            webhook_ca=webhook_ca,
            cluster_name=name,
            progress=progress,
        )
        self._endings[name] = ending = self._ending.enter_context(ExitStack())
        ending.enter_context(plane)
        if karpenter:
            plane.kube.apply(node_class())
        else:
            ending.enter_context(KarpenterFollower(plane))
        gpus = ending.enter_context(GpuNodes(plane.kube))
        self.aws.attach(None if any_cluster else name, plane.url, _text(plane.ca_pem))
        self.clusters[name] = Cluster(name, plane, gpus)
        return self.clusters[name]

    def end_control_plane(self, name: str) -> None:
        """What it logged stays, and so does its entry in `clusters`."""
        self._endings.pop(name).close()

    def create_cluster(self, name: str, *, tags: Mapping[str, str] | None = None, **options: Any) -> str:
        """
        Call eks:CreateCluster, which CloudTrail then tells EventBridge; returns the ARN.

        Args:
            options: Beside name and role, as boto3's create_cluster takes them; without `accessConfig` the
                authentication mode is API_AND_CONFIG_MAP, as the console's default.
        """
        options.setdefault("accessConfig", {"authenticationMode": "API_AND_CONFIG_MAP"})
        options.setdefault("resourcesVpcConfig", NETWORK)
        cluster = self.aws.client("eks").create_cluster(
            name=name,
            roleArn=f"arn:aws:iam::{self.aws.account}:role/eks",
            version=versions.chosen().minor,
            tags=dict(tags or {}),
            **options,
        )["cluster"]
        return cluster["arn"]

    def send_create_event(self, name: str, **shape: Any) -> None:
        """The CloudTrail event of a creation, without a creation; `shape` as cloudtrail.create_cluster."""
        record = cloudtrail.create_cluster(name, account=self.aws.account, region=self.aws.region, **shape)
        self.aws.events.send_record(record)

    def send_message(self, queue_output: str, body: Mapping[str, Any] | str) -> None:
        """Put a message on a queue by hand; the queue is named by the stack output that has its URL."""
        text = body if isinstance(body, str) else json.dumps(body)
        self.aws.client("sqs").send_message(QueueUrl=self.outputs[queue_output], MessageBody=text)

    def slicewise(self, *arguments: str, user: str = "") -> subprocess.CompletedProcess[str]:
        """
        The command, as an operator runs it.

        Args:
            user: Whom it takes for the one who asks; who runs this, if empty.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=ROOT,
            env={**inherited, **self.aws.environment(), **({"LOGNAME": user} if user else {})},
            capture_output=True,
            text=True,
        )

    def sweep(self) -> None:
        """Invoke the hourly sweep now."""
        self.aws.client("lambda").invoke(FunctionName="slicewise-sweep-fleet", Payload=b"{}")

    def watch_openings(self) -> None:
        """Invoke the look at openings now, which the rule calls every five minutes."""
        self.aws.client("lambda").invoke(FunctionName="slicewise-watch-openings", Payload=b"{}")

    def record(self, name: str, capability: str = "onboarding") -> dict[str, Any] | None:
        """The newest record of a capability on a cluster, as `slicewise status` reads it."""
        key = {"pk": {"S": f"cluster#{self.arn(name)}"}, "sk": {"S": f"record#{capability}"}}
        table = self.outputs["StateTableName"]
        item = self.aws.client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
        return _plain(item) if item else None

    def details(self, name: str, capability: str) -> list[dict[str, Any]]:
        """What led to the decisions of the newest record: items of their own, each in one part or several."""
        record = self.record(name, capability) or {}
        if not record.get("details_count"):
            return []
        found = self.aws.client("dynamodb").query(
            TableName=self.outputs["StateTableName"],
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={
                ":pk": {"S": f"cluster#{self.arn(name)}"},
                ":sk": {"S": f"detail#{capability}#{record['details_half']}#"},
            },
            ConsistentRead=True,
        )
        texts: dict[str, str] = {}
        for item in map(_plain, found["Items"]):
            if item["token"] == record["token"]:
                index = item["sk"].rpartition("#")[0]
                texts[index] = texts.get(index, "") + item["text"]
        return [json.loads(text) for text in texts.values()]

    def arn(self, name: str) -> str:
        return self.aws.arn("eks", f"cluster/{name}")

    def wait_for_stage(
        self,
        name: str,
        stage: str,
        *,
        within_seconds: float = 300,
        capability: str = "onboarding",
        saw: Callable[[dict[str, Any]], None] = lambda record: None,
    ) -> dict[str, Any]:
        """
        Wait until a pass records this stage; `saw` gets each record whose stage or reason is new.

        Raises:
            TimeoutError: With the last record; a note on it says where the functions' logs lie.
        """
        last: tuple[object, ...] = ()
        deadline = time.monotonic() + within_seconds
        while True:
            record = self.record(name, capability)
            if record and (news := (record["stage"], record["reason"], record["changed"])) != last:
                saw(record)
                last = news
            if record and record["stage"] == stage:
                return record
            if time.monotonic() > deadline:
                late = TimeoutError(
                    f"{name} is not {stage} after {within_seconds:.0f} s; the last record: {record}"
                )
                late.add_note(f"logs: {self.folder}/aws/lambda")
                raise late
            time.sleep(0.25)  # a look takes 10 ms of a core

    def is_quiet(self) -> bool:
        """Whether no event is on its way, and no message waits, is worked on, or is delayed in any queue."""
        from moto.sqs.models import sqs_backends

        if self.aws.events.pending():
            return False
        # In moto's memory: asked through HTTP, it takes a tenth of a second of a core.
        queues = sqs_backends[self.aws.account][self.aws.region].queues
        urls = [url for key, url in self.outputs.items() if key.endswith("QueueUrl")]
        return not any(queues[url.rpartition("/")[2]]._messages for url in urls)


def context_for(aws: Aws) -> dict[str, str]:
    """CDK context of a deployment here: this account, our policies, and charts that need no download."""
    found = {name: charts.chart(name) for name in CHARTS}
    return {
        "account": aws.account,
        "region": aws.region,
        "policies": str(POLICIES),
        "gpu_operator_chart": str(found["gpu-operator"].path),
        "gpu_operator_version": found["gpu-operator"].version,
        "karpenter_chart": str(found["karpenter"].path),
        "karpenter_crd_chart": str(found["karpenter-crd"].path),
        "karpenter_version": found["karpenter"].version,
        "install_karpenter": "true",
        # The functions run here under this interpreter, so its bytecode is what keeps them quick.
        "bytecode_python": sys.executable,
    }


def _text(pem: str | bytes) -> str:
    return pem.decode() if isinstance(pem, bytes) else pem


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    from boto3.dynamodb.types import TypeDeserializer

    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
