"""A node: the daemon on each machine, its brain, its workers, its results."""
