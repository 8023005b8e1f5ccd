"""The coordinator process: a shell around the scheduler brain."""
