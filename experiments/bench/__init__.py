"""What genlib costs, and how fast it is beside other libraries; `make bench` runs every comparison."""
