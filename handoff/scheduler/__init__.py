"""The pure brain of the coordinator: runs, tasks, places, and the allocator."""
