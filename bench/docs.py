"""The reference pages in ``docs/``, one a family, from the docstrings: ``python -m bench.docs`` writes them."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.paths import ROOT
from bench.score import metrics
from bench.score.calibrated import BLIND
from bench.study.axes import AXES
from bench.text import listing
from ddpm import base, nets, objective, sampler, schedule, spacing, teach, timestep
from ddpm.spec import parameters

FOLDER = ROOT / "docs"
WRITTEN = "<!-- written by `python -m bench.docs` from the docstrings -->"
Rows = dict[str, tuple[Any, str]]
"""name → (what has the docstring, and the options), and a word on its place in the table."""


def _text(of: Callable[..., Any]) -> str:
    """The docstring as Markdown."""
    text = inspect.getdoc(of) or ""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    refused = (re.sub(r"^:raises ValueError: (if|unless) ", r"It is refused \1 ", part) for part in paragraphs)
    return "\n\n".join(re.sub(r"^Use: ", "**Use** ", part) for part in refused)


class Family(NamedTuple):
    """A page: its title, what a reader should know first, where rows are added, and the rows."""

    title: str
    intro: str
    where: str
    rows: Callable[[], Rows]


BETTER = {"lower": "Lower is better.", "higher": "Higher is better.", None: "Neither lower nor higher is better."}

FAMILIES: dict[str, Family] = {
    "nets": Family(
        "Networks",
        "A network takes the noisy image x_t and the time t/T. Its output has the shape of x_t. With `variance` it "
        "has twice as many channels. With `classes` it can be told the class. Reports say how many parameters each "
        "network has and how long it takes. A study can also name `oracle`, which is exact for the training images "
        "and needs no training.",
        "ddpm/nets/__init__.py",
        lambda: {name: (row, "") for name, row in nets.NETS.items()},
    ),
    "objectives": Family(
        "Objectives",
        "An objective is what the network learns to predict. It is a mix, (a x₀ + b ε + c z), of the clean image, its "
        "noise and fresh noise z ([the algebra](algebra.md)). Samplers see only the estimates x̂₀ and ε̂. Both follow "
        "from the output of any objective.",
        "ddpm/objective.py",
        lambda: {name: (row.target, f"Trained with weight `{row.weight}` unless a study says otherwise.")
                 for name, row in objective.OBJECTIVES.items()},
    ),
    "weights": Family(
        "Loss weights",
        "A loss weight multiplies the squared error at each step t. Each but `unit` is stated for one objective "
        "and converted for any other. So its name means the same loss on x₀ for every objective. `unit` is 1 for each "
        "objective's own error. `default` in a study is the objective's own weight. SNR is the signal-to-noise ratio "
        "α_t²/σ_t².",
        "ddpm/objective.py",
        lambda: {name: (row.table, "Stated on the error of the objective itself." if row.of is None else
                        f"Stated on the error of `{row.of}`.") for name, row in objective.WEIGHTS.items()},
    ),
    "schedules": Family(
        "Noise schedules",
        "A schedule says how much noise there is at each step. It is x_t = α_t x₀ + σ_t ε with α_t² + σ_t² = 1, for "
        "t = 0 … T. Papers write ᾱ_t for α_t², and β_t for 1 − ᾱ_t/ᾱ_{t−1}.\n\n"
        "Every schedule also has the option `zero_snr` (false). It shifts and stretches √ᾱ, so that it ends at 0 and "
        "keeps its first value (Lin et al., arXiv 2305.08891, algorithm 1). Then no signal is left in x_T, and `eps` "
        "and `score` are refused.",
        "ddpm/schedule.py",
        lambda: {name: (row, "") for name, row in schedule.SCHEDULES.items()},
    ),
    "samplers": Family(
        "Samplers",
        "A sampler makes an image from the noise x_T. A step goes from a time t to an earlier time s. S steps take S "
        "evaluations of the network, unless its row says otherwise. What samplers do best on MNIST is in "
        "[What was found so far](findings.md).\n\n"
        "Five axes change how a sampler works. `spacing` says which steps it visits ([spacings](spacings.md)). `eta` "
        "is how much noise `ddim` draws: it multiplies the standard deviation of the noise, as in the DDIM paper. "
        "`guidance` is the scale of classifier-free guidance, for a network that knows classes. 0 is no class and 1 is "
        "the class alone. Any other scale takes twice the evaluations.\n\n"
        "`clip` says what is done to x̂₀ at each step: `true` clips it to [−1, 1], and `false` does nothing. `dynamic` "
        "clips it to [−q, q] and divides it by q. For each image, q is the 99.5th percentile of |x̂₀|, and at least 1 "
        "(Imagen, arXiv 2205.11487, section 2.3).\n\n"
        "`start` begins sampling at a share of T, from a sample of the network's [base](bases.md) with noise.",
        "ddpm/sampler.py",
        lambda: {name: (row, _evaluations(name)) for name, row in sampler.SAMPLERS.items()},
    ),
    "spacings": Family(
        "Spacings",
        "A spacing says which of the T steps a sampler visits. There are always exactly S different ones.",
        "ddpm/spacing.py",
        lambda: {name: (row, "") for name, row in spacing.SPACINGS.items()},
    ),
    "timesteps": Family(
        "Choice of t in training",
        "In training, each image of a batch is noised to a step t. These rows say how t is chosen.",
        "ddpm/timestep.py",
        lambda: {name: (row, "") for name, row in timestep.TIMESTEPS.items()},
    ),
    "teach": Family(
        "Where the x₀ of the target comes from",
        "Plain diffusion training compares the network with the data's x₀. For one to eight sampling steps, the x₀ in "
        "the target comes from a network instead: this one or a teacher. It is called x̃₀, and "
        "ε̃ = (x_t − α_t x̃₀)/σ_t takes the place of ε. Objective, weight and schedule stay the same. Sample with "
        "`spacing: [trailing]`, whose steps are equally long.",
        "ddpm/teach.py",
        lambda: {name: (row, "") for name, row in teach.TEACH.items()},
    ),
    "bases": Family(
        "What a network starts from",
        "A base is a denoiser in closed form. It is fitted to the training images before the first step, and the "
        "network learns the rest: the network's output is added to what the base would answer. The base's x̂₀ is a "
        "second input of the network, beside x_t. So `scorenet` cannot have a base. Nor can a network that is told of "
        "a second time (`teach: meanflow` and `shortcut`). EDM's preconditioning is the same idea, with a base that is "
        "linear in x_t ([the objective `edm`](objectives.md#edm)). The axis `base` names one.\n\n"
        "Images can also be drawn from a base, without the network. Sampling can start from such an image with noise, "
        "and leave out the steps with more noise: the axis [`start`](axes.md#start) says where. What that gives in one "
        "to eight steps is in [What was found so far](findings.md#bases-one-step-from-a-mixture-of-gaussians).",
        "ddpm/base.py",
        lambda: {name: (row, "") for name, row in base.BASES.items()},
    ),
    "metrics": Family(
        "Metrics",
        "A metric compares a cell's samples with the training images, the reference. It uses the features of the "
        "headline [judge](results.md#judges), unless its row names another. Compare numbers only for the same judge, "
        "the same reference and the same N.\n\n"
        "Training runs also have `bpd`, the variational bound on held-out images in bits a dimension. With "
        "`score: {likelihood: 100}` they also have `bound_bpd`, the bound of 100 test images. Its parts are "
        "`prior_bpd` (L_T) and `decoder_bpd` (L₀). `flow_bpd` is the likelihood by the probability-flow equation.\n\n"
        "What a metric does not see was [measured](../reports/metrics/report.md): damage that was done to real images "
        "of MNIST, in sets of 1,000. Metrics without such a line were not measured.",
        "bench/score/metrics.py",
        lambda: {name: (row.of, f"{BETTER[row.better]}{_blindness(name)}") for name, row in metrics.METRICS.items()},
    ),
}  # fmt: skip
"""Page's name → family."""


def page(family: Family) -> str:
    """The Markdown of a family."""
    parts = [
        f"# {family.title}",
        WRITTEN,
        family.intro,
        f"To add one, write a function and a row of one table in `{family.where}` ([Extending](extending.md)).",
    ]
    for name, (row, note) in family.rows().items():
        parts += [f"## `{name}`", _text(row)]
        options = _options(row)
        if options:
            parts.append("Options: " + ", ".join(f"`{key}` ({_plain(value)})" for key, value in options.items()) + ".")
        if note:
            parts.append(note)
    return "\n\n".join(parts) + "\n"


VALUES: dict[type, str] = {int: "whole numbers", float: "numbers", bool: "`true` or `false`", str: "text"}
"""What an axis without rows holds."""


def axes_page(every: Iterable[str]) -> str:
    """The Markdown of the axes; ``every`` are the names of the other pages."""
    parts = [
        "# Axes",
        WRITTEN,
        "An axis is one thing that a study varies. It is a list under `axes:`, if its paragraph does not say "
        "otherwise. The grid has all combinations of the lists. An axis that you leave out has its usual value.",
        "To add one, write a field of `Job` or `Sampling` in `bench/study/model.py`.",
    ]
    for axis in AXES:
        values = VALUES[axis.holds]
        if axis.family:
            page = next((page for page in every if page in (axis.family, f"{axis.family}s")), None)
            values = f"names with options: see [{page}]({page}.md)" if page else "names with options"
        elif axis.words:
            values = ", ".join(f"`{_plain(value)}`" for value in axis.words)
        instead = f" Not written under `axes:`. {axis.instead}" if axis.instead else ""
        usual = "" if axis.usual is None or not axis.listed else f" Usual: `{_plain(axis.usual)}`."
        parts += [
            f"## `{axis.name}`",
            f"{axis.about}{instead} Values: {values}.{' It must be listed.' if axis.required else usual}",
        ]
    return "\n\n".join(parts) + "\n"


def pages() -> Iterator[tuple[str, str]]:
    """(file name, Markdown) of every page, the index last."""
    every = FAMILIES
    for name, family in every.items():
        yield f"{name}.md", page(family)
    yield "axes.md", axes_page(every)
    lines = [
        f"- [{family.title}]({name}.md): {', '.join(f'`{row}`' for row in family.rows())}"
        for name, family in every.items()
    ]
    lines.append(f"- [Axes](axes.md): {', '.join(f'`{axis.name}`' for axis in AXES if axis.listed)}")
    yield "README.md", "\n".join([
        "# Documentation", "", "<!-- written by `python -m bench.docs` -->", "",
        "## Guides", "", *_guides({*every, "axes"}), "",
        "## Reference", "",
        "These pages explain everything that a study chooses by name. `ddpm-bench theory` draws what follows from the "
        "formulas alone.", "",
        *lines, "",
    ])  # fmt: skip


def _guides(families: set[str]) -> list[str]:
    """A line for each page that is written by hand, with its title, in the order of the site."""
    site = ROOT / "mkdocs.yml"
    named = re.findall(r"docs/(\w+)\.md", site.read_text(encoding="utf-8")) if site.is_file() else []
    order = {stem: i for i, stem in enumerate(named)}
    every = sorted(FOLDER.glob("*.md"), key=lambda path: (order.get(path.stem, len(order)), path.name))
    found = [path for path in every if path.stem not in families | {"README"}]
    return [f"- [{path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}]({path.name})" for path in found]


def _evaluations(name: str) -> str:
    """A word on how many a sampler takes, where it is not S."""
    if sampler.make_sampler(name).corrects:
        return "Takes 2 S − 1 evaluations."
    return "Takes S + 1 evaluations." if sampler.evaluations(name, 5) == 6 else ""


def _blindness(metric: str) -> str:
    """The damages that a metric does not see, as a paragraph; nothing where it was not measured."""
    damages = BLIND.get(metric)
    return f"\n\n**Does not see** {listing(f'`{damage}`' for damage in damages)}." if damages else ""


def _options(row: Any) -> dict[str, Any]:
    return parameters(row.__init__ if inspect.isclass(row) else row)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def main(folder: Path = FOLDER) -> int:
    """Write every page."""
    folder.mkdir(exist_ok=True)
    for name, text in pages():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
