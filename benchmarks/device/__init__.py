"""What `gpu_check.py` runs on a device: checks, costs, and the file that they go to."""
