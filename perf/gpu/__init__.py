"""Everything worth measuring on a GPU, in eight minutes: ``python -m perf.gpu``.

The sections of :data:`perf.gpu.sections.SECTIONS` run in order, the most valuable first. After every measurement the
whole file ``results/perf/gpu-<card>.json`` is written again, so that a run that is cut off loses only what it had not
reached. :class:`perf.gpu.record.Run` is the shape of the file. ``docs/gpu.md`` says how to run it on a bare machine.
"""
