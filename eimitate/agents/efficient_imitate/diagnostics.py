"""What a person asks of EfficientImitate while it trains; nothing here changes the agent."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import optax

from eimitate import types
from eimitate.agents.efficient_imitate import losses
from eimitate.agents.efficient_imitate.networks import Networks
from eimitate.ops import squashed_normal
from eimitate.replay import episodes
from eimitate.search import Model

_ROWS_AT_ONCE = 64  # Frames of all evaluation episodes at once would fill a small machine.


def policy_entropy(
  networks: Networks, params: types.Params, rng_key: chex.PRNGKey, latent: jax.Array
) -> types.Metrics:
  """The policies' entropies at `latent` `[M, L]`, in nats, by one draw each: no closed form."""
  policies = {'policy/entropy': networks.policy, 'policy/bc_entropy': networks.bc_policy}

  def entropy(policy):
    return squashed_normal.entropy(policy, jax.random.normal(rng_key, policy.mean.shape)).mean()

  return {name: entropy(policy(params, latent)) for name, policy in policies.items()}


def model_error(
  networks: Networks, params: types.Params, agent: types.Window, expert: types.Window
) -> types.Metrics:
  """How wrong the model is after each step, of both halves.

  Returns:
    `model/error_h`, the share of the latents' variance that it leaves unexplained: 1 is as good as
    always predicting the mean latent. `model/change_error_h`, the share of how far the latents have
    moved since the first: 1 is as good as predicting that nothing moves, whatever is done.
    `model/other_actions_error_h`, the same where the model is told another window's actions: what
    is no more than with its own, to a model that does not know what actions do.
  """
  both = jax.tree.map(lambda a, e: jnp.concatenate([a, e]), agent, expert)
  horizon = agent.action_mask.shape[1] - 1
  actions = both.actions[:, :horizon]
  latents = losses.unroll(networks, params, both.observations[:, 0], actions)
  others = losses.unroll(networks, params, both.observations[:, 0], jnp.roll(actions, 1, 0))
  following = networks.represent_window(params, both.observations[:, 1 : horizon + 1])
  seen = both.observation_mask[:, 1:-1]
  unexplained = losses.latent_consistency_loss(latents[:, 1:], following, seen)
  total = lambda x: (x * seen).sum(0)
  by_step = total(unexplained) / jnp.maximum(seen.sum(0), 1)
  missed = lambda latents: total(((latents - following) ** 2).sum(-1))
  share = lambda latents: missed(latents[:, 1:]) / jnp.maximum(missed(latents[:, :1]), 1e-12)
  by_name = {
    'error': by_step,
    'change_error': share(latents),
    'other_actions_error': share(others),
  }
  return {
    f'model/{name}_{h + 1}': errors[h] for name, errors in by_name.items() for h in range(horizon)
  }


def value_calibration(
  networks: Networks,
  model: Model,
  params: types.Params,
  evaluated: episodes.Replay,
  stack: int = 1,
) -> types.Metrics:
  """What the value network predicts in evaluation against what then came, by the same parameters.

  What came is the discounted sum of the discriminator's rewards to the episode's end, where the
  predicted value stands for what a time limit cuts off. Only the first half of every episode
  counts: towards its end the two agree whatever is predicted.

  Args:
    networks: the networks.
    model: the same as what a search sees.
    params: their parameters.
    evaluated: whole episodes in order.
    stack: frames per observation.
  """

  def look(row):
    window = episodes.gather(evaluated, row[None], 0, stack)
    latent = networks.represent(params, window.observations[:, 0])
    reward, _ = model.step(params, latent, window.actions[:, 0])
    return model.value(params, latent)[0], reward[0]

  rows = jnp.arange(len(evaluated.episode))
  predicted, reward = jax.lax.map(look, rows, batch_size=_ROWS_AT_ONCE)
  realised, counted = returns(evaluated, predicted, reward, model.discount)
  mean = lambda x: (x * counted).sum() / jnp.maximum(counted.sum(), 1)
  deviation = lambda x: x - mean(x)
  covariance = lambda x, y: mean(deviation(x) * deviation(y))
  spread = jnp.sqrt(covariance(predicted, predicted) * covariance(realised, realised))
  return {
    'value/predicted': mean(predicted),
    'value/realised': mean(realised),
    'value/error': jnp.sqrt(mean((predicted - realised) ** 2)),
    'value/correlation': covariance(predicted, realised) / jnp.maximum(spread, 1e-6),
    'discriminator/reward_evaluation': mean(reward),
  }


def returns(
  replay: episodes.Replay, value: jax.Array, reward: jax.Array, discount: float
) -> tuple[jax.Array, jax.Array]:
  """Discounted returns of every row `[N]`, and whether it is in the first half of its episode.

  Args:
    replay: whole episodes in order.
    value: `[N]`; an episode's last row has its own for the return.
    reward: `[N]` of each row's action.
    discount: gamma, per agent step.
  """

  def back(carry, row):
    value, reward, discount_t, has_action = row
    following, left = carry
    realised = jnp.where(has_action, reward + discount * discount_t * following, value)
    left = jnp.where(has_action, left + 1, 0)
    return (realised, left), (realised, left)

  per_row = (value, reward, replay.rows.discount, replay.rows.has_action)
  _, (realised, left) = jax.lax.scan(back, (jnp.float32(0), 0), per_row, reverse=True)
  number = jnp.arange(len(value))
  first = jnp.concatenate([jnp.array([True]), replay.episode[1:] != replay.episode[:-1]])
  done = number - jax.lax.cummax(jnp.where(first, number, 0))
  return realised, replay.rows.has_action & (left > done)


def gradient_norms(
  terms: Callable[[types.Params], dict[str, jax.Array]], params: types.Params
) -> types.Metrics:
  """The norm of the gradient of each of the loss's weighted `terms(params)`, `[]` by name."""
  norm = lambda name: optax.tree.norm(jax.grad(lambda p: terms(p)[name])(params))
  return {f'gradient/{name}': norm(name) for name in jax.eval_shape(terms, params)}
