"""EfficientImitate's learner: sample, search with the target network, one gradient step."""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from eimitate import types
from eimitate.agents import learning
from eimitate.agents.efficient_imitate import config as config_lib
from eimitate.agents.efficient_imitate import diagnostics
from eimitate.agents.efficient_imitate import losses
from eimitate.agents.efficient_imitate.networks import Networks
from eimitate.agents.efficient_imitate.networks import make_networks
from eimitate.ops import augmentation
from eimitate.ops import value_bins
from eimitate.replay import episodes
from eimitate.rewards import adversarial
from eimitate.rewards import environment
from eimitate.search import Model
from eimitate.search import Search
from eimitate.search import make_search


def make_agent(config: config_lib.Config, spec: types.EnvironmentSpec) -> types.Agent:
  """Builds EfficientImitate for an environment.

  Args:
    config: settings, for example `efficient_imitate.tuned()`.
    spec: sizes of the environment's observations and actions.

  Returns:
    A `types.Agent` whose state is a `learning.LearnerState` and whose `update` takes two
    `episodes.Replay`: the agent's and the demonstrations'.

  Raises:
    InputError: if a setting is out of range.
  """
  config_lib.validate(config)
  networks = make_networks(config.networks, spec)
  model = make_model(config, networks)
  search = make_search(config.search, model)
  acting_kind = config.search.acting_kind or config.search.kind
  acting_search = make_search(dataclasses.replace(config.search, kind=acting_kind), model)
  optimiser = make_optimiser(config.optimiser)

  def init(rng_key, params=None):
    params = networks.init(rng_key) if params is None else params
    return learning.init(params, optimiser, config.optimiser.averaging > 0)

  def act(params, rng_key, observations, temperature, noise=True):
    latent = networks.represent(params, observations)
    output = acting_search(params, rng_key, latent, noise=noise, temperature=temperature)
    return jnp.take_along_axis(output.actions, output.selected[:, None, None], 1)[:, 0]

  def act_greedily(params, rng_key, observations):
    return act(params, rng_key, observations, 0.0, noise=config.evaluation_noise)

  return types.Agent(
    init=init,
    act=act,
    act_greedily=act_greedily,
    update=functools.partial(_update, config, networks, search, optimiser, spec.stack),
    params=learning.acting_params,
    init_replay=functools.partial(episodes.init, spec),
    add=episodes.add,
    reshard=episodes.reshard,
    diagnose=functools.partial(_diagnose, config, networks, search, spec.stack),
  )


def make_model(config: config_lib.Config, networks: Networks) -> Model:
  """The networks as what a search sees: rewards are the discriminator's, or its head's."""
  module = adversarial if config.reward == 'adversarial' else environment

  def step(params, latent, action):
    reward = module.reward(networks.discriminate(params, latent, action))
    return reward, networks.dynamics(params, latent, action)

  def value(params, latent):
    return value_bins.expectation(
      networks.value_logits(params, latent), config.networks.value_limit
    )

  return Model(networks.policy, networks.bc_policy, step, value, config.discount)


def make_optimiser(config: config_lib.OptimiserConfig) -> optax.GradientTransformation:
  """Clip by global norm, add weight decay to the gradient, then SGD or Adam."""
  rule = (
    optax.sgd(config.learning_rate, config.momentum)
    if config.name == 'sgd'
    else optax.adam(config.learning_rate)
  )
  return optax.chain(
    optax.clip_by_global_norm(config.max_gradient_norm),
    # All but the statistics of batch normalisation.
    optax.add_decayed_weights(
      config.weight_decay, lambda params: {name: name != 'statistics' for name in params}
    ),
    rule,
  )


def make_targets(
  config: config_lib.Config,
  networks: Networks,
  search: Search,
  params: types.Params,
  target_params: types.Params,
  rng_key: chex.PRNGKey,
  agent: types.Window,
  expert: types.Window,
) -> tuple[losses.Targets, types.Metrics]:
  """Searches every unique position of the agent's windows with the target network.

  A window of `H + 1` transitions has `H + 2` positions: each is searched once and serves as a
  policy target and as the bootstrap of the position before. The last observation of a truncated
  episode is searched like any other; after a termination the value is 0.

  Returns:
    `losses.Targets` of `[M, H + 1, ...]` and metrics.
  """
  latents = networks.represent_window(target_params, agent.observations)
  flat = latents.reshape(-1, latents.shape[-1])
  output = search(target_params, rng_key, flat, noise=config.reanalyse_noise)
  output = jax.tree.map(lambda x: x.reshape(latents.shape[:2] + x.shape[1:]), output)
  model = make_model(config, networks)
  expert_latents = networks.represent_window(target_params, expert.observations)

  def value_target(window, window_latents, values):
    following = config.discount * window.discounts * values[:, 1:]
    if config.reward != 'adversarial':
      return window.rewards + following
    if not config.target_discriminator:
      window_latents = networks.represent_window(params, window.observations)
    rewarding = target_params if config.target_discriminator else params
    logit = networks.discriminate(rewarding, window_latents[:, :-1], window.actions)
    return adversarial.reward(logit) + following

  targets = losses.Targets(
    value=value_target(agent, latents, output.value),
    actions=output.actions[:, :-1],
    weights=output.weights[:, :-1],
    expert_value=value_target(expert, expert_latents, model.value(target_params, expert_latents)),
  )
  weights = targets.weights
  num_bc = config.search.num_bc_actions
  metrics = {
    'search/entropy': -(weights * jnp.log(weights + 1e-9)).sum(-1).mean(),
    'search/bc_share': weights[..., weights.shape[-1] - num_bc :].sum(-1).mean(),
    'search/value': output.value.mean(),
  }
  return jax.lax.stop_gradient(targets), metrics


def augment(config: config_lib.Config, rng_key: chex.PRNGKey, frames: jax.Array) -> jax.Array:
  """Prepared frames `[M, T, H, W, C]`, moved and scaled at random (Table 2)."""
  shift_key, intensity_key = jax.random.split(rng_key)
  images = frames.reshape((-1,) + frames.shape[2:])
  if config.shift:
    images = augmentation.random_shift(shift_key, images, config.shift)
  if config.intensity:
    images = augmentation.random_intensity(intensity_key, images, config.intensity)
  return images.reshape(frames.shape)


def _sample(config, stack, half, rng_key, replay, demonstrations):
  """`half` windows of the agent's and as many of the demonstrations."""
  agent_key, expert_key = jax.random.split(rng_key)
  return (
    episodes.sample(replay, agent_key, half, config.unroll_steps, stack),
    episodes.sample(demonstrations, expert_key, half, config.unroll_steps, stack),
  )


def loss_arguments(
  config: config_lib.Config,
  networks: Networks,
  target_params: types.Params,
  rng_keys: chex.PRNGKey,
  agent: types.Window,
  expert: types.Window,
  targets: losses.Targets,
) -> dict[str, Any]:
  """What `losses.total_loss` takes beside parameters, `bc_on` and `axis_name`.

  What learns the targets sees frames augmented; `rng_keys` `[3]` are the loss's own and the two
  halves' augmentation's.
  """
  loss_key, *augment_keys = rng_keys
  if agent.observations.dtype == jnp.uint8:
    agent, expert = (
      window._replace(observations=augment(config, key, networks.prepare(window.observations)))
      for key, window in zip(augment_keys, (agent, expert))
    )
  return {
    'target_params': target_params,
    'config': config.loss,
    'networks': networks,
    'value_limit': config.networks.value_limit,
    'rng_key': loss_key,
    'agent': agent,
    'expert': expert,
    'targets': targets,
    'recorded': config.reward != 'adversarial',
  }


def _make_batch(config, networks, search, state, target_params, rng_key, agent, expert):
  """`loss_arguments` of windows as they are stored, and search metrics."""
  search_key, *loss_keys = jax.random.split(rng_key, 4)
  # Targets are of what was seen.
  targets, metrics = make_targets(
    config, networks, search, state.params, target_params, search_key, agent, expert
  )
  arguments = loss_arguments(config, networks, target_params, loss_keys, agent, expert, targets)
  return arguments, metrics


def _update(
  config, networks, search, optimiser, stack, state, rng_key, replay, demonstrations, axis_name=None
):
  """One gradient step; see `types.Agent.update`."""
  # Devices differ only in what they sample, search and mix.
  rng_key, devices = learning.share(rng_key, axis_name)
  sample_key, batch_key = jax.random.split(rng_key)
  half = config.batch_size // 2 // devices
  windows = _sample(config, stack, half, sample_key, replay, demonstrations)
  target_params = learning.current_target(state, config.target_update_interval)
  batch, search_metrics = _make_batch(
    config, networks, search, state, target_params, batch_key, *windows
  )
  bc_on = (state.updates % config.loss.bc_interval == 0).astype(jnp.float32)
  loss = functools.partial(losses.total_loss, **batch, bc_on=bc_on, axis_name=axis_name)
  gradient, (metrics, statistics) = jax.grad(loss, has_aux=True)(state.params)
  metrics = {**metrics, **search_metrics}
  state, metrics = learning.step(state, target_params, optimiser, gradient, metrics, axis_name)
  state = state._replace(params=state.params | statistics)
  return learning.average(state, config.optimiser.averaging), replay, metrics


def _diagnose(config, networks, search, stack, state, rng_key, replay, demonstrations, evaluated):
  """On a fresh batch and the evaluation's episodes; see `types.Agent.diagnose`."""
  half, target_params = config.batch_size // 2, state.target_params
  sample_key, batch_key = jax.random.split(rng_key)
  agent, expert = _sample(config, stack, half, sample_key, replay, demonstrations)
  batch, search_metrics = _make_batch(
    config, networks, search, state, target_params, batch_key, agent, expert
  )
  terms = lambda params: losses.weighted_terms(params, **batch, bc_on=jnp.float32(1))[0]
  model, params = make_model(config, networks), learning.acting_params(state)
  latents = networks.represent_window(target_params, agent.observations)
  improvement = search_metrics['search/value'] - model.value(target_params, latents).mean()
  latent = networks.represent(params, agent.observations[:, 0])
  return {
    'search/improvement': improvement,
    **diagnostics.policy_entropy(networks, params, rng_key, latent),
    **diagnostics.model_error(networks, params, agent, expert),
    **diagnostics.value_calibration(networks, model, params, evaluated, stack),
    **diagnostics.gradient_norms(terms, state.params),
  }
