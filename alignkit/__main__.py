"""`python -m alignkit`, for launchers that start a module."""

from alignkit.cli import main

main()
