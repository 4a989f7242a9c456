"""EfficientImitate's settings: the paper's, the released code's, and ours.

The dataclass defaults are the paper's (state: appendix A.1.1, A.2 and Table 1); `released` and
`tuned` list every difference from it.
"""

import dataclasses

from eimitate import configuration
from eimitate import errors
from eimitate.agents.efficient_imitate.losses import LossConfig
from eimitate.agents.efficient_imitate.networks import NetworksConfig
from eimitate.networks import mlp
from eimitate.search import Config as SearchConfig


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
  """The optimiser.

  name: `sgd` or `adam`.
  weight_decay: joins the gradient after clipping, as in PyTorch.
  averaging: the share of the parameters' average, which then acts, that an update keeps; 0 for no
    average: the latest parameters act.
  """

  name: str = 'sgd'
  learning_rate: float = 0.01
  momentum: float = 0.9
  weight_decay: float = 1e-4
  max_gradient_norm: float = 10.0
  averaging: float = 0.0


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything that EfficientImitate's agent depends on.

  reward: `adversarial`, the discriminator's; `environment`, the task's as recorded; or `tracking`,
    of following a demonstration whose next observation is shown as goal.
  batch_size: sequences per update over all devices, half of them from the demonstrations.
  unroll_steps: H.
  discount: gamma, per agent step.
  target_update_interval: updates between copies of the parameters to the target network.
  target_discriminator: rewards in value targets come from the target network, else from the
    online one (an ablation of the paper).
  reanalyse_noise, evaluation_noise: root noise in the learner's searches and in evaluation.
  shift, intensity: augmentation of the learner's frames: pixels that they are moved by at most, and
    spread of the factor that they are multiplied by; 0 for none, as with `networks.keypoints`.
  """

  reward: str = 'adversarial'
  batch_size: int = 256
  unroll_steps: int = 5
  discount: float = 0.99
  target_update_interval: int = 200
  target_discriminator: bool = True
  reanalyse_noise: bool = False
  evaluation_noise: bool = False
  shift: int = 4
  intensity: float = 0.05
  search: SearchConfig = SearchConfig()
  networks: NetworksConfig = NetworksConfig()
  loss: LossConfig = LossConfig()
  optimiser: OptimiserConfig = OptimiserConfig()

  @property
  def rewards(self) -> tuple[str, ...]:
    """Which of a step's rewards it learns from."""
    return {'tracking': ('tracking',), 'environment': ('task',)}.get(self.reward, ())

  @property
  def shortest_demonstration(self) -> int:
    """Steps that a demonstration has at least: windows are padded past its end."""
    return 1

  @property
  def needs_demonstrations(self) -> bool:
    """Whether it cannot do without demonstrations."""
    return True

  @property
  def needs_statistics(self) -> bool:
    """Whether it must know how observations spread."""
    return self.networks.normalise_observations

  @property
  def shared_rows(self) -> int:
    """Rows of the batch that devices share evenly: one half."""
    return self.batch_size // 2


# What differs where frames are observed (appendix A.1.2 and Table 2).
_FRAMES = {
  'batch_size': 128,
  'networks.encoder': (32, 32, 32, 32),
  'networks.dynamics_activation': 'relu',
  'networks.value': (100, 100),
  'networks.policy': (100, 100),
  'networks.discriminator': (100,),
  'networks.activation': 'relu',
  'networks.projection': 1024,
  'networks.projector': (1024, 1024),
  'networks.predictor': (512,),
  'networks.batch_norm': True,
  'networks.value_limit': 40.0,
  'loss.consistency': 20.0,
  'optimiser.learning_rate': 0.02,
}


def paper(frames: bool = False) -> Config:
  """The paper's settings, for state observations or for frames."""
  return configuration.override(Config(), _FRAMES if frames else {})


def released(frames: bool = False) -> Config:
  """The released code's settings, where they differ from the paper's."""
  if frames:
    settings = {
      'loss.value': 0.5,
      'networks.head_activation': 'elu',
      'networks.zero_last_layers': False,
      'reanalyse_noise': True,
      'evaluation_noise': True,
    }
    return configuration.override(Config(), _FRAMES | settings)
  config = Config(reanalyse_noise=True, evaluation_noise=True)
  return dataclasses.replace(
    config,
    networks=dataclasses.replace(
      config.networks,
      representation=(256, 256),
      dynamics=(256, 256),
      value=(),
      policy=(),
      projector_activation='elu',
      zero_last_layers=False,
    ),
    loss=dataclasses.replace(
      config.loss, penalty_expert='one_row', consistency_target='target', bc_interval=2
    ),
  )


def tuned(frames: bool = False) -> Config:
  """What learns best in our hands; the curves are in experiments/results/."""
  config = _tuned()
  if not frames:
    return config
  seen = {
    # Latents are linear in positions, as they are in what state observes: in those of the paper's
    # encoder a model does not learn what actions do.
    'networks.encoder': (8, 16),
    'networks.keypoints': True,
    'networks.representation': (256,),
    'networks.latent': 128,
    # The encoder learns from this term, too.
    'loss.bc': Config().loss.bc,
    # Positions would be wrong by what frames are moved by.
    'shift': 0,
    'intensity': 0.0,
  }
  return configuration.override(config, seen)


def _tuned() -> Config:
  config = Config(batch_size=128, discount=0.97, target_update_interval=100, reanalyse_noise=True)
  return dataclasses.replace(
    config,
    # Reanalyse one ply deep and wide, act with a search that is deep and stays near what
    # cloning would do: see `search.cem`.
    search=dataclasses.replace(
      config.search,
      kind='gumbel',
      acting_kind='cem',
      num_simulations=16,
      count_root=False,
      max_considered_actions=16,
      value_scale=0.2,
      bc_penalty=5.0,
    ),
    # A model that has seen little data must know what an action does where it has not been tried.
    # With latents that are linear in the observation that generalises, with others it does not.
    networks=dataclasses.replace(
      config.networks,
      latent=64,
      representation=(),
      residual_dynamics=True,
      value=(128, 128),
      policy=(256, 256),
      bc_members=5,
      value_bins=121,
      value_limit=30.0,
      normalise_observations=True,
    ),
    loss=dataclasses.replace(
      config.loss,
      consistency=20.0,
      consistency_space='latent',
      # The expert's states are worth visiting before the agent has found its way there.
      expert_value=1.0,
      # Without units the same coefficient serves every task; see `adversarial.spread`.
      gradient_penalty=0.003,
      penalty_centre=0.0,
      penalty_scale='spread',
      # The policies' own steps are Adam's, whatever these are. With the paper's the gradients of
      # their densities, which grow as they become certain, have all terms clipped.
      policy=0.01,
      bc=1e-4,
      # What the model imagines is not what the expert saw, and cloning from it fits neither.
      bc_steps='single',
    ),
    # Under SGD the BC policy, whose coefficient is small, hardly moves; under weight decay, which
    # joins the gradient before Adam scales it, its error on ball in cup was 0.17 instead of 0.10.
    # How well the policies do changes from one moment to the next; what acts is their average.
    optimiser=dataclasses.replace(
      config.optimiser, name='adam', learning_rate=1e-3, weight_decay=0.0, averaging=0.999
    ),
  )


_CHOICES = {
  'reward': ('adversarial', 'tracking', 'environment'),
  'search.acting_kind': ('', 'mctx', 'node_list', 'gumbel', 'cem'),
  'loss.penalty_scale': ('none', 'spread'),
  'loss.penalty_expert': ('pairs', 'one_row'),
  'loss.discriminator_steps': ('multi', 'single'),
  'loss.consistency_space': ('projection', 'latent'),
  'loss.consistency_target': ('online', 'target'),
  'loss.bc_steps': ('multi', 'single'),
  'optimiser.name': ('sgd', 'adam'),
  'networks.activation': tuple(mlp.ACTIVATIONS),
  'networks.head_activation': tuple(mlp.ACTIVATIONS),
  'networks.dynamics_activation': ('identity', 'relu'),
  'networks.projector_activation': tuple(mlp.ACTIVATIONS),
}
_LAYERS = (
  'representation',
  'dynamics',
  'value',
  'policy',
  'discriminator',
  'encoder',
  'projector',
  'predictor',
)
_POSITIVE = (
  'batch_size',
  'unroll_steps',
  'target_update_interval',
  'loss.bc_interval',
  'optimiser.learning_rate',
  'optimiser.max_gradient_norm',
  'networks.latent',
  'networks.projection',
  'networks.bc_members',
  'networks.value_limit',
)
_NOT_NEGATIVE = ('shift', 'intensity', 'optimiser.weight_decay')


def validate(config: Config) -> None:
  """Raises `InputError` where `config` holds what no agent can be built from."""
  for field, choices in _CHOICES.items():
    value = _get(config, field)
    errors.check(value in choices, f'config.{field}', repr(value), ' or '.join(choices))
  for field in _POSITIVE:
    value = _get(config, field)
    errors.check(value > 0, f'config.{field}', value, 'more than 0')
  for field in _LAYERS:
    mlp.check_sizes(f'config.networks.{field}', getattr(config.networks, field))
  coefficients = dataclasses.asdict(config.loss)
  numbers = [f'loss.{name}' for name, value in coefficients.items() if isinstance(value, float)]
  for field in (*_NOT_NEGATIVE, *numbers):
    value = _get(config, field)
    errors.check(value >= 0, f'config.{field}', value, '0 or more')
  for field in ('optimiser.momentum', 'optimiser.averaging', 'discount'):
    value = _get(config, field)
    errors.check(0 <= value < 1, f'config.{field}', value, 'in [0, 1)')
  errors.check(config.batch_size % 2 == 0, 'config.batch_size', config.batch_size, 'an even number')
  if config.networks.keypoints:
    for field in ('shift', 'intensity'):
      value = getattr(config, field)
      errors.check(not value, f'config.{field}', value, '0 with networks.keypoints')
  bins = config.networks.value_bins
  errors.check(bins >= 3 and bins % 2 == 1, 'config.networks.value_bins', bins, 'odd, 3 or more')


def _get(config, field):
  for name in field.split('.'):
    config = getattr(config, name)
  return config
