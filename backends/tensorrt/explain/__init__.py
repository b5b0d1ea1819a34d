"""Why an engine is as fast, and as large, as it is."""
