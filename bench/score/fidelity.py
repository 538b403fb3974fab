"""The judges as torch-fidelity feature extractors, for whoever wants its metrics in their features.

The harness computes its own (and tests them against torch-fidelity's), so it never imports this module: torch-fidelity
takes longer to import than everything else a job needs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from bench.score import eyes
from bench.score.classifier import name_of
from bench.score.judges import judges_of
from bench.score.learning import JudgeNetwork


class Classifier(FeatureExtractorBase):
    """The frozen network as torch-fidelity wants it."""

    def __init__(self, name: str, features_list: list[str], network: JudgeNetwork) -> None:
        super().__init__(name, features_list)
        self.network = network.eval().requires_grad_(False)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The layers on offer."""
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """The inception score reads logits; every other metric reads features."""
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        """Yes: static shapes, no branches."""
        return True

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """A batch of the shape :meth:`forward` takes."""
        return torch.zeros(2, 1, 28, 28, dtype=torch.uint8)

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:  # noqa: A002 (torch-fidelity's name)
        """uint8 (B, C, H, W) → the requested layers, in the order requested."""
        features, logits = self.network(input)
        layers = {"features": features, "logits": logits}
        return tuple(layers[name] for name in self.features_list)


def register(dataset: str, sha256: str, network: JudgeNetwork) -> str:
    """Offer a judge to torch-fidelity, once, and return the name to pass as ``feature_extractor``."""
    name = name_of(dataset, sha256)

    class Registered(Classifier):
        """torch-fidelity builds extractors from a class and ``(name, features_list)``."""

        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            super().__init__(name, features_list, network)

    if name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(name, Registered)
    return name


def register_all(dataset: str) -> dict[str, str]:
    """Offer every pinned judge of a data set; judge → the name to pass as ``feature_extractor``."""
    return {name: register(dataset, judge.sha256, eyes.load(judge)) for name, judge in judges_of(dataset).items()}
