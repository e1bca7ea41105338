"""Makes the toy step importable for the tests of the loop, which also run it in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
