"""What is kept of walks: the files of a walk's folder, as they are read and written."""
