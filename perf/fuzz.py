"""Mutated input for every reader of a stranger's files: only a line for the user, or success, may come of it.

Inputs are valid ones that were changed in a few places, from a seed. ``make fuzz`` runs many and keeps what came of
them in ``results/perf/fuzz.json``; a test runs a few::

    python -m perf.fuzz --inputs 10000
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from PIL import Image

from bench.analysis import query
from bench.errors import UserError
from bench.images import files
from bench.images.source import Reading
from bench.paths import REFERENCE, ROOT
from bench.store.examine import examine
from bench.store.records import CellRecord, JobRecord
from bench.store.store import Store, encode
from bench.store.tensors import Resume
from bench.study import load
from perf.record import claim, in_words, save

MOST_S, MOST_MB = 10.0, 2000
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**400, -(10**30), 0.5, 1e-300, 1e308, float("inf"),
    float("nan"), "", "x",
    "eps", "unet(width=8)", "unet(width=" + "9" * 30 + ")", "cosine(s=nan)", "\0", "\x1b[31m", "\u202e",
    "é" * 300, "../x",
    "9" * 5000, "(" * 500, [], {}, [[]], [None], {"unet": {}}, {"unet": {"width": -1}},
    {"a": {"b": {"c": 1}}}, ["eps"] * 3,
)  # fmt: skip
SQL = (
    "SELECT net, min(fid) FROM cells WHERE status = 'done' GROUP BY ALL ORDER BY 2 LIMIT 5",
    "SELECT a.key, b.fid / a.fid FROM cells a JOIN cells b USING (job) ORDER BY 1",
    "DESCRIBE cells", "SUMMARIZE jobs",
    "WITH t AS (SELECT fid, row_number() OVER (PARTITION BY net) r FROM cells) SELECT * FROM t WHERE r < 3",
)  # fmt: skip
WORDS = (
    "SELECT", "FROM", "cells", "jobs", "*", "(", ")", ",", ";", "--", "/*", "'", '"', "$1", "?", "range(100000000000)",
    "range(1000000000)", "repeat('x', 1000000000)", "read_csv('/etc/passwd')", "getenv('HOME')", "JOIN cells c ON true",
    "CROSS JOIN jobs", "UNION ALL SELECT 1", "LIMIT -1", "1/0", "NULL", "list(fid)", "ATTACH 'x'", "COPY",
    "PRAGMA", "fid::DATE",
    "unnest(range(50000000))", "9" * 400, "\0", "é", "sqrt(-1)", "'inf'::DOUBLE", "random()", "x'",
    "{'a': 1}", "[1, 2]",
)  # fmt: skip


class Fault(NamedTuple):
    """An input that gave something else than success or a line for the user."""

    reader: str
    seed: int
    what: str


class Outcome(NamedTuple):
    """What came of an input, in how many seconds, and the fault if it was one."""

    reader: str
    what: str
    seconds: float
    fault: Fault | None


def bent(content: bytes, rng: random.Random, most: int = 3) -> bytes:
    """Bytes, changed in up to ``most`` places."""
    data = bytearray(content)
    for _ in range(rng.randint(0, most)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.randint(1, 16))
        match rng.randrange(5):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 3:
                data[at:at] = data[at:end] * rng.randint(1, 50)
            case _:
                del data[at:]
    return bytes(data)


def bent_json(value: Any, rng: random.Random, share: float = 0.03) -> Any:
    """JSON or YAML with some of its values replaced, left out or doubled."""
    if rng.random() < share:
        return rng.choice(ODD)
    if isinstance(value, dict):
        found = {key: bent_json(one, rng, share) for key, one in value.items() if rng.random() > share / 3}
        return found | ({rng.choice(("x", "seed", "T", "net")): rng.choice(ODD)} if rng.random() < share else {})
    if isinstance(value, list):
        return [bent_json(one, rng, share) for one in value for _ in range(2 if rng.random() < share / 2 else 1)]
    return value


def study_file(folder: Path, rng: random.Random) -> None:
    """A study file with other values, or with other bytes."""
    text = rng.choice(sorted((ROOT / "bench/study/studies").glob("*.yaml"))).read_text()
    content = text.encode()
    if rng.random() < 0.7:
        content = yaml.safe_dump(bent_json(yaml.safe_load(text), rng)).encode("utf-8", "surrogatepass")
    if rng.random() < 0.4:
        content = bent(content, rng)
    (folder / "x.yaml").write_bytes(content)
    study = load.load(str(folder / "x.yaml"))
    study.warnings()


def _pixels(rng: random.Random) -> np.ndarray:
    kind = rng.choice([np.uint8, np.float32, np.float64, np.int64, np.float16, np.uint16, np.bool_, np.complex64])
    shape = rng.choice(
        [(24, 28, 28), (24, 28, 28, 1), (24, 1, 28, 28), (24, 3, 28, 28), (3, 28, 28), (24, 784), (0, 28, 28)]
    )
    values = np.random.default_rng(rng.randrange(2**32)).random(shape) * rng.choice([1, 2, 255, 1e30])
    if rng.random() < 0.1 and values.size:
        values.flat[rng.randrange(values.size)] = rng.choice([np.nan, np.inf, -1e300])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return values.astype(kind)


def _read(path: Path, rng: random.Random) -> None:
    said = Reading(rng.choice([None, None, (0.0, 1.0)]), None, rng.choice([0, 255]), (), rng.random() < 0.3)
    for batch in files.take(path, 1, 28, said):
        assert batch.dtype == torch.uint8


def array_file(folder: Path, rng: random.Random) -> None:
    """An array, its header's text or its bytes changed."""
    array, buffer = _pixels(rng), io.BytesIO()
    if rng.random() < 0.5:
        np.save(buffer, array)
        content = buffer.getvalue()
        if rng.random() < 0.5:  # a header that is still one
            old, new = rng.choice(
                [(b"(24", b"(99"), (b"28", b"-1"), (b"<f4", b"|O8"), (b"False", b"True "), (b"28, 28", b"9999,9")]
            )
            content = content.replace(old, new, 1)
        path = folder / "x.npy"
    else:
        names = rng.choice([("images",), ("arr_0", "arr_1"), ("a", "b"), ("images", "labels"), ()])
        np.savez(buffer, **{name: array if i == 0 else np.arange(len(array)) for i, name in enumerate(names)})
        content, path = buffer.getvalue(), folder / "x.npz"
    path.write_bytes(bent(content, rng) if rng.random() < 0.6 else content)
    _read(path, rng)


def _chunks_whole(content: bytes) -> bytes:
    """A PNG with the right checksums in its chunks."""
    data, at = bytearray(content), 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + size > len(data):
            break
        data[at + 8 + size : at + 12 + size] = zlib.crc32(data[at + 4 : at + 8 + size]).to_bytes(4, "big")
        at += 12 + size
    return bytes(data)


def picture_folder(folder: Path, rng: random.Random) -> None:
    """Pictures in every mode and format, some with other bytes; of PNG the checksums are then made right."""
    (folder / "pictures").mkdir()
    kinds = {"PNG": ("L", "RGB", "RGBA", "P", "1", "I;16", "LA"), "JPEG": ("L", "RGB", "CMYK"), "BMP": ("L", "RGB"),
             "TIFF": ("L", "RGB", "F", "I;16"), "WEBP": ("RGB", "RGBA"), "GIF": ("L",), "EPS": ("L",)}  # fmt: skip
    odd = rng.choice(list(kinds))
    mode = rng.choice(kinds[odd])
    for i in range(22):
        format_, one = (odd, mode) if i < 2 else ("PNG", "L")
        size = (28, 28) if i or rng.random() < 0.7 else rng.choice([(1, 1), (28, 29), (3000, 2), (32, 32)])
        buffer = io.BytesIO()
        Image.new(one, size, rng.randrange(2)).save(buffer, format_)
        content = buffer.getvalue()
        if i < 2 and rng.random() < 0.7:
            content = bent(content, rng)
            content = _chunks_whole(content) if odd == "PNG" and rng.random() < 0.7 else content
        name = odd.lower() if i < 2 and rng.random() < 0.7 else "png"
        (folder / "pictures" / f"{i}.{name}").write_bytes(content)
    _read(folder / "pictures", rng)


def record_folder(folder: Path, rng: random.Random) -> None:
    """A results folder: records with other values and right checksums, tensors and samples with other bytes."""
    store = Store(folder / "results")
    for kind in (JobRecord, CellRecord):
        paths = _committed()[kind.kind]
        for path in rng.sample(paths, min(3, len(paths))):
            record = bent_json(json.loads(path.read_text())["record"], rng, 0.01)
            try:
                content = encode(record)
            except (ValueError, UnicodeError):  # no JSON holds it
                continue
            store.write_bytes(store.path(kind.kind, path.stem, ".json"), content, durable=False)
    store.save_tensors("k", {"a": torch.arange(12.0)}, Resume(code="x"))
    path = store.path("resume", "k", ".safetensors")
    path.write_bytes(bent(path.read_bytes(), rng))
    for found in examine(store):
        assert found is None or found.path
    query.ask("SELECT count(*), min(fid) FROM cells", store)


def _committed() -> dict[str, list[Path]]:
    return {kind: sorted((REFERENCE / kind).glob("*.json"))[:40] for kind in ("jobs", "cells")}


def sql(folder: Path, rng: random.Random) -> None:
    """A query with other words."""
    words = rng.choice(SQL).split(" ")
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(words))
        words[at : at + rng.randrange(2)] = [rng.choice(WORDS)]
    store = Store(folder / "results")
    path = rng.choice(_committed()["cells"])
    store.write_bytes(store.path("cells", path.stem, ".json"), path.read_bytes(), durable=False)
    query.ask(" ".join(words), store)


READERS: dict[str, Callable[[Path, random.Random], None]] = {
    "studies": study_file,
    "arrays": array_file,
    "pictures": picture_folder,
    "records": record_folder,
    "sql": sql,
}

TURNS = [*(["studies", "arrays", "pictures", "records"] * 3), "sql"]
"""Whose turn it is; a query takes longest."""


def fuzz(inputs: int, seed: int, base: Path, names: list[str] | None = None) -> Iterator[Outcome]:
    """What came of each of so many inputs, each reader in turn."""
    chosen = names or TURNS
    for number in range(seed, seed + inputs):
        name = chosen[number % len(chosen)]
        folder = base / f"{number}"
        folder.mkdir()
        since = time.monotonic(), time.process_time()
        try:
            READERS[name](folder, random.Random(number))
            outcome, fault = "success", None
        except UserError as error:
            outcome = "a line for the user"
            fault = Fault(name, number, f"more than a line: {error}") if "\n" in str(error) else None
        except Exception:
            outcome, fault = "traceback", Fault(name, number, traceback.format_exc())
        # on a busy machine the processor's time is what the input took
        seconds = min(time.monotonic() - since[0], time.process_time() - since[1])
        peak = _peak_mb()
        if seconds > MOST_S:
            fault = Fault(name, number, f"{seconds:.0f} s")
        if peak > MOST_MB:
            fault = Fault(name, number, f"{peak:.0f} MB (or an input before it)")
        shutil.rmtree(folder)
        yield Outcome(name, outcome, seconds, fault)


def _peak_mb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "linux" else 1024) / 1024


def summary(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """A row for each reader, the bars, and the faults; faults are printed as they come."""
    counts, slowest, faults = Counter[tuple[str, str]](), dict[str, float](), list[Fault]()
    for one in outcomes:
        counts[one.reader, one.what] += 1
        slowest[one.reader] = max(slowest.get(one.reader, 0.0), one.seconds)
        if one.fault:
            faults.append(one.fault)
            print(f"{one.fault.reader} {one.fault.seed}: {one.fault.what}", flush=True)
        if counts.total() % 500 == 0:
            print(f"{counts.total()} inputs, {len(faults)} faults", flush=True)
    kinds = ("success", "a line for the user", "traceback")
    rows = [
        {"reader": name} | {kind: counts[name, kind] for kind in kinds} | {"slowest, s": round(slowest[name], 2)}
        for name in slowest
    ]
    total, peak, longest = counts.total(), _peak_mb(), max(slowest.values(), default=0.0)
    claims = [
        claim("mutated inputs over all readers", "≥ 10,000", f"{total:,}", total >= 10_000),
        claim("faults: neither success nor a line for the user", "0", str(len(faults)), not faults),
        claim("slowest mutated input", f"≤ {MOST_S:g} s", f"{longest:.1f} s", longest <= MOST_S),
        claim("most memory in fuzzing", f"≤ {MOST_MB:,} MB", f"{peak:,.0f} MB", peak <= MOST_MB),
    ]
    return {"rows": rows, "claims": claims, "faults": [fault._asdict() for fault in faults]}


def main() -> int:
    """Run it and say what came of it; 1 if anything was at fault."""
    parser = argparse.ArgumentParser(description="Mutated inputs for every reader.")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", choices=READERS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as base:
        content = summary(fuzz(options.inputs, options.seed, Path(base), options.reader))
    for row in content["rows"]:
        print(row)
    for bar in content["claims"]:
        print(in_words(bar))
    if not options.reader:
        print(save("fuzz", content, device=torch.device("cpu")))
    return bool(content["faults"])


if __name__ == "__main__":
    sys.exit(main())
