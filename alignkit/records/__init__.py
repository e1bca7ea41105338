"""What a run leaves on the disk: durable files, fingerprints, versions, locks, typed records."""
