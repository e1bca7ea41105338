"""Recipes: YAML with line numbers, extends, --set, the origin of each value, messages, JSON Schema."""
