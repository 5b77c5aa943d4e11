"""A site changes from the shipped bundle to another: real camera daemons, a real collector, drawn people."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.second_bundle import second_bundle
from cmnas_edge.bundle import default_path
from cmnas_edge.synthetic.film import write_site
from cmnas_edge.synthetic.site import Site
from tests.collector.process import Process


class RollOut:
    """One collector and one device, each with the bundles it is told to use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first, self.second = default_path(), second_bundle(folder / "second").path
        self.film = write_site(Site.draw(5, 3, ["visible"], 16.0, 10.0, names=["hall"]), folder / "site",
                               codec="mjpg")["hall"]
        self.collector = Process(folder / "collector")
        self._settings = self.collector.config.read_text("utf-8")
        self._began = time.time() - 5000.0
        self._runs = 0

    def accept(self, bundle: Path, *also: Path) -> None:
        """Start the collector with these bundles; one that runs is killed, as by a power cut."""
        if self.collector.runs:
            self.collector.kill()
        self.collector.config.write_text(self._settings.replace('"bundle"', json.dumps(str(bundle)))
                                         + f"also = {json.dumps([str(path) for path in also])}\n", "utf-8")
        self.collector.start()

    def walk(self, bundle: Path, also: Path | None = None) -> None:
        """Have everybody walk past the camera once more, some minutes later, before a device with these bundles."""
        token, config = self.folder / "gate.token", self.folder / "gate.toml"
        if not token.exists():
            token.touch(0o600)
            token.write_text(self.collector.enrol(), "utf-8")
        self._runs += 1
        second = "" if also is None else f'also = "{also}"\nalso_until = 2999-01-01T00:00:00Z\n'
        config.write_text(
            f'device = "gate"\ncollector = "{self.collector.url}"\ntoken = "gate.token"\nbundle = "{bundle}"\n{second}'
            'trust = { allow_unsigned_bundle = true }\nspool = { path = "gate.spool" }\n'
            'engine = { name = "onnxruntime" }\n[[cameras]]\nname = "hall"\ndetector = { kind = "motion" }\n'
            'spectrum = { modality = "visible" }\n'
            f'source = {{ location = "{self.film}", pace = "fast", starts_at = {self._began + 600 * self._runs} }}\n',
            "utf-8")
        done = subprocess.run([sys.executable, "-m", "cmnas_edge.cli", "camera", str(config)], capture_output=True,
                              text=True, timeout=120, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr

    def ask(self, what: str) -> Any:
        """Ask the collector."""
        return httpx.get(f"{self.collector.url}/v1/{what}", timeout=30).json()

    def people(self) -> dict[int, int]:
        """How often each identity was seen."""
        deadline = time.monotonic() + 60
        while self.ask("health")["behind_count"] and time.monotonic() < deadline:
            time.sleep(0.05)
        return {who["identity"]: len(who["tracklets"]) for who in self.ask("identities")["identities"]}


def test_everybody_keeps_their_number_through_an_overlap_a_power_cut_and_beyond(tmp_path: Path) -> None:
    site = RollOut(tmp_path)
    with site.collector:
        site.accept(site.second, site.first)
        site.walk(site.first)
        before = site.people()
        assert len(before) > 1
        site.walk(site.second, site.first)
        site.accept(site.second, site.first)    # killed in the middle
        assert site.people() == {number: 2 * count for number, count in before.items()}
        site.walk(site.second)
        assert site.people() == {number: 3 * count for number, count in before.items()}
        bundles = site.ask("health")["bundles"]
        assert [one["camera_count"] for one in bundles] == [1, 1]       # by both in the last ten minutes
        site.accept(site.second)    # the first is over
        assert site.people() == {number: 2 * count for number, count in before.items()}
