"""What `warm_worker` has imported before a worker is asked for."""

from hedgebench.compat import prepare

prepare()

import sae_lens  # noqa: E402, F401
import transformer_lens  # noqa: E402, F401

import hedgebench.worker  # noqa: E402, F401
