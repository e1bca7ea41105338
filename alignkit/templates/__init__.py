"""What `alignkit new plugin` writes: a working component of each kind, in a file named after it, called `Template`."""
