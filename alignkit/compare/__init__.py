"""Runs against each other, item by item: differences with intervals, and what they allow to be said."""
