"""
Each name of ours on what is not ours alone: labels and annotations of objects, tags of AWS resources.

They are our interface with people, with other releases of ours, and with what is in clusters already: one
that changes here is another name, and what has the old one is lost. All else imports them, the CDK app and
the sandbox, too; tests and docs spell them out.
"""

from __future__ import annotations

PREFIX = "slicewise.dev/"

# Tags of an EKS cluster, by which its people configure us.
POLICY_TAG = "slicewise.dev/policy"
ALLOW_ACCESS_ENTRIES_TAG = "slicewise.dev/allow-access-entries"
# Tag of an alarm: the ARN of the cluster that it is about.
CLUSTER_TAG = "slicewise.dev/cluster"

# On every object that we apply: a digest of what we applied.
APPLIED = "slicewise.dev/applied"

POOL_LABEL = "slicewise.dev/pool"
# On nodes of a pool that is split: N of their class. Also a taint, but for class 1, and on a workload `auto`.
CLASS_LABEL = "slicewise.dev/class"
# On a workload that opted in: the class that we wrote, and when.
MOVED_ANNOTATION = "slicewise.dev/class-moved"
# On a NodePool's own metadata, which is not hashed: the policy's `sharing`.
SHARING_LABEL = "slicewise.dev/sharing"
# On a NodePool's own metadata as well: a change of N under way, and what tuning remembers of the pool.
ROLLOUT_ANNOTATION = "slicewise.dev/rollout"
TUNING_ANNOTATION = "slicewise.dev/tuning"
# And how long its nodes took to start.
STARTUP_ANNOTATION = "slicewise.dev/startup"
# When tuning wrote another N to a Node, NodeClaim or NodeOverlay, and when it cordoned a Node.
CHANGED_ANNOTATION = "slicewise.dev/changed"
CORDONED_ANNOTATION = "slicewise.dev/cordoned"
# On a Node: since when it has blocked rollouts, as long as it does not work as its label says.
WAITED_ANNOTATION = "slicewise.dev/waited-for"
# On a Node: when its device plugin had not followed a label to fewer slices, so that it is replaced.
GIVEN_UP_ANNOTATION = "slicewise.dev/given-up"
# On a Deployment or StatefulSet: how many pods share a GPU where its pods run, for what scales it.
SLICES_ANNOTATION = "slicewise.dev/slices-per-gpu"
# On a NodePool's own metadata while such annotations may be there: as long as that lasts, the workloads are
# read, and onboarding leaves the tuner the right to remove them.
PUBLISHES = "slicewise.dev/publishes-slices"
# On an adopted NodePool: the settings that it had, to be put back when it is left.
ORIGINAL_ANNOTATION = "slicewise.dev/original"

# On a NodePool's own metadata while it sleeps off-hours: when it will wake. No other writer changes it
# meanwhile.
ASLEEP = "slicewise.dev/asleep"
# On each object that sleeps and that we may patch as a whole: what its fields were (offhours/originals.py).
ASLEEP_WAS = "slicewise.dev/asleep-was"
# On a NodePool's own metadata while a StatefulSet still has to get back that it deletes its volumes: as long
# as that lasts, onboarding leaves the sleeper the right to do so.
RETAINS = "slicewise.dev/retains-volumes"
# On it while a job is suspended: as long as that lasts, onboarding leaves the sleeper the right to resume it.
SUSPENDS = "slicewise.dev/suspends-jobs"
# On a NodePool's own metadata while something sleeps by a switch of a policy's own (policy/switches.py):
# which ones. As long as it is there, onboarding leaves off-hours the right to restore them.
SWITCHES = "slicewise.dev/sleeps-by"
# On a fallback model's NodePool while it may have nodes: until when. Onboarding leaves its limit alone then.
OPENED = "slicewise.dev/opened"
# On a NodePool's own metadata: a fallback model's, which has no nodes but where EC2 has none of the others.
FALLBACK_LABEL = "slicewise.dev/fallback"
# On what makes pods, or on pods: it does not sleep.
KEEP_AWAKE = "slicewise.dev/keep-awake"
# On what would otherwise be left, since 0 replicas may end it: it sleeps at 0 like anything else.
SLEEPS = "slicewise.dev/sleeps"

# A resource that no node has, in the overlay by which onboarding asks Karpenter whether it reads overlays.
GATE_PROBE_RESOURCE = "slicewise.dev/gate-probe"
