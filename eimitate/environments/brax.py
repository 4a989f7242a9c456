"""Simulations by name: `brax/NAME`, `brax/NAME/BACKEND` and `playground/NAME`."""

from collections.abc import Callable
import contextlib
import functools
import importlib
import io
import logging
from typing import Any
import warnings

import jax
import jax.numpy as jnp

from eimitate import errors
from eimitate.environments import on_device
from eimitate.environments import tasks

_BACKENDS = ('generalized', 'spring', 'positional', 'mjx')
_EPISODE_LENGTH = 1000  # What brax's own training uses for all of its environments.


@functools.cache  # What is traced and compiled of it serves actors and evaluation.
def make_simulation(task: str) -> on_device.Simulation:
  """Builds the simulation that `task` names.

  Args:
    task: `brax/NAME` in brax's default backend or `brax/NAME/BACKEND`, or `playground/NAME` of
      mujoco_playground's dm_control_suite.

  Raises:
    InputError: if the package is not installed, or has no such environment or backend.
  """
  source, *rest = task.split('/')
  make = {'brax': _make_brax, 'playground': _make_playground}[source]
  with _quiet():
    return make(task, *rest)


def _make_brax(task, name='', backend='generalized', *rest):
  envs = _import('brax.envs', 'brax')
  known = sorted(envs._envs)  # pylint: disable=protected-access
  errors.check(name in known, 'task', repr(task), f'brax/ and one of {", ".join(known)}')
  good = backend in _BACKENDS and not rest
  errors.check(good, 'task', repr(task), f'brax/{name}/ and a backend: {", ".join(_BACKENDS)}')
  try:
    environment = envs.get_environment(name, backend=backend)
  except (NotImplementedError, TypeError, ValueError) as error:
    raise errors.InputError(
      f'task: found {task!r} ({error}), expected a backend that brax has for {name}'
    ) from error

  def reset(rng_key):
    state = environment.reset(rng_key)
    return state, state.obs

  def step(state, action):
    state = environment.step(state, action)
    return state, on_device.Outcome(state.obs, state.reward, state.done > 0)

  return _sized(reset, step, environment.action_size, _EPISODE_LENGTH, float(environment.dt))


def load_playground(task: str) -> Any:
  """mujoco_playground's own environment; see `make_simulation`."""
  mujoco = _import('mujoco', 'mujoco')
  if not hasattr(mujoco.MjSpec, 'find_body'):
    # The name before MuJoCo 3.3; playground compares versions as text and takes 3.17 for older.
    mujoco.MjSpec.find_body = mujoco.MjSpec.body
  suite = _import('mujoco_playground._src.dm_control_suite', 'playground')
  name, known = task.removeprefix('playground/'), suite.ALL_ENVS
  errors.check(name in known, 'task', repr(task), f'playground/ and one of {", ".join(known)}')
  return suite.load(name, config_overrides={'impl': 'jax'})


def _make_playground(task, *_):
  environment = load_playground(task)
  mjx = _import('mujoco.mjx', 'mujoco-mjx')
  model, substeps = environment.mjx_model, environment.n_substeps
  observe = functools.partial(observe_as_suite, task, environment)

  def reset(rng_key):
    state = environment.reset(rng_key)
    data = mjx.forward(model, state.data)  # Some tasks move their target after theirs.
    return (data, state.info, state.metrics), observe(data, state.info)

  def step(state, action):
    data, info, metrics = state

    def substep(data, _):
      return mjx.step(model, data.replace(ctrl=action)), None

    data, _ = jax.lax.scan(substep, data, length=substeps)
    # A step leaves what derives from positions one step behind. Playground observes that;
    # dm_control computes it anew.
    data = mjx.forward(model, data)
    reward = environment._get_reward(data, action, info, dict(metrics))
    terminated = jnp.bool(False)  # By NaN only, which `on_device` looks for itself.
    return (data, info, metrics), on_device.Outcome(observe(data, info), reward, terminated)

  everything = int(_import('mujoco', 'mujoco').mjtState.mjSTATE_INTEGRATION)

  def save(state):
    data, info, metrics = state
    return mjx.get_state(model, data, everything), info, metrics

  def restore(saved):
    state, info, metrics = saved
    begun = mjx.make_data(environment.mj_model, impl='jax')
    data = mjx.forward(model, mjx.set_state(model, begun, state, everything))
    # The solver left another guess to start from.
    return mjx.set_state(model, data, state, everything), info, metrics

  from eimitate.environments import suite  # What is observed is laid out as the suite's.

  simulation = _sized(
    reset, step, environment.action_size, environment._config.episode_length, environment.dt
  )
  parts = suite.SuiteEnvironment(tasks.counterpart(task), 1).parts
  return simulation._replace(parts=parts, save=_quietly(save), restore=_quietly(restore))


def observe_as_suite(task: str, environment: Any, data: Any, info: Any) -> jax.Array:
  """What dm_control's own task would observe of playground's `data`, `[O]`."""
  observation = environment._get_obs(data, info)
  return _ARRANGED[task](environment, data, observation) if task in _ARRANGED else observation


def _walker(environment, data, observation):
  # Playground has the torso's inclination in the place of its height.
  return observation.at[14].set(data.xpos[environment._torso_id, 2])


def _fish(environment, data, observation):
  del environment, data
  return jnp.concatenate([observation[1:8], observation[:1], observation[8:]])


def _pendulum(environment, data, observation):
  del environment, data
  return observation[jnp.array([1, 0, 2])]


# Where playground observes other things than dm_control's task, or in another order.
_ARRANGED: dict[str, Callable[..., jax.Array]] = {
  'playground/WalkerStand': _walker,
  'playground/WalkerWalk': _walker,
  'playground/WalkerRun': _walker,
  'playground/FishSwim': _fish,
  'playground/PendulumSwingup': _pendulum,
}


def _sized(reset, step, action_size, episode_length, timestep) -> on_device.Simulation:
  # Jitted, they are traced once wherever they are called from.
  reset, step = jax.jit(_quietly(reset)), jax.jit(_quietly(step))
  _, observation = jax.eval_shape(reset, jax.random.key(0))
  return on_device.Simulation(
    reset, step, observation.shape[-1], action_size, episode_length, timestep
  )


def _quietly(function: Callable[..., Any]) -> Callable[..., Any]:
  @functools.wraps(function)
  def traced(*arguments):
    with _quiet():  # Both packages warn of their own code while it is traced.
      return function(*arguments)

  return traced


def _import(module, package):
  try:
    return importlib.import_module(module)
  except ImportError as error:
    expected = f'the package {package}, which this task needs (see README)'
    raise errors.InputError(f'task: found no module {error.name!r}, expected {expected}') from error


@contextlib.contextmanager
def _quiet():
  """Keeps what other packages print and warn of from the user, and lets them promote ranks."""
  absl, level = logging.getLogger('absl'), logging.getLogger('absl').level
  with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter('ignore')
    absl.setLevel(logging.ERROR)
    try:
      with jax.numpy_rank_promotion('allow'):
        yield
    finally:
      absl.setLevel(level)
