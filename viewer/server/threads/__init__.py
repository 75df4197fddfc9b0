"""The threads on which a server works."""
