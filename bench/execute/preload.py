"""What the server of :mod:`bench.execute.processes` imports, and nothing else imports this: everything a job needs."""

import atexit
import os
from importlib.metadata import entry_points

os.setsid()  # an interrupt from the keyboard reaches whoever started the jobs, who then stops them
atexit.register(os._exit, 0)  # after the last job, at once: to tidy up all of this takes seconds

import torch._dynamo  # noqa: E402 (the first step of an optimiser imports it)
import torch._inductor.compile_fx  # noqa: E402, F401 (the first use of a compiled network)

import bench.job.process  # noqa: E402, F401
from bench import rows  # noqa: E402
from ddpm.nets import make_net  # noqa: E402

# looking for other packages' rows takes a fifth of a second: once, and not in every job; those jobs load themselves
if not entry_points(group=rows.GROUP):
    rows.origins()
make_net("unet(width=8,inner=8,blocks=1,middle=1)", 1, 28)  # the first network of a process takes a third of a second
