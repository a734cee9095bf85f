"""The folder of a job: one run at a time, which goes on with what it finds or refuses it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from keras_lodin.data import difference
from keras_lodin.data.specification import parse
from keras_lodin.utils.files import atomic_write, check_no_input, holds_others
from keras_lodin.utils.folder_claim import claimed

# See `keras_lodin.data.identity`.
Identity: TypeAlias = Mapping[str, object]


@contextlib.contextmanager
def results_folder(
    output: str | os.PathLike[str] | None, *specifications: str | None
) -> Iterator[None]:
    """Claims the folder for a job, before its work: what cannot be written is said then.

    Args:
        output: the folder; None for a job that writes nothing.
        specifications: of the data that the job reads.

    Raises:
        ValueError: if another run is at work in the folder, or it is a folder of the data or lies
            in one, where plots would become images of it.
        OSError: if nothing can be written there.
    """
    if output is None:
        yield
        return
    folders = [parse(text).folder for text in specifications if text is not None]
    check_no_input(output, [folder for folder in folders if folder is not None])
    with claimed(output):
        yield


@dataclass(frozen=True)
class JobFolder:
    """The folder of a job that can be killed at any moment, and goes on when it is started again.

    Attributes:
        output: the folder.
        job: what messages call the job, such as "sweep".
    """

    output: Path
    job: str

    def earlier_state(self, name: str, **fields: type) -> dict[str, Any] | None:
        """What an earlier start of the same job recorded.

        Args:
            name: of the JSON file of it.
            **fields: what the file must hold, and of which type.

        Returns:
            its content; None where there is no file.

        Raises:
            ValueError: if the file is damaged.
        """
        path = self.output / name
        if not path.exists():
            return None
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            state = None
        whole = isinstance(state, dict)
        if not whole or not all(isinstance(state.get(name), kind) for name, kind in fields.items()):
            raise self.damaged(name)
        return dict(state)

    def damaged(self, name: str) -> ValueError:
        """The error of a file that holds something else than the job wrote."""
        return ValueError(
            f"The file {name} of the {self.job} is damaged. Restore it, or choose another "
            f"folder. Received: output={str(self.output)!r}"
        )

    def record(self, name: str, state: Mapping[str, object]) -> None:
        """Writes what `earlier_state` reads."""
        with atomic_write(self.output / name) as temporary:
            temporary.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")

    def check_begins(self) -> None:
        """Raises ValueError unless the folder is new or empty, for a job that begins."""
        output = self.output
        if output.exists() and (not output.is_dir() or holds_others(output)):
            raise ValueError(
                f"The output must be a new or empty folder, or one that holds the same {self.job}. "
                f"Received: output={str(output)!r}"
            )

    def check_same_settings(self, before: Mapping[str, object], now: Mapping[str, object]) -> None:
        """Raises ValueError with every setting that differs from those the job was begun with."""
        # As they would be read back: JSON has no tuples.
        now = json.loads(json.dumps(now))
        different = [
            f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
            for name in {**now, **before}
            if before.get(name) != now.get(name)
        ]
        self._refuse(different, "with other settings", "the same settings to go on with it")

    def check_same_data(self, before: Mapping[str, Identity], now: Mapping[str, Identity]) -> None:
        """Raises ValueError for other data than the job was begun on: its figures would be others.

        Args:
            before: `keras_lodin.data.identity` of each part of the data, as it was recorded.
            now: as it is; parts that were not recorded are not compared.
        """
        different = [
            f"{part}: {told}"
            for part, identity in now.items()
            if part in before and (told := difference(before[part], identity))
        ]
        self._refuse(
            different, "that was begun on other data", "give it the same data to go on with"
        )

    def _refuse(self, different: list[str], what: str, remedy: str) -> None:
        if different:
            raise ValueError(
                f"The output folder holds a {self.job} {what}. Choose another folder, or {remedy}: "
                f"{'; '.join(different)}. Received: output={str(self.output)!r}"
            )
