"""The engines a device's settings ask for: one for each modality its cameras can have, shared by all of them."""

from __future__ import annotations

import logging
from contextlib import ExitStack

from cmnas_edge.bundle import Bundle
from cmnas_edge.camera.settings import DeviceSettings
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.engine import Engine, open_engine
from cmnas_edge.engine.fallback import with_fallback
from cmnas_edge.engine.results import SAFE, Entrant, chosen
from cmnas_edge.errors import BundleError, DeviceError

__all__ = ["open_engines"]

_log = logging.getLogger("cmnas.camera")


def open_engines(opened: ExitStack, model: Bundle, settings: DeviceSettings) -> dict[Modality, Engine]:
    """Open an engine for each modality that one of the cameras can have.

    Args:
        opened: What closes them.
        model: Whose graphs.
        settings: ``engine`` and ``cameras`` of them.

    Raises:
        DeviceError: This machine has no such engine.
        BundleError: A graph cannot be run, or gives other embeddings than the golden ones.
    """
    wanted = {camera.spectrum.modality for camera in settings.cameras}
    entrant = _entrant(model, settings)
    return {modality: opened.enter_context(_engine(model, modality, entrant, settings))
            for modality in MODALITIES if "auto" in wanted or modality in wanted}


def _entrant(model: Bundle, settings: DeviceSettings) -> Entrant:
    """The engine and precision that the settings name, or else the race."""
    if settings.engine.name != "auto":
        return Entrant(settings.engine.name, settings.engine.precision or "fp32")
    choice = chosen(model, settings.engine.threads)
    _log.info("engine: %s", choice)
    return choice.entrant


def _engine(model: Bundle, modality: Modality, entrant: Entrant, settings: DeviceSettings) -> Engine:
    """Open an engine; a winner that does not open any more gives way to what runs anywhere."""
    threads, max_batch = settings.engine.threads, settings.engine.max_batch
    try:
        engine = open_engine(model, modality, name=entrant.engine, precision=entrant.precision, threads=threads,
                             max_batch=max_batch)
    except (BundleError, DeviceError) as error:
        if settings.engine.name != "auto" or entrant == SAFE:
            raise
        _log.warning("%s: %s won the race but cannot be opened (%s); %s serves", modality, entrant, error, SAFE)
        engine = open_engine(model, modality, threads=threads, max_batch=max_batch)
    return with_fallback(engine, model, modality, threads=threads, max_batch=max_batch)
