"""Recipe libraries of a team: declared in alignkit.toml, locked in alignkit.lock, copied, verified before use."""
