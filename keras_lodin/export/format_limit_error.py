"""How a format says that it cannot hold a detector."""

from __future__ import annotations

from collections.abc import Sequence


class FormatLimitError(ValueError):
    """A format has no way to write a detector; others may have.

    Args:
        problem: what it has no way to write, a sentence without its full stop.
        received: what was met.
        change: None, or what to change in the classifier, a sentence.

    Attributes:
        parts: these three.
    """

    def __init__(self, problem: str, received: str, change: str | None = None) -> None:
        self.parts = (problem, received, change)
        super().__init__(self._text())

    def with_formats(self, accepted: Sequence[str]) -> ValueError:
        """The refusal with advice on formats.

        Args:
            accepted: the other formats that were tried and took the detector.
        """
        listed = " or ".join(f"format={name!r}" for name in accepted)
        advice = (
            f"Or export with {listed}: that was tried, and works."
            if accepted
            else "The other formats that take more were tried, and refuse the detector as well."
        )
        return ValueError(self._text(advice))

    def _text(self, advice: str | None = None) -> str:
        problem, received, change = self.parts
        sentences = [f"{problem}; nothing was written.", change, advice]
        said = " ".join(sentence for sentence in sentences if sentence)
        return f"{said} Received: {received}"
