"""A whole cluster in one process, on virtual time, from one seed: real brains, simulated clocks, network, workers and faults."""
