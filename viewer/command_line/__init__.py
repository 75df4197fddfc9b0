"""The commands of `roam` as functions: their options, and the one call that does the work."""
