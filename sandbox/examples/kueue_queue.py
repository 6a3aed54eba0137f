"""Kueue's queue of examples/video-encode/kueue, and Jobs like the example's that wait in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from sandbox.demo.steps import GPU
from sandbox.examples.world import ExampleCluster, rendered

PART = "kueue"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
OWNER = "job-name={}"


class KueueQueue:
    """
    The ClusterQueue of the example's files.

    Attributes:
        quota: Slices that Jobs may hold together, as the files have it.
    """

    def __init__(self, cluster: ExampleCluster):
        self._cluster = cluster
        queue = next(item for item in rendered(cluster.example, PART) if item["kind"] == "ClusterQueue")
        [group] = queue["spec"]["resourceGroups"]
        [flavor] = group["flavors"]
        self._index = next(at for at, one in enumerate(flavor["resources"]) if one["name"] == GPU)
        self._name = queue["metadata"]["name"]
        self._path = cluster.kube.path(queue)
        self.quota = int(flavor["resources"][self._index]["nominalQuota"])

    def status(self) -> dict[str, int]:
        """In Kueue's own words: Workloads that are admitted and pending, and slices that are held."""
        status = self._cluster.kube.get(self._path).get("status", {})
        held = [
            int(resource.get("total", 0))
            for flavor in status.get("flavorsUsage", ())
            for resource in flavor["resources"]
            if resource["name"] == GPU
        ]
        return {
            "admitted": status.get("admittedWorkloads", 0),
            "pending": status.get("pendingWorkloads", 0),
            "slices": sum(held),
        }

    def raise_quota(self, slices: int) -> str:
        """`kubectl patch`, as the example's page has it; the command."""
        path = f"/spec/resourceGroups/0/flavors/0/resources/{self._index}/nominalQuota"
        patch = json.dumps([{"op": "replace", "path": path, "value": str(slices)}])
        command = ("patch", "clusterqueue", self._name, "--type=json", "-p", patch)
        self._cluster.kubectl(*command)
        return f"kubectl {' '.join(command[:-1])} '{patch}'"

    def pods_of_suspended(self) -> int:
        """Of Jobs that Kueue has not started: pods would wait for nodes, Jobs wait for the quota."""
        return sum(len(self._pods(job)) for job in self._jobs() if job["spec"].get("suspend"))

    def end_one(self, completions: int) -> list[str]:
        """Have all pods of a Job end that runs and has this many completions; its name, if there is one."""
        found = [job for job in self._jobs() if _runs(job) and job["spec"]["completions"] == completions][:1]
        for job in found:
            self._cluster.end(self._pods(job))
        return [job["metadata"]["name"] for job in found]

    def completed(self) -> list[str]:
        return [
            job["metadata"]["name"]
            for job in self._jobs()
            for condition in job.get("status", {}).get("conditions", ())
            if (condition["type"], condition["status"]) == ("Complete", "True")
        ]

    def _jobs(self) -> list[dict[str, Any]]:
        return self._cluster.kube.list(JOBS)

    def _pods(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._cluster.pods(OWNER.format(job["metadata"]["name"]))


def shorter(job: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A Job like this one, of another name, that is over once as many pods as run at a time have ended."""
    made: dict[str, Any] = deepcopy(dict(job))
    made["metadata"]["name"] = name
    made["spec"]["completions"] = made["spec"]["parallelism"]
    return made


def _runs(job: Mapping[str, Any]) -> bool:
    return not job["spec"].get("suspend") and not job.get("status", {}).get("completionTime")
