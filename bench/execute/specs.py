"""The jobs of a study that are left, in the order to run them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from bench.execute import cost
from bench.execute.schedule import Options, pending
from bench.job import engine
from bench.job.spec import JobSpec
from bench.store.status import Found
from bench.store.store import Store
from bench.study.study import Study


class Specs(Iterator[JobSpec]):
    """What is left of a study: the first training seed of all, then the next. So a whole report can soon be written.

    Of one seed teachers come first, then the longest job, so that none is alone at the end.

    What is left is looked up when the first is asked for: another run may have done part of it until then. Each job is
    estimated when it is asked for, from what the jobs before it took.
    """

    def __init__(self, study: Study, store: Store, options: Options) -> None:
        self._study, self._store, self._options = study, store, options
        self._order: deque[Sequence[Found]] | None = None

    @property
    def left(self) -> int:
        """How many have not been asked for."""
        return len(self._order or ())

    def __next__(self) -> JobSpec:
        """The next job."""
        if self._order is not None and not self._order:
            raise StopIteration
        expected = self._expected()
        if self._order is None:
            left = pending(self._study, self._store, self._options.retry).values()
            self._order = deque(sorted(cost.longest_first(left, self._store, expected), key=self._turn))
        if not self._order:
            raise StopIteration
        return self._spec(self._order.popleft(), expected)

    def _turn(self, left: Sequence[Found]) -> tuple[int, bool]:
        """When a job's turn comes; in a stable sort those with the same turn stay as they are."""
        job, seeds = left[0].cell.job, self._study.axes.seed
        return seeds.index(job.seed) if job.seed in seeds else 0, job.key in self._study.jobs

    def _expected(self) -> cost.Model:
        return cost.calibrate(self._store, self._options)

    def _spec(self, left: Sequence[Found], expected: cost.Model) -> JobSpec:
        own = self._study.jobs.get(left[0].cell.job.key)
        options, cells = self._options, own or [found.cell for found in left]
        wish = engine.wish(options.engine, cells, self._study.jobs.values(), options.device)
        return JobSpec(
            cells=tuple(cells),
            results=self._store.root.resolve(),
            device=options.device.partition(":")[0],
            threads=options.threads_each,
            exclusive=options.exclusive,
            data_dir=options.data_dir.resolve() if options.data_dir else None,
            sample_batch=options.sample_batch,
            engine=wish.name,
            calls=wish.calls,
            likelihood=self._study.score.likelihood,
            only_train=own is None,
            estimate_s=expected.seconds(left, self._store),
        )
