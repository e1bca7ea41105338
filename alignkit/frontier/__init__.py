"""Reward against distance to the reference: the frontier of each method of a sweep, and the area between two."""
