"""What a record says of the machine, the versions and the code that made it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, lt=2**63)]


class Environment(BaseModel):
    """The machine, the versions and the code: whatever a duration or a byte may depend on.

    ``gpu``, ``driver`` and ``cuda`` are None on other devices, ``commit`` outside a git repository. ``machine`` tells
    machines apart without naming them; ``dirty`` is whether the code differs from the commit;
    ``packages`` are those that add rows, with their versions.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    device: str
    processor: str
    cores: Count | None
    threads: Count
    gpu: str | None
    driver: str | None
    cuda: str | None
    machine: str
    system: str
    python: str
    torch: str
    commit: str | None
    dirty: bool
    code: str
    packages: str = ""
