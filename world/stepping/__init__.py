"""Decoding the frames of a step, for one or many sessions."""
