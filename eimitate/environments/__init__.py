"""Environments behind one interface: dm_env, flat float32 observations, actions in [-1, 1].

Those that are jax programs (`OnDevice`) come in batches of the same conventions, as pure functions.
"""

from eimitate.environments.canonical import Canonical
from eimitate.environments.factory import environment_spec
from eimitate.environments.factory import expert_return
from eimitate.environments.factory import is_known
from eimitate.environments.factory import is_program
from eimitate.environments.factory import make_environment
from eimitate.environments.factory import make_on_device
from eimitate.environments.factory import resolve_action_repeat
from eimitate.environments.on_device import OnDevice
from eimitate.environments.tasks import counterpart

__all__ = [
  'Canonical',
  'OnDevice',
  'counterpart',
  'environment_spec',
  'expert_return',
  'is_known',
  'is_program',
  'make_environment',
  'make_on_device',
  'resolve_action_repeat',
]
