"""From a task's name, or a user's function, to an environment."""

import importlib

import dm_env
import numpy as np

from eimitate import errors
from eimitate import types
from eimitate.environments import gl
from eimitate.environments import tasks
from eimitate.environments.canonical import Canonical


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
  if frame_size:
    gl.prepare()
  # dm_control takes a second to import, and the pure half of the library never needs it.
  if task == tasks.JACO:
    from eimitate.environments import jaco

    return jaco.JacoEnvironment(action_repeat, frame_size)
  from eimitate.environments import suite

  return suite.SuiteEnvironment(task, action_repeat, frame_size)


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


def environment_spec(environment: dm_env.Environment, stack: int = 1) -> types.EnvironmentSpec:
  """The sizes that an agent needs; `stack` frames are seen at once where frames are observed."""
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
