"""Evaluation: what is measured on held-out rows."""
