"""What the server of :mod:`bench.processes` imports, and nothing else imports this: everything a job needs."""

import os

import torch._dynamo  # noqa: F401 (the first step of an optimiser imports it)

import bench.run  # noqa: F401

os.setsid()  # an interrupt from the keyboard reaches whoever started the jobs, who then stops them
