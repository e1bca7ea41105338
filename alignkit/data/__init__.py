"""Data: from files, the Hub or the built-in world to checked token rows."""

from __future__ import annotations

from alignkit.data.preview import preview as preview
from alignkit.data.tables import load_tables as load_tables
from alignkit.data.tables import training_texts as training_texts
from alignkit.data.tokenising import template_fingerprint as template_fingerprint
