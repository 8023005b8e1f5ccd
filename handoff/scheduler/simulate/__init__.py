"""A cluster on paper: the scheduler's brain, with nodes and a network that are arithmetic. What a plan would come to, without running it."""
