"""A deterministic simulator of whole clusters of replicas (PROTOCOL P10, P11).

The production `Replica` runs on a simulated disk, network, clock and application; everything random comes from one seeded
generator, so a seed is a run. `oracle` judges every step without the replica's code.
"""
