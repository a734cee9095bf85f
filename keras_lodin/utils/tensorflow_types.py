"""Values of TensorFlow, told without importing it: where it was not, there are none."""

from __future__ import annotations

import sys
from operator import attrgetter
from typing import Any, TypeGuard


def is_tensorflow(value: object, name: str) -> TypeGuard[Any]:
    """Whether a value is of a class of TensorFlow.

    Args:
        value: anything.
        name: the class, as in "data.Dataset".
    """
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(value, attrgetter(name)(tensorflow))
