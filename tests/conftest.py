"""Four virtual CPU devices, so that the parallel path is tested; rank promotion is an error."""

import tempfile

import chex
import jax
import pytest

from eimitate.environments import gl

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Most of the suite's time is compiling programs that then run once, some of them in many tests.
jax.config.update('jax_disable_most_optimizations', True)
if not jax.config.jax_compilation_cache_dir:  # JAX_COMPILATION_CACHE_DIR keeps it between runs.
  jax.config.update('jax_compilation_cache_dir', tempfile.mkdtemp(prefix='eimitate-tests-'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


def pytest_configure(config):
  # MuJoCo decides on import whether it can draw. `./test.sh --no-gl` deselects what needs that.
  if config.option.markexpr != 'not gl':
    gl.prepare()


@pytest.fixture(autouse=True)
def _fresh_trace_counts():
  chex.clear_trace_counter()


@pytest.fixture(autouse=True, scope='module')
def _programs_are_given_up():
  """All that the suite compiles would otherwise stay: 5 GB a process."""
  yield
  jax.clear_caches()
