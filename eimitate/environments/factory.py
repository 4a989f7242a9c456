"""From a task's name, or a user's function, to an environment."""

import importlib

import dm_env

from eimitate import errors
from eimitate import types
from eimitate.environments.canonical import Canonical


def make_environment(task: str, action_repeat: int, factory: str = '') -> Canonical:
  """Builds an environment.

  Args:
    task: `domain/task` of the dm_control suite, or the name under which a factory's runs go.
    action_repeat: environment steps per action.
    factory: empty, or `module:function`, a function without arguments that returns a
      `dm_env.Environment`. If that has a `seed(int)` method it is called before every episode,
      which makes runs reproducible.

  Raises:
    InputError: on an unknown task or a factory that cannot be called.
  """
  if factory:
    return Canonical(_import_factory(factory)(), action_repeat)
  # dm_control takes a second to import, and the pure half of the library never needs it.
  from eimitate.environments import suite

  return suite.SuiteEnvironment(task, action_repeat)


def resolve_action_repeat(task: str, action_repeat: int, factory: str = '') -> int:
  """`action_repeat`, or for 0 the task's own: Table 3 of the paper, else 1."""
  if action_repeat or factory:
    return action_repeat or 1
  from eimitate.environments import suite

  return suite.TASKS[task].action_repeat if task in suite.TASKS else 1


def expert_return(task: str) -> float:
  """The return of the paper's expert on `domain/task` (Table 3); 0 where there is none."""
  from eimitate.environments import suite

  return suite.TASKS[task].expert_return if task in suite.TASKS else 0.0


def environment_spec(environment: dm_env.Environment) -> types.EnvironmentSpec:
  """The sizes that an agent needs."""
  return types.EnvironmentSpec(
    observation_size=environment.observation_spec().shape[0],
    action_size=environment.action_spec().shape[0],
  )


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
