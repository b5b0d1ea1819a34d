"""Artifacts run, compared with the float model, and timed, each in a child process."""
