"""What slicing saves, measured on public traces and on your own: `python -m bench --help`."""

import sys
from pathlib import Path

# Lambda adds a layer's `python` folder to the path; here we do.
_LAYER = str(Path(__file__).parents[1] / "layers" / "slicewise" / "python")
if _LAYER not in sys.path:
    sys.path.insert(0, _LAYER)
