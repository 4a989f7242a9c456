"""D4PG's two losses (Barth-Maron et al., 2018; MetaMimic, appendix C.1)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from eimitate import types
from eimitate.agents.d4pg.networks import Networks
from eimitate.ops import projection
from eimitate.ops import returns


class Transition(NamedTuple):
  """n steps as one.

  observation: `[B, O]`. action: `[B, A]`. reward: `[B]`, discounted and summed.
  discount: `[B]` of the value at `next_observation` `[B, O]`.
  """

  observation: jax.Array
  action: jax.Array
  reward: jax.Array
  discount: jax.Array
  next_observation: jax.Array


def from_window(window: types.Window, discount: float, reward_scale: float) -> Transition:
  """A window of `n` transitions as one."""
  reward, following = returns.n_step(
    reward_scale * window.rewards, window.discounts, window.action_mask, discount
  )
  observations = window.observations
  return Transition(
    observations[:, 0], window.actions[:, 0], reward, following, observations[:, -1]
  )


def critic_loss(
  params: types.Params, target_params: types.Params, networks: Networks, batch: Transition
) -> jax.Array:
  """Divergence `[B]` of the predicted distribution from the projected n-step target.

  Kullback-Leibler's: the cross-entropy less the target's own entropy, which trains the same and is
  0 where nothing is left to learn, so that it also serves as priority.
  """
  action = networks.policy(target_params, batch.next_observation)
  logits = networks.critic(target_params, batch.next_observation, action)
  locations = batch.reward[:, None] + batch.discount[:, None] * networks.support[None]
  target = projection.project(locations, jax.nn.softmax(logits), networks.support)
  predicted = networks.critic(params, batch.observation, batch.action)
  target = jax.lax.stop_gradient(target)
  entropy = jax.scipy.special.entr(target).sum(-1)
  return optax.softmax_cross_entropy(predicted, target) - entropy


def policy_loss(params: types.Params, networks: Networks, observation: jax.Array) -> jax.Array:
  """-Q(s, pi(s)) `[B]`; the critic is not trained by it."""
  critic = {'critic': jax.lax.stop_gradient(params['critic'])}
  logits = networks.critic(critic, observation, networks.policy(params, observation))
  return -mean(logits, networks.support)


def mean(logits: jax.Array, support: jax.Array) -> jax.Array:
  """The expected return `[...]` under `logits` `[..., atoms]`."""
  return (jax.nn.softmax(logits) @ support[:, None])[..., 0]


def total_loss(
  params: types.Params,
  target_params: types.Params,
  networks: Networks,
  batch: Transition,
  weights: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, types.Metrics]]:
  """The sum of both: they share no parameter that both train.

  Args:
    params: differentiated.
    target_params: of the target networks.
    networks: the networks.
    batch: transitions.
    weights: `[B]` of the critic's terms.

  Returns:
    The loss `[]`; the critic's terms `[B]` and scalar metrics.
  """
  critic = critic_loss(params, target_params, networks, batch)
  policy = policy_loss(params, networks, batch.observation)
  metrics = {
    'loss/critic': critic.mean(),
    'loss/policy': policy.mean(),
    'loss/reward': jnp.mean(batch.reward),
  }
  return (weights * critic + policy).mean(), (critic, metrics)
