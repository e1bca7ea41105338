"""Pages that are one file: a document that asks for nothing outside itself, tables, and charts with their numbers.

Text reaches a page through `element` only, which escapes it, so nothing that a model wrote is ever markup.
"""

from __future__ import annotations

from alignkit.page.charts import Series, histogram, lines, svg_file
from alignkit.page.document import document, require_place, write
from alignkit.page.elements import Child, Element, element, markup, table

__all__ = [
    "Child",
    "Element",
    "Series",
    "document",
    "element",
    "histogram",
    "lines",
    "markup",
    "require_place",
    "svg_file",
    "table",
    "write",
]
