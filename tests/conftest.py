"""What all tests share."""

import os

# The engine's own threads share the cores with pytest's workers.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
