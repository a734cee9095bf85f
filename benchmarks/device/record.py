"""One JSON file for a device and a backend, whole after every row; a later run goes on with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from keras_lodin.utils.files import atomic_write


class Record:
    """What was found so far, by name.

    Args:
        folder: of the files.
        header: device, backend, versions and whatever else the figures depend on. A file with
            another one is begun anew.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        name = re.sub(r"\W+", "_", f"{header['device']} {header['backend']}".lower())
        self.path = folder / f"{name}.json"
        self._document: dict[str, Any] = {**header, "running": None, "rows": {}, "skipped": {}}
        if self.path.exists():
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if all(found.get(key) == value for key, value in header.items()):
                self._document = {**found, "skipped": {}}

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """What is done, by name; read only."""
        return self._document["rows"]

    def done(self, name: str) -> bool:
        """Whether a row is there and no run need try it again."""
        return name in self.rows and "error" not in self.rows[name]

    def crashed(self) -> None:
        """Notes that what was running ended the process."""
        running = self._document["running"]
        if running:
            self.add(running, {"error": "the process ended"})

    def begin(self, name: str) -> None:
        """Writes what is running, for whoever finds a run that was cut."""
        self._document["running"] = name
        self._write()

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Writes a row."""
        self._document["running"] = None
        self._document["rows"][name] = row
        self._write()

    def skip(self, name: str, needed: float, left: float) -> None:
        """Writes that there was no time for a row, in seconds."""
        self._document["skipped"][name] = {"needed": round(needed), "left": round(left)}
        self._write()

    def _write(self) -> None:
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps(self._document, indent=1) + "\n", encoding="utf-8")
