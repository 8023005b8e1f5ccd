"""What a run was like: pure code over simple records, which a plan can be told in as well. Starts at `records`."""
