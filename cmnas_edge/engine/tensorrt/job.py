"""What shall be built: which graph, and the few choices an operator has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cmnas_edge.bundle import Bundle, Precision
from cmnas_edge.embedding import Modality
from cmnas_edge.engine.tensorrt.plan import Graph, bundle_graph, detector_graph

__all__ = ["How", "Job", "bundle_job", "detector_job"]


@dataclass(frozen=True)
class How:
    """What the operator may choose.

    Attributes:
        usual_batch: The batch it shall be fastest at.
        most_batch: The largest; more crops go through in several.
        workspace_mib: Memory a kernel may ask for; on a Jetson it is taken from the processor's.
        level: 0 to 5: how long TensorRT searches.
    """

    usual_batch: int = 8
    most_batch: int = 32
    workspace_mib: int = 512
    level: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.usual_batch <= self.most_batch or self.workspace_mib < 1 or not 0 <= self.level <= 5:
            raise ValueError("expected 1 <= usual batch <= most batch, a workspace and a level of 0 to 5, found "
                             f"{self}")


@dataclass(frozen=True)
class Job:
    """A graph to be built.

    Attributes:
        path: The ONNX file, its weights beside it.
        graph: What names it.
        preprocessing: Of a bundle's crops.
        calibration: Of int8 graphs.
    """

    path: Path
    graph: Graph
    preprocessing: str = ""
    calibration: tuple[tuple[Modality, str], ...] = ()


def bundle_job(bundle: Bundle, modality: Modality, precision: Precision) -> Job:
    """The job of one of a bundle's graphs.

    Raises:
        BundleError: The bundle has no such graph.
    """
    variant = bundle.manifest.variants.get(precision)
    calibration = variant.ranges.sha256 if variant is not None and variant.ranges is not None else {}
    return Job(bundle.graph(modality, precision), bundle_graph(bundle, modality, precision),
               bundle.manifest.preprocessing, tuple(calibration.items()))


def detector_job(path: Path) -> Job:
    """The job of a detector's graph.

    Raises:
        ConfigError: It cannot be read.
    """
    return Job(path, detector_graph(path))
