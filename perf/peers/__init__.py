"""Measured against its peers, on one machine in one run: ``make peers``, or ``python -m perf.peers --help``.

Everybody sees the same MNIST (in memory), threads and scoring (the pinned classifier's FID). The contenders are ours
(``perf/peers/ours.py``), diffusers (``huggingface.py``) and denoising-diffusion-pytorch (``lucidrains.py``), each peer
with its documented network and recipe, and with the best of several smaller ones, found by a search that is part of the
record. All durations are seconds of wall-clock, training alone where they say so.

``results/perf/peers.json`` (beside ``name``, ``command``, ``created``, ``environment`` of :mod:`perf.record`)::

    setup: {dataset, dataset_sha256, classifier, target (a share of the ceiling), versions: {library: version}, wall_s
            (of all stages), and every option: seconds, search_seconds, ours_seconds, sampling_seconds, n, search_n,
            least_n, evaluations, turn_s, batch, repeats, longer, seed, quick}
    bounds: {"<n>": {floor, ceiling, target}}                       FIDs of n test images, of noise, and the target
    contenders: [{id, library, role: "ours"|"best"|"documented", label, settings, recipe: {lr, batch_size, …}, params}]
                                                                     id = "<library>/<role>", or "ours"
    search: [{library, label, settings, recipe, params, planned_s, train_s, steps, n, fid, sample_s, chosen: bool}]
    rates: [{id, batch_size, train_step_s: [raw], train_images_per_s, sample_batch, sample_steps, sample_s: [raw],
             sample_image_steps_per_s}]                              medians of the raw samples, taken in turn
    runs: [{id, planned_s, train_s, steps, images,
            snapshots: [{mark_s, train_s, step, n, fid, confidence, target, hit: bool, sample_s}]}]
    equal_time: [{id, train_s, n, fid, ours_at_n, ratio}]            ratio = fid / ours_at_n, both of n images;
                                                                     ours_at_n − ours at full n is what a small n adds
    time_to_target: [{id, seconds: float|null, missed: bool, budget_s, ratio: float|null}]
                                                  ratio = seconds / ours; missed: budget_s / ours, a lower bound
    equal_network: {label, batch, steps, n, ours_s: [raw], diffusers_s: [raw], ours_image_steps_per_s,
                    diffusers_image_steps_per_s, ratio, fid_n, ours_fid, diffusers_fid}

A null FID means that samples were not finite.
"""
