"""How a machine is divided among the jobs of a study: what a trial found, as the results folder keeps it."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

from bench.machine.environment import Count
from bench.store.records import Finite, Record, Some


class SplitRecord(Record):
    """``workers`` jobs at once with ``threads`` each, for a study on a machine of so many ``cores``.

    ``asked`` is the number of threads that the user asked for, None where the trial was free to choose.
    ``jobs_an_hour`` has what each split reached, by its name.
    """

    kind: ClassVar[Any] = "workers"
    study: str
    machine: str
    cores: Count
    asked: Count | None
    workers: Some
    threads: Some
    jobs_an_hour: dict[str, Finite]

    @staticmethod
    def key_of(study: str, machine: str, cores: int, asked: int | None) -> str:
        """What names the split of those."""
        return hashlib.sha256(f"{study} {machine} {cores} {asked} split".encode()).hexdigest()[:16]

    def belongs_to(self, key: str) -> bool:
        """Whether this is the record of that key, which is its file's name."""
        return self.key_of(self.study, self.machine, self.cores, self.asked) == key
