"""EfficientImitate's networks as pure functions (appendix A.1)."""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from eimitate import types
from eimitate.networks import mlp
from eimitate.networks import normaliser
from eimitate.ops import squashed_normal


@dataclasses.dataclass(frozen=True)
class NetworksConfig:
  """Sizes; the defaults are the paper's for state (appendix A.1.1).

  latent: size of the latent state.
  representation, dynamics, value, policy, discriminator: hidden layer sizes; `policy` is also the
    behaviour-cloning policy's.
  residual_dynamics: the dynamics network predicts the latent's change.
  projection: size of the projector's output.
  projector, predictor: hidden layer sizes.
  activation: of all networks but projector and predictor.
  projector_activation: of projector and predictor.
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
  residual_dynamics: bool = False
  projection: int = 128
  projector: tuple[int, ...] = (512,)
  predictor: tuple[int, ...] = (512,)
  activation: str = 'leaky_relu'
  projector_activation: str = 'relu'
  zero_last_layers: bool = True
  value_bins: int = 401
  value_limit: float = 100.0
  normalise_observations: bool = False


class Networks(NamedTuple):
  """Pure functions of `params`; all batch dimensions lead.

  init: `(rng_key) -> params`.
  represent: `(params, observation [..., O]) -> latent [..., L]`.
  dynamics: `(params, latent, action [..., A]) -> latent`.
  value_logits: `(params, latent) -> [..., bins]`.
  policy, bc_policy: `(params, latent) -> SquashedNormal` with fields `[..., A]`.
  discriminate: `(params, latent, action) -> logit [...]`, positive for the expert.
  project: `(params, latent) -> [..., projection]`.
  predict: `(params, projection) -> [..., projection]`.
  """

  init: Callable[[chex.PRNGKey], types.Params]
  represent: Callable[[types.Params, jax.Array], jax.Array]
  dynamics: Callable[[types.Params, jax.Array, jax.Array], jax.Array]
  value_logits: Callable[[types.Params, jax.Array], jax.Array]
  policy: Callable[[types.Params, jax.Array], squashed_normal.SquashedNormal]
  bc_policy: Callable[[types.Params, jax.Array], squashed_normal.SquashedNormal]
  discriminate: Callable[[types.Params, jax.Array, jax.Array], jax.Array]
  project: Callable[[types.Params, jax.Array], jax.Array]
  predict: Callable[[types.Params, jax.Array], jax.Array]


def make_networks(config: NetworksConfig, spec: types.EnvironmentSpec) -> Networks:
  """Builds the networks for an environment.

  Raises:
    InputError: if observations are to be normalised and the spec does not say by what.
  """
  identity = lambda observation: observation
  normalise = normaliser.make_normaliser(spec) if config.normalise_observations else identity
  action, latent = spec.action_size, config.latent
  inner = lambda hidden, output: mlp.MLP(hidden, output, config.activation)
  head = lambda hidden, output: mlp.MLP(hidden, output, config.activation, config.zero_last_layers)
  outer = lambda hidden: mlp.MLP(hidden, config.projection, config.projector_activation)
  modules = {
    'representation': (inner(config.representation, latent), spec.observation_size),
    'dynamics': (inner(config.dynamics, latent), latent + action),
    'value': (head(config.value, config.value_bins), latent),
    'policy': (head(config.policy, 2 * action), latent),
    'bc_policy': (head(config.policy, 2 * action), latent),
    'discriminator': (head(config.discriminator, 1), latent + action),
    'projector': (outer(config.projector), latent),
    'predictor': (outer(config.predictor), config.projection),
  }

  def init(rng_key):
    keys = jax.random.split(rng_key, len(modules))
    return {
      name: module.init(key, jnp.zeros((1, size)))['params']
      for key, (name, (module, size)) in zip(keys, modules.items())
    }

  def apply(name, params, *inputs):
    return modules[name][0].apply({'params': params[name]}, jnp.concatenate(inputs, -1))

  def dynamics(params, latent, action):
    output = apply('dynamics', params, latent, action)
    return latent + output if config.residual_dynamics else output

  return Networks(
    init=init,
    represent=lambda params, observation: apply('representation', params, normalise(observation)),
    dynamics=dynamics,
    value_logits=lambda params, latent: apply('value', params, latent),
    policy=lambda params, latent: squashed_normal.from_outputs(apply('policy', params, latent)),
    bc_policy=lambda params, latent: squashed_normal.from_outputs(
      apply('bc_policy', params, latent)
    ),
    discriminate=lambda params, latent, action: apply('discriminator', params, latent, action)[
      ..., 0
    ],
    project=lambda params, latent: apply('projector', params, latent),
    predict=lambda params, projection: apply('predictor', params, projection),
  )
