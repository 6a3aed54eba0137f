"""YAML by libyaml, where PyYAML has it: definitions and charts are megabytes, half a minute each without."""

from __future__ import annotations

import yaml

LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
