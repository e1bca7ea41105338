"""What a run shows: its start, its progress, its result and where its token weights lie."""
