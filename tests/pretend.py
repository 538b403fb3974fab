"""Hardware that is not there: a device without float64, and a network that is a captured graph.

Of the device (MPS) nothing is simulated but the rules that code breaks by mistake. There is no float64, and what is on
MPS cannot be copied into the CPU's float64 in one step. Tensors of two devices do not mix. NumPy sees no device's
memory. A generator draws for its own device alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch._dynamo  # looks at signatures while it is imported, so before any is replaced
from torch import Tensor
from torch.overrides import TorchFunctionMode

MPS, CPU = torch.device("mps"), torch.device("cpu")
CROSSES = ("to", "cpu", "copy_", "__setitem__", "__set__", "_has_compatible_shallow_copy_type", "backward")
"""What may be given tensors of two devices."""
INDEXES = ("__getitem__", "__setitem__", "index_put_")
"""What takes indices from the CPU on any device."""


class StaticOutput:
    """A network that returns the same memory each time, as a captured CUDA graph does: a call undoes the one before."""

    def __init__(self, net: Callable[..., Tensor]) -> None:
        self.net = net
        self.buffers: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The network's output, written over the last one of its shape."""
        out = self.net(*inputs)
        return self.buffers.setdefault(tuple(out.shape), torch.empty_like(out)).copy_(out)


class _Generator(torch.Generator):
    """The CPU's, but for the device that it says it is for."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made: _Generator = super().__new__(cls, "cpu")
        made.on = torch.device(device)
        return made

    on: torch.device


def on_mps(x: Any) -> bool:
    """Whether a tensor is said to be on MPS."""
    return isinstance(x, Tensor) and getattr(x, "pretended", False)


def _flat(values: Any) -> Iterator[Any]:
    """Whatever lies in lists, tuples and dicts."""
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, list | tuple | dict):
            yield from _flat(value)
        else:
            yield value


class Pretended(TorchFunctionMode):
    """While it is entered, ``torch.device("mps")`` can be used. ``calls`` counts (function, whether on MPS)."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[tuple[str, bool]] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do it on the CPU, and mark what comes of it."""
        kwargs = kwargs or {}
        name, given = getattr(func, "__name__", ""), list(_flat([args, kwargs]))
        tensors = [one for one in given if isinstance(one, Tensor)]
        with torch._C.DisableTorchFunction():
            here = any(map(on_mps, tensors))
            if name == "__get__" and func == Tensor.device.__get__:
                return MPS if here else CPU
            if name == "_parse_to" or func is torch.device:  # nothing is done yet
                return func(*args, **kwargs)
            self.calls[name, here] += 1
            devices = [one for one in given if isinstance(one, torch.device)] + [
                torch.device(one) for one in given if isinstance(one, str) and one in ("cpu", "mps")
            ]
            self._check(name, args, given, tensors, here, devices)
            out = func(*_replaced(args), **_replaced(kwargs))
            goes = name == "to" and (devices or len(tensors) > 1)
            where = (devices[-1] == MPS if devices else on_mps(tensors[-1])) if goes else here or MPS in devices
            where = where and name != "cpu"
            if name in ("to", "cpu") and out is args[0] and on_mps(out) != where:
                out = out.clone()  # it was on the CPU all along
            self._mark(name, args, out, where, here)
        return out

    def _check(self, name: str, args: Any, given: list[Any], tensors: list[Tensor], here: bool, devices: Any) -> None:
        """Refuse what MPS refuses."""
        if here and name in ("numpy", "__array__"):
            raise TypeError("can't convert mps:0 device type tensor to numpy")
        target = here or MPS in devices
        if not target:
            return
        if name in ("copy_", "__setitem__") and not on_mps(args[0]) and args[0].dtype == torch.float64:
            raise TypeError("MPS cannot write float64, not even to the CPU's memory")
        for random in given:
            if isinstance(random, torch.Generator) and getattr(random, "on", CPU) != MPS:
                raise RuntimeError("Expected a 'mps' device type for generator but found 'cpu'")
        strays = [one for one in tensors if one.ndim and not on_mps(one)]
        if name in INDEXES and tensors and on_mps(args[0]):
            return
        if strays and name not in CROSSES:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, found mps:0 and cpu")

    def _mark(self, name: str, args: Any, out: Any, where: bool, here: bool) -> None:
        """Say of results where they are; what is set takes its new value's place."""
        if name == "__set__" and isinstance(args[1], Tensor):
            args[0].pretended = on_mps(args[1])
        for one in _flat([out]):
            if isinstance(one, Tensor):
                if one.dtype == torch.float64 and (where or here):
                    raise TypeError("Cannot convert a MPS Tensor to float64 dtype: MPS does not support float64")
                if name not in ("copy_",):
                    one.pretended = where  # type: ignore[attr-defined]


def _replaced(values: Any) -> Any:
    """The same, the CPU in place of MPS."""
    if isinstance(values, dict):
        return {key: _replaced(value) for key, value in values.items()}
    if type(values) in (list, tuple):
        return type(values)(map(_replaced, values))
    if isinstance(values, str):
        return "cpu" if values == "mps" else values
    return CPU if isinstance(values, torch.device) else values


def _parameter(of_class: type, data: Tensor, *more: Any) -> Tensor:
    """A parameter is where its data is (no mode sees one being made)."""
    made: Tensor = torch._C.TensorBase._make_subclass(of_class, data, *more)
    made.pretended = on_mps(data)  # type: ignore[attr-defined]
    return made


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    """An MPS device for as long as it lasts."""
    monkeypatch.setattr(torch, "Generator", _Generator)
    monkeypatch.setattr(Tensor, "_make_subclass", staticmethod(_parameter))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: None)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 5_000_000)
    with Pretended() as mode:
        yield mode
