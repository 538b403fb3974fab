"""What pyproject.toml cannot say: a wheel carries MNIST and the baselines, which in git lie beside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
CARRIED = {"data/mnist/*.gz": "data/mnist", "data/README.md": "data", "results/baselines/*": "baselines"}
"""Files → their folder in ``bench/shipped``, where ``bench/paths.py`` looks for them."""


class BuildWithData(build_py):
    """Also copy what is carried. An editable install reads it from the checkout."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if self.editable_mode:
            return
        for pattern, folder in CARRIED.items():
            target = Path(self.build_lib, "bench", "shipped", folder)
            target.mkdir(parents=True, exist_ok=True)
            found = sorted(HERE.glob(pattern))
            if not found:
                raise FileNotFoundError(f"nothing to carry: no {pattern} in {HERE}")
            for path in found:
                shutil.copy(path, target)


setup(cmdclass={"build_py": BuildWithData})
