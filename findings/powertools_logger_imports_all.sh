#!/usr/bin/env bash
# Powertools: who imports the Logger alone pays for Metrics and Tracer, too.
#
# Guess: `from aws_lambda_powertools.logging import Logger` loads the logging module and what it needs, so that a
#        function without metrics and traces starts faster than one that imports all three.
# Seen:  the package's own __init__ imports Logger, Metrics and Tracer before any submodule is reached, so all of
#        them are loaded; and importing Metrics as well adds no module of Powertools at all. Importing it only
#        where metrics are switched on saves nothing.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aws-lambda-powertools==3.37.0

"$folder/venv/bin/python" - <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version


def loaded(statement):
    """Powertools' modules that a fresh interpreter has after one import."""
    shown = "import sys; print(*[name for name in sys.modules if name.startswith('aws_lambda_powertools')])"
    done = subprocess.run([sys.executable, "-c", f"{statement}; {shown}"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


logger = loaded("from aws_lambda_powertools.logging import Logger")
all_three = loaded("from aws_lambda_powertools import Logger, Metrics, Tracer")
parts = sorted(part for part in ("logging", "metrics", "tracing") if f"aws_lambda_powertools.{part}" in logger)

print(f"aws-lambda-powertools {version('aws-lambda-powertools')}")
print("guess: the Logger brings neither Metrics nor Tracer")
print(f"seen: importing the Logger loads {len(logger)} modules, among them the packages {', '.join(parts)};")
print(f"      importing Logger, Metrics and Tracer loads {len(all_three)}, {len(all_three - logger)} more")
if parts != ["logging", "metrics", "tracing"] or all_three - logger:
    sys.exit("The behaviour has changed: the Logger no longer brings all of the others.")
PYTHON
