"""The Python API behind the front door."""
