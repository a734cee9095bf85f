"""Properties whose examples run TensorFlow: fewer of them in the fast run than in `make test-slow`."""

import os

from hypothesis import settings

fewer_examples = settings(max_examples=int(os.environ.get("KERAS_LODIN_EXAMPLES", "15")))
