"""alignkit: declarative preference alignment where you choose which tokens carry the preference."""

__version__ = "0.1.0"
