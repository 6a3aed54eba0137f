"""The `slicewise` command: the same package that runs in the functions, on a person's machine."""

import sys
from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).parents[1]

# Installed by `make setup`, the command knows only itself; the package lies in the layer's folder beside it.
for _name, _folder in (("slicewise", _ROOT / "layers/slicewise/python"), ("bench", _ROOT)):
    if find_spec(_name) is None and str(_folder) not in sys.path:
        sys.path.append(str(_folder))
