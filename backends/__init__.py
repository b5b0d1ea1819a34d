"""Backends: a folder each, found by `find`, never listed."""
