"""A study, expanded to jobs (training runs) and cells (ways to sample one) before anything runs."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from bench.errors import UserError
from bench.rows import entries, names
from bench.study.claims import Claim
from bench.study.claims import parse as parse_claim
from bench.study.design import Design, Score, on_axis
from bench.study.model import Cell
from bench.study.wrong import wrong

__all__ = ["Score", "Study"]


def _folder(name: str) -> str:
    """The name, which reports have as their folder's and show as it is."""
    if not name or not name.isprintable() or name[0] in ".-" or {"/", "\\"} & set(name):
        raise wrong(
            "name: a study's name is also a folder's: printable characters without / and \\, not starting with . or -",
            "name",
        )
    return name


class Study(Design):
    """A parsed study file."""

    name: Annotated[str, Field(max_length=100), AfterValidator(_folder)]
    description: str = ""
    claims: list[str] = []  # what its report is to judge: see bench.analysis.claims
    beside: str | None = None  # a study on whose cells its report is to judge them too: see bench.analysis.beside

    @model_validator(mode="after")
    def _claims_are_about_it(self) -> Study:
        for i, text in enumerate(self.claims):
            try:
                _ = self._claim(text)
            except ValueError as error:
                raise wrong(f"claims: {error}", "claims", i) from error
        return self

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell, jobs in order, exclusions applied.

        :raises UserError: for impossible or duplicate cells, naming them.
        """
        from bench.study.expand import expand  # which loads torch

        try:
            return list(expand(self))
        except ValueError as error:
            raise UserError(f"study '{self.name}': {error}") from error

    @cached_property
    def jobs(self) -> dict[str, list[Cell]]:
        """Job key → its cells."""
        jobs: dict[str, list[Cell]] = {}
        for cell in self.cells:
            jobs.setdefault(cell.job.key, []).append(cell)
        return jobs

    @cached_property
    def hypotheses(self) -> list[Claim]:
        """The claims, read.

        :raises ValueError: saying what is wrong with one.
        """
        return [self._claim(text) for text in self.claims]

    def _claim(self, text: str) -> Claim:
        claim = parse_claim(text, dict(self.axes), names("metric"), on_axis)
        if claim.times != 1 and entries("metric")[claim.metric].compared == "difference":
            raise ValueError(f"'{text}': {claim.metric} is compared by differences, not by how many times")
        return claim

    def warnings(self) -> list[str]:
        """What a careful reader should know before running: see :mod:`bench.study.cautions`."""
        from bench.study.cautions import cautions  # which loads torch

        return cautions(self.cells)
