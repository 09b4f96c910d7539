"""What `warm_worker` has imported before a worker, or a whole command (`forked_runs`), is asked for."""

from hedgebench.compat import prepare

prepare()

import pandas  # noqa: E402, F401
import pyarrow.parquet  # noqa: E402, F401
import sae_lens  # noqa: E402, F401
import transformer_lens  # noqa: E402, F401

import hedgebench.results  # noqa: E402
import hedgebench.runner  # noqa: E402
import hedgebench.worker  # noqa: E402, F401
