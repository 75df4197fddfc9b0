"""A walk on the disk: all of it, or what has changed since."""
