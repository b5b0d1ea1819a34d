"""Statistics of activations, ranges from them, and Q/DQ written into the graph."""
