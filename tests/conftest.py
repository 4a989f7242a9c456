"""Four virtual CPU devices, so that the parallel path is tested; rank promotion is an error."""

import os
import tempfile

# Most of the suite's time is compiling programs that then run once, some of them in many tests. In
# the environment, so that the processes that tests start share them.
os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'
# XLA's fusion emitters compile slowly at any optimisation: 40% of the learner's tests.
os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} --xla_cpu_use_fusion_emitters=false'
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.3'
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  os.environ['JAX_COMPILATION_CACHE_DIR'] = tempfile.mkdtemp(prefix='eimitate-tests-')

# pylint: disable=wrong-import-position
import chex
import jax
import pytest

from eimitate.environments import gl

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')


def pytest_configure(config):
  # MuJoCo decides on import whether it can draw. `./test.sh --no-gl` deselects what needs that.
  if config.option.markexpr != 'not gl':
    gl.prepare()


# A file is one process's: the longest come first, so that none is left over for the end.
_LONGEST = (
  'test_faults.py',
  'test_training.py',
  'test_binaries.py',
  'test_notebooks.py',
  'test_training_on_device.py',
  'test_agreement.py',
  'test_processes.py',
  'test_tracking.py',
  'test_metamimic.py',
  'test_benchmark.py',
  'test_efficient_imitate_learner.py',
)


def pytest_collection_modifyitems(items):
  rank = {name: place for place, name in enumerate(_LONGEST)}
  items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(autouse=True)
def _fresh_trace_counts():
  chex.clear_trace_counter()


@pytest.fixture(autouse=True, scope='module')
def _programs_are_given_up():
  """All that the suite compiles would otherwise stay: 5 GB a process."""
  yield
  jax.clear_caches()
