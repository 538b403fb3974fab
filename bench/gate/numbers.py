"""What formulas give, in float64, on made-up images: every row of every table of the model, and each of its options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.gate.kinds import Check, fingerprint
from ddpm.base import BASES, Base
from ddpm.batch import Around
from ddpm.denoiser import Denoiser
from ddpm.ema import Ema, PowerEma, coefficients, combine
from ddpm.guidance import forget, guided
from ddpm.likelihood import VARIANCES, Bound, flow_bound
from ddpm.nets import NETS, make_net
from ddpm.objective import OBJECTIVES, WEIGHTS, default_weight, loss_weight, make_target
from ddpm.oracle import Mixture, gaussian
from ddpm.sampler import CLIPS, SAMPLERS, make_sampler, sample
from ddpm.schedule import SCHEDULES, Schedule, make_schedule
from ddpm.spacing import SPACINGS, space
from ddpm.spec import Variant, build, parameters
from ddpm.teach import DISTANCES, TEACH
from ddpm.timestep import TIMESTEPS, make_timesteps
from ddpm.train import Loss

T = 50
SMALL_BASE = {"components": 4, "rank": 8, "span": 32}
"""Options of bases for 64 pixels."""
AT = [1, 2, 13, 25, 38, 49, 50]
SHAPE = (6, 1, 4, 4)

Rows = Iterable[tuple[str, Check]]


def moved(value: Any) -> Any:
    """Another value for an option; None where none is known."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value or 3
    if isinstance(value, float):
        return 0.9 * value or 1.0
    return None


def variants(
    table: Mapping[str, Any],
    options: Callable[[Any], Any] = lambda row: row,
    exists: Callable[[Variant], bool] = lambda variant: True,
) -> Iterator[Variant]:
    """Every row of a table, and each of its options at another value; half of a whole number, if twice is refused."""
    for name, row in table.items():
        yield Variant(name)
        for key, default in parameters(options(row)).items():
            if (value := moved(default)) is not None:
                twice = Variant(name, ((key, value),))
                yield twice if exists(twice) else Variant(name, ((key, default // 2),))


def takes_28(net: Variant) -> bool:
    """Whether a network takes 28×28 images."""
    return _takes_28(net, NETS[net.name])


@cache
def _takes_28(net: Variant, _row: Any) -> bool:
    """The same, of this row of the table: making a network to see takes a while."""
    try:
        with torch.device("meta"):
            make_net(net, 1, 28)
    except ValueError:
        return False
    return True


def normal(key: int, *shape: int) -> Tensor:
    """Standard normal numbers in float64, the same wherever they are drawn."""
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=key)).standard_normal(shape))


def pictures() -> Tensor:
    """Made-up images in [−1, 1], :data:`SHAPE`, on the 256 levels, the ends included."""
    levels = (normal(1, *SHAPE) * 128 + 127.5).round().clamp(0, 255)
    return levels / 127.5 - 1


def tables() -> Rows:
    """Schedules, objectives, weights, spacings and variances as numbers."""
    s = make_schedule("cosine", T)
    for variant in variants(SCHEDULES):
        yield f"schedule {variant}", _table(lambda one: make_schedule(one, T).alpha[AT], variant)
    for name in SCHEDULES:
        zero = Variant(name, (("zero_snr", True),))
        yield f"schedule {zero}", _table(lambda one: make_schedule(one, T).alpha[AT], zero)
    for variant in variants(OBJECTIVES, lambda row: row.target):
        yield f"objective {variant}", _table(lambda one: torch.cat([k[AT] for k in make_target(s, one)]), variant)
    for variant in variants(WEIGHTS, lambda row: row.table):
        yield f"weight {variant}", _table(lambda one: loss_weight(s, "v", one)[AT], variant)
    for name in WEIGHTS:
        yield (
            f"weight {name} for every objective",
            _table(lambda one: torch.cat([loss_weight(s, of, one)[AT] for of in OBJECTIVES]), name),
        )
    for variant in variants(SPACINGS):
        yield f"spacing {variant}", _table(lambda one: space(make_schedule("linear", 1000), 10, one), variant)
    for name in SPACINGS:
        yield (
            f"spacing {name} on every schedule",
            _table(lambda one: [t for of in SCHEDULES for t in space(make_schedule(of, T), 7, one)], name),
        )
    for name in VARIANCES:
        yield f"variance {name}", _table(lambda one: VARIANCES[one](s)[AT], name)


def _table(of: Callable[[Any], Any], name: Variant | str) -> Check:
    return Check("tables", lambda _: np.asarray(of(name), dtype=float))


class Toy(nn.Module):
    """A function of x, t/T and classes in place of a network; with ``learned`` it has an output for the variance."""

    def __init__(self, learned: bool = False) -> None:
        super().__init__()
        self.learned = learned

    def forward(self, x: Tensor, u: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,), (B,) → (B, C, H, W), or (B, 2C, H, W)."""
        if u.ndim == 2:  # and a second time
            u = 1.5 * u[:, 0] - 0.5 * u[:, 1]
        shift = u if y is None else u + 0.3 * y
        out = torch.tanh(0.7 * x - 0.2 * x.roll(1, -1) + shift.view(-1, *[1] * (x.ndim - 1)))
        return torch.cat([out, torch.sin(x)], 1) if self.learned else out


def losses() -> Rows:
    """Every objective's loss under every weight, with drawn targets and with a learned variance."""
    s = make_schedule("cosine", T)
    x0, eps, z = pictures(), normal(2, *SHAPE), normal(3, *SHAPE)
    t = torch.tensor([1, 2, 13, 25, 38, 50])
    for name in variants(OBJECTIVES, lambda row: row.target):
        for learned in (False, True):

            def each(_: Any, name: Variant = name, learned: bool = learned) -> np.ndarray:
                every = WEIGHTS if not learned else [default_weight(name)]
                found = [Loss(s, name, weight).errors(Toy(learned), x0, t, eps, z) for weight in every]
                return np.concatenate([part.flatten(1).mean(1).numpy() for part in found])

            yield f"loss {name}{', learned variance' if learned else ''}", Check("tables", each)


def teachings() -> Rows:
    """What every way to teach makes of a batch, early and late in training: the loss of a made-up network."""
    s = make_schedule("cosine", T)
    x0, eps = pictures(), normal(2, *SHAPE)
    t = torch.tensor([1, 2, 13, 25, 38, 50])

    def other(x: Tensor, u: Tensor) -> Tensor:
        return 0.8 * Toy()(x.flip(-1), u)

    def each(name: Variant) -> Callable[[Any], np.ndarray]:
        def of(_: Any) -> np.ndarray:
            loss, found = Loss(s, "v", "unit", name), []
            for done in (0.0, 0.26, 0.6, 0.99):
                around = Around(Toy(), other, done=done, random=torch.Generator().manual_seed(7), plain=Toy())
                found.append(loss.errors(Toy(), x0, t, eps, None, around).flatten(1).mean(1))
            return torch.cat(found).numpy()

        return of

    for name in variants(TEACH):
        yield f"teach {name}", Check("tables", each(name))
    for distance in DISTANCES:
        if distance != parameters(TEACH["consistency"])["distance"]:
            name = Variant("consistency", (("distance", distance),))
            yield f"teach {name}", Check("tables", each(name))


def bases() -> Rows:
    """What every base makes of noisy images, and its samples, fitted to made-up images that hang together."""
    s = make_schedule("cosine", T)
    pixels, t = 64, torch.tensor(AT)
    images = normal(5, 60, pixels) @ normal(6, pixels, pixels) / 4 + normal(7, 1, pixels)
    x = normal(8, len(AT), pixels)

    def fitted(name: Variant) -> Base | None:
        made = build(BASES, name, pixels)
        if made is not None:
            made.double().fit(images, lambda batch: batch, torch.Generator().manual_seed(0))
        return made

    def means(name: Variant, _: Any) -> np.ndarray:
        made = fitted(name)
        if made is None:
            return fingerprint(np.zeros(len(AT)))
        return fingerprint(made.posterior_mean(x, s.alpha[t, None], s.sigma[t, None]).numpy())

    def drawn(name: Variant, _: Any) -> np.ndarray:
        made = fitted(name)
        return fingerprint(np.zeros(1) if made is None else made.draw(x, torch.linspace(0, 0.99, len(AT))).numpy())

    for name in BASES:
        for label, variant in small_bases(name).items():
            yield f"base {label}", Check("tables", partial(means, variant))
            if (made := build(BASES, variant, pixels)) is not None and made.drawable:
                yield f"drawn from base {label}", Check("tables", partial(drawn, variant))


def small_bases(name: str) -> dict[str, Variant]:
    """A row, with options for few pixels and images, and with each of these at another value; by what is said of it."""
    small = {key: SMALL_BASE[key] for key in parameters(BASES[name])}
    found = {name: Variant(name, tuple(small.items()))}
    for key, value in small.items():
        said = Variant(name, ((key, value // 2),))
        found[str(said)] = Variant(name, tuple((small | {key: value // 2}).items()))
    return found


def oracle(s: Schedule, objective: Variant | str = "v", learned: bool = False) -> Callable[..., Tensor]:
    """The exact network for a mixture at the made-up images; what it says of the variance is made up."""
    exact = Mixture(s, objective, pictures(), 0.05)

    def net(x: Tensor, u: Tensor) -> Tensor:
        out: Tensor = exact(x, u)
        return torch.cat([out, torch.sin(3 * x)], 1) if learned else out

    return net


def _walk(sampler: Variant | str, objective: Variant | str = "v", net: Any = None, **way: Any) -> np.ndarray:
    """Where ten steps of a sampler lead, as a fingerprint."""
    s = make_schedule("cosine", 1000)
    learned = make_sampler(sampler).learned
    net = net or (Toy() if make_sampler(sampler).jumps else oracle(s, objective, learned))
    denoiser = Denoiser(net, s, objective)
    steps = sample(denoiser, normal(4, *SHAPE), space(s, 10), sampler, lambda at: normal(10 + at, *SHAPE), **way)
    return fingerprint(np.stack([step.x.numpy() for step in steps]))


def sampled() -> Rows:
    """Every sampler, clip and objective on an exact network, and guidance on a made-up one."""

    def walk(*args: Any, **way: Any) -> Check:
        return Check("vectors", lambda _: _walk(*args, **way))

    for name in variants(SAMPLERS):
        yield f"sampler {name}", walk(name)
        if make_sampler(name).uses_eta:
            yield f"sampler {name}, η = 0.5", walk(name, eta=0.5)
    for clip in CLIPS:
        yield f"clip {clip}", walk("ancestral_beta", clip=clip)
    for name in variants(OBJECTIVES, lambda row: row.target):
        yield f"sampled objective {name}", walk("ddim", name, clip=False)
    classes = torch.arange(SHAPE[0]) % 3
    for scale in (0.0, 0.5, 1.0, 3.0):
        yield f"guidance {scale:g}", walk("ddim", net=guided(Toy(), classes, 3, scale))
    yield "guidance 3, learned variance", walk("ancestral_learned", net=guided(Toy(True), classes, 3, 3.0))
    s = make_schedule("cosine", 1000)
    yield "oracle gaussian", walk("ddim", net=gaussian(s, "v", 0.3))


def likelihoods() -> Rows:
    """The bound for every variance and for a learned one, and the flow's likelihood, on an exact network."""
    s, x0, eps = make_schedule("cosine", T), pictures(), normal(2, *SHAPE)

    def whole(variance: str, learned: bool, clip: bool) -> Check:
        def of(_: Any) -> np.ndarray:
            bound = Bound(Denoiser(oracle(s, learned=learned), s, "v"), variance, clip)
            random = torch.Generator().manual_seed(5)
            terms = [bound.prior(x0), *bound.whole(x0, lambda t: normal(100 + t, *SHAPE))]
            chance = torch.arange(T + 1, dtype=torch.float64) / (T * (T + 1) / 2)
            drawn = [bound.draw(x0, random)[0], bound.draw(x0, random, chance)[0]]
            return torch.stack([*terms[:3], *terms[-3:], torch.stack(terms).sum(0), *drawn]).numpy().ravel()

        return Check("tables", of)

    for name in VARIANCES:
        yield f"likelihood {name}", whole(name, False, True)
    yield "likelihood learned", whole("small", True, False)

    def flow(_: Any) -> np.ndarray:
        random = torch.Generator().manual_seed(6)
        return flow_bound(Denoiser(oracle(s), s, "v"), x0, eps, [1, 2, 5, 10, 20, 35, T], random).detach().numpy()

    yield "likelihood flow", Check("tables", flow)


def averages() -> Rows:
    """Averages of a made-up run's weights: exponential, of the kept lengths, and of any other made of snapshots."""

    def run(make: Callable[[nn.Module], Ema], steps: int = 60) -> list[Tensor]:
        net = nn.Linear(4, 4, bias=False).double()
        net.weight.data.copy_(normal(0, 4, 4))
        average, kept = make(net), []
        for k in range(1, steps + 1):
            net.weight.data.copy_(normal(k, 4, 4) + k / 20)
            average.update()
            kept.append(average.weights["weight"].clone())
        return kept

    def last(make: Callable[[nn.Module], Ema]) -> Check:
        return Check("vectors", lambda _: run(make)[-1].numpy().ravel())

    def made(_: Any) -> np.ndarray:
        at = [(step, length) for step in (20, 40, 60) for length in (0.05, 0.1)]
        kept = {length: run(partial(PowerEma, sigma_rel=length)) for length in (0.05, 0.1)}
        parts = [{"w": kept[length][step - 1]} for step, length in at]
        return np.concatenate([combine(parts, coefficients(at, 60, length))["w"].ravel() for length in (0.03, 0.15)])

    yield "average exponential", last(lambda net: Ema(net, 0.8))
    yield "average exponential, warming up", last(lambda net: Ema(net, 0.9999))
    for length in (0.05, 0.1, 0.2):
        yield f"average of length {length:g}", last(partial(PowerEma, sigma_rel=length))
    yield "average made of snapshots", Check("vectors", made)


def choices() -> Rows:
    """Every choice of t: what it draws and by what it multiplies, before and after it has seen losses."""
    few = 6

    def draws(name: Variant) -> Callable[[Any], np.ndarray]:
        def of(_: Any) -> np.ndarray:
            times, random = make_timesteps(name, few, torch.device("cpu")), torch.Generator().manual_seed(8)
            found = []
            for k in range(5):
                t = times.draw(48, random)
                times.observe(t, (1 + t) * (1 + k) / 10)
                found += [t, times.factor(t)]
            return torch.cat([part.double() for part in found]).numpy()

        return of

    for name in variants(TIMESTEPS):
        yield f"timesteps {name}", Check("tables", draws(name))

    def left_out(_: Any) -> np.ndarray:
        return forget(torch.arange(400) % 10, 10, torch.Generator().manual_seed(9)).double().numpy()

    yield "classes left out", Check("vectors", left_out)


def nets() -> Rows:
    """Every network and each of its options: outputs and gradients, with weights that are made up."""

    def both_ways(name: Variant) -> Callable[[Any], np.ndarray]:
        def of(_: Any) -> np.ndarray:
            net = make_net(name, 1, 28).double()
            for key, (label, value) in enumerate(net.state_dict().items()):
                scale = 1.0 if value.ndim < 2 else value[0].numel() ** -0.5
                value.copy_(scale * normal(key, *value.shape) + (label.endswith("norm.weight") and 1.0))
            y = [torch.tensor([1, 2])] if "classes" in dict(name.options) else []
            out = net(normal(2, 2, 1, 28, 28), torch.tensor([0.3, 0.9], dtype=torch.float64), *y)
            out.square().mean().backward()
            grads = [p.grad.numpy() for p in net.parameters() if p.grad is not None]
            return np.concatenate([fingerprint(out.detach().numpy()), fingerprint(*grads)])

        return of

    for name in variants(NETS, exists=takes_28):
        yield f"net {name}", Check("vectors", both_ways(name))
