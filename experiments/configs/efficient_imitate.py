"""EfficientImitate's --config: the agent's fields and the run's, side by side."""

import dataclasses

from eimitate import configuration
from eimitate import errors
from eimitate import runs
from eimitate.agents import efficient_imitate

_VARIANTS = {
  'tuned': efficient_imitate.tuned,
  'paper': efficient_imitate.paper,
  'released': efficient_imitate.released,
}


@dataclasses.dataclass(frozen=True)
class Config(efficient_imitate.Config, runs.Config):
  """Flat, so that --config.search.kind and --config.agent_steps need no prefix."""


def make_config(variant: str = 'tuned', task: str = '') -> Config:
  """The defaults of a variant on a task.

  Raises:
    InputError: on an unknown variant.
  """
  errors.check(variant in _VARIANTS, '--variant', repr(variant), ' or '.join(_VARIANTS))
  agent = _VARIANTS[variant]()
  if task.startswith('humanoid/') and variant != 'tuned':
    # Appendix A.1.1 and Table 1.
    agent = configuration.override(
      agent,
      {'networks.value': (256,), 'networks.policy': (256,), 'loss.discriminator': 1.0},
    )
  if task.startswith(('finger/', 'hopper/')) and variant == 'released':
    agent = configuration.override(agent, {'search.num_actions': 8, 'search.bc_fraction': 0.5})
  return Config(**_fields(agent))


def _fields(config):
  return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
