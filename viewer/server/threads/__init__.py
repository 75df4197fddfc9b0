"""On which threads a server works."""
