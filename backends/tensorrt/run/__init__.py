"""From an engine to numbers and times, on a GPU."""
