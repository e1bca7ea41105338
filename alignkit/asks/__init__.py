"""Numbers per response token that are known before training: computed once, kept on disk, looked up in every step."""
