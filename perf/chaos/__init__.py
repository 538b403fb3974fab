"""Faults, as a suite: a small study is run while something happens to it (Linux only).

Each scenario ends with one more, undisturbed run. Its samples and scores must then be those of a run that nobody
disturbed. Nothing may have been done twice, and no process may be left 10 seconds after its run is gone::

    python -m perf.chaos                      # make chaos
"""
