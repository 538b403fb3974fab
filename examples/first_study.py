"""A first study from Python: two objectives, a small network, little training.

Run it anywhere: ``python examples/first_study.py``. Results go to ``first-results`` in the working directory. Run it
again, and nothing is done twice.
"""

import ddpm_bench

RESULTS = "first-results"
STUDY = {
    "name": "first",
    "train": {"epochs": 1, "batch_size": 64, "images": 2000},
    "axes": {
        "net": [{"unet": {"width": 8, "inner": 32, "blocks": 1, "middle": 1}}],
        "objective": ["eps", "v"],
        "schedule": ["cosine"],
        "sampler": ["ddim"],
        "sample_steps": [5, 10],
    },
    "score": {"n": 200},
}

study = ddpm_bench.load_study(STUDY)
print(f"{len(study.jobs)} networks to train, {len(study.cells)} ways to sample them")

table = ddpm_bench.run(study, results=RESULTS, device="cpu", engine="eager")
print(table[["objective", "sample_steps", "fid", "fid_floor", "status"]].to_string(index=False))

best = table.sort_values("fid").iloc[0]
images = ddpm_bench.samples(best["key"], results=RESULTS)
print(f"lowest FID: {best['objective']} in {best['sample_steps']} steps; its samples: {images.shape}, {images.dtype}")

network = ddpm_bench.network(best["key"], results=RESULTS, device="cpu")
more = network.sample(16, seed=1, steps=20)
print(f"16 more, in 20 steps: {tuple(more.shape)}, mean {more.float().mean():.0f} of 255")
