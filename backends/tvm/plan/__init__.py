"""What is compiled: which nodes become one kernel, and how each value lies in memory. Imports no TVM."""
