"""Properties whose examples run TensorFlow: `make test-slow` tries more of them."""

import os

from hypothesis import settings

fewer_examples = settings(max_examples=int(os.environ.get("KERAS_LODIN_EXAMPLES", "15")))
