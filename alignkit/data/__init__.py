"""Data: from files, the Hub or the built-in world to checked token rows.

Nothing is imported here: `alignkit validate` needs `data.config` alone.
"""
