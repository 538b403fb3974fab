"""What the server of :mod:`bench.execute.processes` imports, and nothing else imports this: everything a job needs."""

import atexit
import os

os.setsid()  # an interrupt from the keyboard reaches whoever started the jobs, who then stops them
atexit.register(os._exit, 0)  # after the last job, at once: to tidy up all of this takes seconds

import torch._dynamo  # noqa: E402 (the first step of an optimiser imports it)
import torch._inductor.compile_fx  # noqa: E402, F401 (the first use of a compiled network)

import bench.job.process  # noqa: E402, F401
