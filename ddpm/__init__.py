"""A small diffusion core: one algebra of mixes, from which noising, targets, recovery and samplers follow.

The modules, in the order they build on one another: :mod:`ddpm.mix`, :mod:`ddpm.schedule`,
:mod:`ddpm.objective`, :mod:`ddpm.denoiser`, :mod:`ddpm.sampler`, :mod:`ddpm.nets`, :mod:`ddpm.train`
and, for tests and oracles, :mod:`ddpm.oracle`.
"""
