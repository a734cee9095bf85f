"""What is to be timed, as it is named on the command line."""

from __future__ import annotations

from scale import methods, networks

_KINDS = (methods.PLAIN, methods.TWO, methods.LOGITS, methods.SOFTMAX, methods.PENALTY)


def parsed(setting: str) -> tuple[str, str, int, int]:
    """Network, kind of method, batch, and how many trainings side by side.

    Raises:
        ValueError: if the setting is not `NETWORK:KIND:BATCH` or `NETWORK:KIND:BATCH:COUNT`.
    """
    network, _, rest = setting.partition(":")
    networks.parts(network)
    kind, *counts = rest.split(":")
    if kind not in _KINDS or len(counts) not in (1, 2) or not all(map(str.isdigit, counts)):
        raise ValueError(
            "Expected NETWORK:KIND:BATCH or NETWORK:KIND:BATCH:COUNT, with a kind of "
            f"{', '.join(_KINDS)}. Received: {setting!r}"
        )
    return network, kind, int(counts[0]), int(counts[1]) if counts[1:] else 1
