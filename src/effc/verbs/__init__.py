"""A verb a file: a typed function whose result is what `--json` prints."""
