#!/usr/bin/env bash
# Kubernetes' Python dynamic client: `"app" in pod.metadata.labels` is False, whatever the labels are.
#
# Guess: labels of an object read by the dynamic client behave as the dictionary they look like:
#        labels["app"], labels.get("app"), labels.items() all work.
# Seen:  they have no `in` of their own. Python falls back to iterating, which gives (key, value) pairs, so
#        a key is never found and nothing is raised: "skip what carries this label" skips nothing.
#        dict(labels), or to_dict() of the whole object, answers rightly. A misspelt field is None, not an error.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kubernetes==37.0.1

"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

from kubernetes.dynamic.resource import ResourceInstance

pod = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "train", "labels": {"app": "train", "keep": "awake"}},
    "spec": {"nodeName": "gpu-1"},
}
read = ResourceInstance(None, pod)  # what DynamicClient.get() returns
labels = read.metadata.labels

seen = {
    'labels["keep"]': labels["keep"],
    'labels.get("keep")': labels.get("keep"),
    '"keep" in labels': "keep" in labels,
    '"keep" in dict(labels)': "keep" in dict(labels),
    '"keep" in to_dict()': "keep" in read.to_dict()["metadata"]["labels"],
    "spec.nodName": read.spec.nodName,
}

print(f"kubernetes {version('kubernetes')}")
print('guess: "keep" in labels is True')
for expression, value in seen.items():
    print(f"seen: {expression} -> {value!r}")
if list(seen.values()) != ["awake", "awake", False, True, True, None]:
    sys.exit("The behaviour has changed: labels know what is in them.")
PYTHON
