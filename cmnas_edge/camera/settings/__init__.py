"""What an operator writes about a device and its cameras: one TOML file, every key documented.

A relative path means *relative to the settings file*. The smallest useful file::

    device = "gate"
    collector = "https://collector.example:8700"
    token = "gate.token"

    [[cameras]]
    name = "north"
    source = {location = "rtsp://10.0.0.7/live"}
"""

from cmnas_edge.camera.settings.cameras import (
    CameraSettings,
    DetectorSettings,
    SelectSettings,
    SourceSettings,
    SpectrumSettings,
    TrackSettings,
)
from cmnas_edge.camera.settings.device import DeviceSettings, EngineSettings, LinkSettings, SpoolSettings
from cmnas_edge.camera.settings.file import load

__all__ = ["CameraSettings", "DetectorSettings", "DeviceSettings", "EngineSettings", "LinkSettings",
           "SelectSettings", "SourceSettings", "SpectrumSettings", "SpoolSettings", "TrackSettings", "load"]
