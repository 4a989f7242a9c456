"""EfficientImitate's --config: the agent's fields and the run's, side by side."""

import dataclasses

from eimitate import configuration
from eimitate import environments
from eimitate import errors
from eimitate import runs
from eimitate.agents import efficient_imitate

_VARIANTS = {
  'tuned': efficient_imitate.tuned,
  'paper': efficient_imitate.paper,
  'released': efficient_imitate.released,
}


PRESETS = ('state', 'image')


@dataclasses.dataclass(frozen=True)
class Config(efficient_imitate.Config, runs.Config):
  """Flat, so that --config.search.kind and --config.agent_steps need no prefix."""


def make_config(variant: str = 'tuned', task: str = '', preset: str = 'state') -> Config:
  """The defaults of a variant on a task, from state or from frames.

  Raises:
    InputError: on an unknown variant or preset.
  """
  errors.check(variant in _VARIANTS, '--variant', repr(variant), ' or '.join(_VARIANTS))
  errors.check(preset in PRESETS, '--preset', repr(preset), ' or '.join(PRESETS))
  frames, task = preset == 'image', environments.counterpart(task)
  agent = _VARIANTS[variant](frames)
  if task.startswith('humanoid/') and variant != 'tuned':
    # Appendix A.1.1 and Table 1; the released heads are linear on every task.
    wide = {'networks.value': (256,), 'networks.policy': (256,)} if variant == 'paper' else {}
    agent = configuration.override(agent, wide | {'loss.discriminator': 1.0})
  if task.startswith(('finger/', 'hopper/')) and variant == 'released' and not frames:
    agent = configuration.override(agent, {'search.num_actions': 8, 'search.bc_fraction': 0.5})
  if task.startswith('walker/') and variant == 'released' and frames:
    agent = configuration.override(agent, {'loss.bc': 0.1})
  settings = _run_settings(variant, task) if frames else {}
  return configuration.override(Config(**_fields(agent)), settings)


def _run_settings(variant, task):
  """Of a run from frames: 48 x 48 pixels, twenty demonstrations."""
  settings = {
    'frame_size': 48,
    'num_demonstrations': 20,
    # On two cores up to half a second each: a run that is told to stop saves after a call.
    'updates_per_call': 10,
  }
  if variant == 'tuned':  # Else as from state.
    return settings | {'stack': 3}
  updates = 1.0 if task.startswith('walker/') else 2.0
  return settings | {'actors.num': 4, 'updates_per_agent_step': updates}


def _fields(config):
  return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
