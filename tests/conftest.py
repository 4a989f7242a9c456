"""Four virtual CPU devices, so that the parallel path is tested; rank promotion is an error."""

import chex
import jax
import pytest

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Most of the suite's time is compiling programs that then run once.
jax.config.update('jax_disable_most_optimizations', True)


@pytest.fixture(autouse=True)
def _fresh_trace_counts():
  chex.clear_trace_counter()
