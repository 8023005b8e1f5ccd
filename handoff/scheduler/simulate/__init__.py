"""A cluster on paper: the scheduler's brain, with nodes and a network that are arithmetic, so that a plan can be known without a run."""
