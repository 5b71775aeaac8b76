"""The loops of the compiled backend, for numba, a file per topic. Nothing here decides when each is used.

**The same bits as the reference.** Each loop does what NumPy does to an element, in the same order and with the same
roundings (no fused multiply-add, no reassociation, sums over rows in NumPy's pairwise order), so a run may change from
one implementation to the other between two steps and nobody can tell. exp and log stay NumPy's own: two libraries round
them differently.

They release the GIL and keep no state, so any number of Python threads may call them. A loop is of one thread; how its
work is divided among several, each with some of the rows, is decided by what it says of its arguments (``@loop``).
"""
