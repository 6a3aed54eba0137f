"""
Work that runs to completion, at night: which jobs are suspended where the policy says so, and why others run
on. Pure.

A job is suspended by its own field. One that Kueue admits never is: Kueue would start it again at once. There
its Workload is made inactive, by which Kueue ends the job and keeps its place in the queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from slicewise.kube.labels import KEEP_AWAKE
from slicewise.kube.objects import controller_of, labels, spec
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.offhours import queues
from slicewise.offhours.kinds import QUEUE_LABEL, NightBehaviour, Why, makes_jobs
from slicewise.offhours.observation import Found
from slicewise.offhours.targets import Workload
from slicewise.planning.outcome import Finding
from slicewise.policy.off_hours import Jobs, OffHours

_AT_ITS_OWNER = f"Suspend it there, or mark its pods {KEEP_AWAKE}."
_NO_SWITCH = f"Stop it by hand, or mark its pods {KEEP_AWAKE}."


def for_the_night(made: Iterable[Workload], found: Found, policy: OffHours) -> tuple[Workload, ...]:
    """Jobs that are suspended sleep like anything else."""
    if policy.jobs is not Jobs.SUSPEND:
        return tuple(made)
    return tuple(_for_the_night(work, found) for work in made)


def _for_the_night(work: Workload, found: Found) -> Workload:
    runs_on = work.behaviour is not NightBehaviour.JOB or why_it_runs_on(work, found)
    return work if runs_on else replace(work, behaviour=NightBehaviour.SLEEPS)


def why_it_runs_on(work: Workload, found: Found) -> Why | None:
    """Of a job, where the policy has jobs suspended; None where it is."""
    if work.ref in found.queues.admitted or queues.is_inactive(found.queues.by_owner.get(work.ref, {})):
        return None
    if queues.are_unread(found.unread):
        return "whether Kueue admits it cannot be read", "Restore what could not be read: another finding."
    if QUEUE_LABEL in labels(work.top) or work.ref in found.queues.by_owner:
        return "Kueue admits it, and shows no Workload of it that runs", "Check its Workload in Kueue."
    row, owner = found.kinds.row_of_object(work.top), controller_of(work.top)
    if owner and not makes_jobs(owner):
        return f"{owner['kind']} {owner['name']} makes it, and may put it back", _AT_ITS_OWNER
    if row is None or not row.is_job:
        return f"no field of {work.top['kind']} is known that suspends it", _NO_SWITCH
    if not spec(work.top):
        return (
            "it could not be read",
            "Wait for the next reconcile of onboarding, which grants the right to it.",
        )
    return row.unsuspendable(work.top)


def switches(found: Found) -> Mapping[Ref, Ref]:
    """What is put to sleep by another object than itself: by KEDA's, or by Kueue's."""
    evicted = {ref: ref_of(item) for ref, item in found.queues.by_owner.items()}
    return {**found.scaled_by_keda, **evicted}


def to_be_deactivated(made: Iterable[Workload], found: Found) -> dict[Ref, Object]:
    """By name, the Workloads of jobs that run and are suspended for the night."""
    running = found.queues.admitted
    sleeping = (work for work in made if work.behaviour is NightBehaviour.SLEEPS and not work.keeps_awake)
    return {ref_of(running[work.ref]): running[work.ref] for work in sleeping if work.ref in running}


def open_queues(found: Found, policy: OffHours) -> Iterable[Finding]:
    if policy.jobs is Jobs.RUN and found.node_pools:
        names = ", ".join(pool["metadata"]["name"] for pool in found.node_pools)
        yield Finding(
            "queues-open",
            f"Jobs may start all night (jobs: run): {names} may have GPU nodes up to their own limits, and "
            "no queue is held.",
            "No action needed. To have them wait for the morning: jobs: finish.",
        )
