"""EfficientImitate's networks as pure functions (appendix A.1)."""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from eimitate import errors
from eimitate import types
from eimitate.networks import batch_norm
from eimitate.networks import convolutions
from eimitate.networks import keypoints
from eimitate.networks import mlp
from eimitate.networks import normaliser
from eimitate.ops import squashed_normal


@dataclasses.dataclass(frozen=True)
class NetworksConfig:
  """Sizes; the defaults are the paper's for state (appendix A.1.1).

  latent: size of the latent state.
  representation, dynamics, value, policy, discriminator: hidden layer sizes; `policy` is also the
    behaviour-cloning policy's.
  bc_members: behaviour-cloning policies that start apart and are one where they are asked: where
    the demonstrations do not say what to do they disagree.
  encoder: channels of the convolutions that represent frames; where it is empty vectors are
    observed, and `representation` represents them.
  keypoints: frames are represented by positions in them, with the hidden layers `representation`
    behind those, see `keypoints.KeypointEncoder`.
  dynamics_activation: of the dynamics' output, `identity` or `relu`.
  residual_dynamics: the dynamics network predicts the latent's change.
  projection: size of the projector's output.
  projector, predictor: hidden layer sizes.
  activation: of representation and dynamics. head_activation: of value, policies, discriminator.
  projector_activation: of projector and predictor.
  batch_norm: whether their layers are normalised over the batch, but for the predictor's last.
  zero_last_layers: value, policies and discriminator start at zero (appendix A.3).
  value_bins: number of bins of the categorical value.
  value_limit: end of their grid, in squashed units.
  normalise_observations: by the environment spec's mean and scale.
  """

  latent: int = 128
  representation: tuple[int, ...] = (256,)
  dynamics: tuple[int, ...] = (256,)
  value: tuple[int, ...] = (128,)
  policy: tuple[int, ...] = (128,)
  discriminator: tuple[int, ...] = (128,)
  bc_members: int = 1
  residual_dynamics: bool = False
  encoder: tuple[int, ...] = ()
  keypoints: bool = False
  dynamics_activation: str = 'identity'
  projection: int = 128
  projector: tuple[int, ...] = (512,)
  predictor: tuple[int, ...] = (512,)
  activation: str = 'leaky_relu'
  head_activation: str = 'leaky_relu'
  projector_activation: str = 'relu'
  batch_norm: bool = False
  zero_last_layers: bool = True
  value_bins: int = 401
  value_limit: float = 100.0
  normalise_observations: bool = False


class Networks(NamedTuple):
  """Pure functions of `params`; all batch dimensions lead.

  init: `(rng_key) -> params`.
  prepare: `(frames) -> frames` `[..., H, W, C]`, uint8 as numbers in units of what varies in them:
    what augmentation may change.
  represent: `(params, observation) -> latent [..., L]`; observations are `[..., O]`, or frames
    `[..., H, W, C]`, uint8 or prepared.
  represent_window: `(params, observations) -> latents [..., T, L]` of consecutive observations
    `[..., T, O]` or `[..., T, H, W, C]`: the same, without looking at a frame twice.
  dynamics: `(params, latent, action [..., A]) -> latent`.
  value_logits: `(params, latent) -> [..., bins]`.
  policy, bc_policy: `(params, latent) -> SquashedNormal` with fields `[..., A]`.
  bc_members: the same with fields `[bc_members, ..., A]`, which `bc_policy` pools.
  discriminate: `(params, latent, action) -> logit [...]`, positive for the expert.
  compare: `(params, latent, following, mask=None, axis_name=None) -> Comparison` of predicted
    latents with represented ones, both `[..., L]`; rows out of `mask` `[...]` bool are no part of
    a batch normalisation.
  """

  init: Callable[[chex.PRNGKey], types.Params]
  prepare: Callable[[jax.Array], jax.Array]
  represent: Callable[[types.Params, jax.Array], jax.Array]
  represent_window: Callable[[types.Params, jax.Array], jax.Array]
  dynamics: Callable[[types.Params, jax.Array, jax.Array], jax.Array]
  value_logits: Callable[[types.Params, jax.Array], jax.Array]
  policy: Callable[[types.Params, jax.Array], squashed_normal.SquashedNormal]
  bc_policy: Callable[[types.Params, jax.Array], squashed_normal.SquashedNormal]
  bc_members: Callable[[types.Params, jax.Array], squashed_normal.SquashedNormal]
  discriminate: Callable[[types.Params, jax.Array, jax.Array], jax.Array]
  compare: Callable[..., 'Comparison']


class Comparison(NamedTuple):
  """Two latents where the consistency term compares them.

  prediction: `[..., projection]` the predictor's, of the projected prediction.
  target: `[..., projection]` the projected representation.
  statistics: `{'statistics': ...}`, what takes the place of those in `params`; empty without batch
    normalisation.
  """

  prediction: jax.Array
  target: jax.Array
  statistics: types.Params


def make_networks(config: NetworksConfig, spec: types.EnvironmentSpec) -> Networks:
  """Builds the networks for an environment.

  Raises:
    InputError: if observations are to be normalised and the spec does not say by what, or frames
      are observed without an encoder, or vectors with one.
  """
  plain = (lambda frames: frames / 255) if spec.frame else lambda observation: observation
  normalise = normaliser.make_normaliser(spec) if config.normalise_observations else plain
  action, latent = spec.action_size, config.latent
  inner = lambda hidden, output: mlp.MLP(hidden, output, config.activation)
  found = 'frames' if spec.frame else 'vectors'
  fits = bool(spec.frame) == bool(config.encoder)
  expected = 'channels for frames, () for vectors'
  errors.check(fits, 'config.networks.encoder', f'{config.encoder} for {found}', expected)
  fits = bool(spec.frame) or not config.keypoints
  errors.check(fits, 'config.networks.keypoints', f'{config.keypoints} for {found}', 'False')
  observed = spec.observed
  if config.keypoints:
    hidden = config.representation
    represent = keypoints.KeypointEncoder(config.encoder, spec.stack, latent, hidden)
    observed = (1, *observed)
  elif spec.frame:
    represent = convolutions.Encoder(config.encoder, latent)
  else:
    represent = inner(config.representation, latent)

  def head(hidden, output, build: Callable[..., nn.Module] = mlp.MLP):
    return build(hidden, output, config.head_activation, config.zero_last_layers)

  def outer(hidden, normalise_output=False, axis_name=None):
    sizes = (hidden, config.projection, config.projector_activation)
    if config.batch_norm:
      return batch_norm.BatchNormMLP(*sizes, normalise_output, axis_name)
    return mlp.MLP(*sizes)

  modules = {
    'representation': (represent, *observed),
    'dynamics': (inner(config.dynamics, latent), latent + action),
    'value': (head(config.value, config.value_bins), latent),
    'policy': (head(config.policy, 2 * action), latent),
    'bc_policy': (head(config.policy, 2 * action, mlp.ensemble(config.bc_members)), latent),
    'discriminator': (head(config.discriminator, 1), latent + action),
    'projector': (outer(config.projector, True), latent),
    'predictor': (outer(config.predictor), config.projection),
  }

  def init(rng_key):
    keys = jax.random.split(rng_key, len(modules))
    variables = {
      name: module.init(key, jnp.zeros((1, *shape)))
      for key, (name, (module, *shape)) in zip(keys, modules.items())
    }
    params = {name: variable['params'] for name, variable in variables.items()}
    averages = {name: x['batch_stats'] for name, x in variables.items() if 'batch_stats' in x}
    return params | ({'statistics': averages} if averages else {})

  def apply(name, params, *inputs):
    return modules[name][0].apply({'params': params[name]}, jnp.concatenate(inputs, -1))

  def represent_window(params, observations):
    prepared = spec.frame and observations.dtype != jnp.uint8
    return apply('representation', params, observations if prepared else normalise(observations))

  def represent_observation(params, observation):
    if config.keypoints:
      return represent_window(params, observation[..., None, :, :, :])[..., 0, :]
    return represent_window(params, observation)

  def dynamics(params, latent, action):
    output = apply('dynamics', params, latent, action)
    output = latent + output if config.residual_dynamics else output
    return jax.nn.relu(output) if config.dynamics_activation == 'relu' else output

  def bc_members(params, latent):
    return squashed_normal.from_outputs(apply('bc_policy', params, latent))

  def compare(params, latent, following, mask=None, axis_name=None):
    statistics = dict(params.get('statistics', {}))

    def normalised(name, module, x):
      variables = {'params': params[name], 'batch_stats': statistics.get(name, {})}
      counted = {'mask': mask} if config.batch_norm else {}
      output, changed = module.apply(variables, x, **counted, mutable=['batch_stats'])
      statistics.update({name: changed['batch_stats']} if config.batch_norm else {})
      return output

    projector = outer(config.projector, True, axis_name)
    predictor = outer(config.predictor, False, axis_name)
    projection = normalised('projector', projector, latent)
    prediction = normalised('predictor', predictor, projection)
    target = normalised('projector', projector, following)
    return Comparison(prediction, target, {'statistics': statistics} if statistics else {})

  return Networks(
    init=init,
    prepare=normalise,
    represent=represent_observation,
    represent_window=represent_window,
    dynamics=dynamics,
    value_logits=lambda params, latent: apply('value', params, latent),
    policy=lambda params, latent: squashed_normal.from_outputs(apply('policy', params, latent)),
    bc_policy=lambda params, latent: squashed_normal.pooled(bc_members(params, latent)),
    bc_members=bc_members,
    discriminate=lambda params, latent, action: apply('discriminator', params, latent, action)[
      ..., 0
    ],
    compare=compare,
  )
