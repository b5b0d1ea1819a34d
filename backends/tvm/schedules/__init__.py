"""Loop nests, a file for each op family."""
