"""Handoff: graphs of Python functions, run across machines."""
