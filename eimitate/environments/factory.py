"""From a task's name, or a user's function, to an environment."""

import importlib

import dm_env
import numpy as np

from eimitate import errors
from eimitate import types
from eimitate.environments import gl
from eimitate.environments import on_device
from eimitate.environments import tasks
from eimitate.environments.canonical import Canonical


_PROGRAMS = ('brax/', 'playground/')


def is_program(task: str) -> bool:
  """Whether the task's name says that it is a jax program."""
  return task.startswith(_PROGRAMS)


def is_known(task: str) -> bool:
  """Whether `make_environment` knows the task, without a factory."""
  from eimitate.environments import suite  # See below.

  return task == tasks.JACO or task in suite.TASKS


def make_environment(
  task: str, action_repeat: int, factory: str = '', frame_size: int = 0
) -> Canonical:
  """Builds an environment.

  Args:
    task: `domain/task` of the dm_control suite, `jaco/stack`, or the name under which a factory's
      runs go.
    action_repeat: environment steps per action.
    factory: empty, or `module:function`, a function without arguments that returns a
      `dm_env.Environment`. If that has a `seed(int)` method it is called before every episode,
      which makes runs reproducible.
    frame_size: height and width of the frames to observe, 0 to observe state.

  Raises:
    InputError: on an unknown task or a factory that cannot be called, or if frames cannot be drawn.
  """
  errors.check(frame_size >= 0, 'config.frame_size', frame_size, '0 or more')
  if factory:
    expected = "0: frames are drawn of the library's own environments only"
    errors.check(not frame_size, 'config.frame_size', frame_size, expected)
    return Canonical(_import_factory(factory)(), action_repeat)
  errors.check(not is_program(task), 'config.actors.placement', "'host'", f"'device' for {task}")
  if frame_size:
    gl.prepare()
  # dm_control takes a second to import, and the pure half of the library never needs it.
  if task == tasks.JACO:
    from eimitate.environments import jaco

    return jaco.JacoEnvironment(action_repeat, frame_size)
  from eimitate.environments import suite

  return suite.SuiteEnvironment(task, action_repeat, frame_size)


def make_on_device(
  task: str, action_repeat: int, count: int, factory: str = '', frame_size: int = 0
) -> on_device.OnDevice:
  """Builds `count` environments as one jax program.

  Args:
    task: `brax/NAME`, `brax/NAME/BACKEND`, `playground/NAME`, or the name under which a factory's
      runs go.
    action_repeat: environment steps per action.
    count: how many.
    factory: empty, or `module:function`, a function without arguments that returns an
      `on_device.Simulation`.
    frame_size: 0; frames are drawn on the host.

  Raises:
    InputError: on an unknown task, a package that is missing or a factory that cannot be called.
  """
  errors.check(not frame_size, 'config.frame_size', frame_size, '0 with actors on device')
  if factory:
    simulation = _import_factory(factory)()
    good = isinstance(simulation, on_device.Simulation)
    found, expected = f'{factory!r} making {type(simulation).__name__}', 'on_device.Simulation'
    errors.check(good, 'config.environment', found, expected)
    return on_device.OnDevice(simulation, action_repeat, count)
  errors.check(is_program(task), 'config.actors.placement', "'device'", f"'host' for {task}")
  from eimitate.environments import brax

  return on_device.OnDevice(brax.make_simulation(task), action_repeat, count)


def resolve_action_repeat(
  task: str, action_repeat: int, factory: str = '', frame_size: int = 0
) -> int:
  """`action_repeat`, or for 0 the task's own: Table 3 of the paper, 4 for frames, else 1."""
  known = tasks.find(task, frame_size > 0)
  return action_repeat or (known.action_repeat if known and not factory else 1)


def expert_return(task: str, frame_size: int = 0) -> float:
  """The return of the paper's expert on `domain/task` (Tables 3, 4); 0 where there is none."""
  known = tasks.find(task, frame_size > 0)
  return known.expert_return if known else 0.0


def environment_spec(
  environment: dm_env.Environment | on_device.OnDevice, stack: int = 1
) -> types.EnvironmentSpec:
  """The sizes that an agent needs; `stack` frames are seen at once where frames are observed."""
  if isinstance(environment, on_device.OnDevice):
    return environment.spec
  observed, actions = environment.observation_spec(), environment.action_spec().shape[0]
  if observed.dtype == np.uint8:
    return types.EnvironmentSpec(0, actions, frame=observed.shape, stack=stack)
  return types.EnvironmentSpec(observed.shape[0], actions)


def _import_factory(factory):
  expected = 'module:function, a function that returns a dm_env.Environment'
  module_name, separator, name = factory.partition(':')
  errors.check(bool(separator and name), 'config.environment', repr(factory), expected)
  try:
    function = getattr(importlib.import_module(module_name), name)
  except (ImportError, AttributeError) as error:
    raise errors.InputError(
      f'config.environment: found {factory!r} ({error}), expected {expected}'
    ) from error
  errors.check(callable(function), 'config.environment', repr(factory), expected)
  return function
