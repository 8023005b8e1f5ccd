"""What a run would be like: the cluster's own scheduler decides in this process, over nodes and a network on paper. Starts at `plan`."""
