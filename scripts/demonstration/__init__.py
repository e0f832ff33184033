"""What scripts/demo runs: one simulated house, both agents, the server, and a view of it all."""
