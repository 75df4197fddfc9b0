"""The files of a walk's folder: how they are written and read."""
