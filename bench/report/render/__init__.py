"""Blocks as files: :data:`RENDERERS` has a row for each kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.report.blocks import Block
from bench.report.render import markdown, pdf

RENDERERS: dict[str, Callable[[Sequence[Block], Path], None]] = {"md": markdown.render, "pdf": pdf.render}
"""A file's ending → what writes the blocks to that path; the pictures lie in ``figures`` beside it."""
