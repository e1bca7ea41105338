"""The engine: from a method and token rows to an objective."""
