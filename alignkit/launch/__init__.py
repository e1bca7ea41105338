"""Several processes of one run, started on one machine or on each of several: what `alignkit launch` does."""
