"""Environments behind one interface: dm_env, flat float32 observations, actions in [-1, 1]."""

from eimitate.environments.canonical import Canonical
from eimitate.environments.factory import environment_spec
from eimitate.environments.factory import expert_return
from eimitate.environments.factory import make_environment
from eimitate.environments.factory import resolve_action_repeat

__all__ = [
  'Canonical',
  'environment_spec',
  'expert_return',
  'make_environment',
  'resolve_action_repeat',
]
