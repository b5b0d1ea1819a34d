"""TVM: CPU and ARM libraries from schedules of our own."""
