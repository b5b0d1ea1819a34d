"""The part of CUDA's runtime that running an engine takes, through cuda-python or PyCUDA."""
