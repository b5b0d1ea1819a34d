"""From what was observed of a tensor to the range that its quantization covers: one algorithm a file."""
