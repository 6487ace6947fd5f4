"""What `bench/drivers.py` measures, and where."""
