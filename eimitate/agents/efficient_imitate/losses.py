"""The six terms of EfficientImitate's loss over an unrolled model (section 3, appendix A.3).

Everything here is a pure function of networks, parameters and a batch: agent rows first, then as
many expert rows. `H` is the number of unroll steps, `M` half the batch.
"""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from eimitate import types
from eimitate.agents.efficient_imitate.networks import Networks
from eimitate.ops import gradients
from eimitate.ops import squashed_normal
from eimitate.ops import value_bins
from eimitate.rewards import adversarial
from eimitate.rewards import environment


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """Coefficients and forms of the terms; the defaults are the paper's (Table 1).

  policy, value, discriminator, gradient_penalty, consistency, bc: coefficients.
  reward: coefficient of the head that predicts recorded rewards, in place of discriminator and
    penalty where the reward is not adversarial.
  expert_value: coefficient of a value term on the expert's half, which the paper does not have.
  penalty_centre: norm of the discriminator's gradient that costs nothing.
  penalty_scale: `none`, or `spread` to measure that norm in units of the agent-expert distance.
  penalty_expert: `pairs`, or `one_row` to mix every agent row with the same expert row.
  discriminator_steps: `multi` for all unrolled latents, `single` for the first only.
  consistency_space: `projection` to compare directions after projector and predictor, as the paper
    does, or `latent` to compare the latents themselves: see `latent_consistency_loss`.
  consistency_target: `online` or `target`, the encoder of the observations to predict.
  bc_interval: the BC term counts at every so many updates.
  bc_steps: `multi` to clone from all unrolled latents, `single` from the first only, which is of
    what the expert saw.
  """

  policy: float = 1.0
  value: float = 1.0
  discriminator: float = 0.1
  reward: float = 1.0
  gradient_penalty: float = 1.0
  consistency: float = 2.0
  bc: float = 0.01
  expert_value: float = 0.0
  penalty_centre: float = 1.0
  penalty_scale: str = 'none'
  penalty_expert: str = 'pairs'
  discriminator_steps: str = 'multi'
  consistency_space: str = 'projection'
  consistency_target: str = 'online'
  bc_interval: int = 1
  bc_steps: str = 'multi'


class Targets(NamedTuple):
  """What the target network says; constants of the loss.

  value: `[M, H + 1]` r_target + gamma times the search's value of the next position, for the
    agent's half; so are the searched `actions` `[M, H + 1, K, A]` and the search's improved policy
    over them, `weights` `[M, H + 1, K]`.
  expert_value: `[M, H + 1]` r_target + gamma times the network's value of the next position, for
    the expert's half.
  """

  value: jax.Array
  actions: jax.Array
  weights: jax.Array
  expert_value: jax.Array


def total_loss(*arguments, **keywords) -> tuple[jax.Array, tuple[types.Metrics, types.Params]]:
  """The sum of `weighted_terms`, whose arguments it takes, with the same metrics and statistics."""
  terms, (metrics, statistics) = weighted_terms(*arguments, **keywords)
  total = jnp.sum(jnp.stack(list(terms.values())))
  return total, ({**metrics, 'loss/total': total}, statistics)


def weighted_terms(
  params: types.Params,
  target_params: types.Params,
  config: LossConfig,
  networks: Networks,
  value_limit: float,
  rng_key: chex.PRNGKey,
  agent: types.Window,
  expert: types.Window,
  targets: Targets,
  bc_on: jax.Array,
  axis_name: str | None = None,
  recorded: bool = False,
) -> tuple[dict[str, jax.Array], tuple[types.Metrics, types.Params]]:
  """Every term times its coefficient, over H; metrics and changed batch statistics.

  Policy, value and BC are summed over h = 0..H, discriminator and penalty over h = 0..H-1,
  consistency over h = 1..H. Each is a mean over its own rows; rows past an episode's end count
  zero and stay in the denominator.

  Args:
    params: differentiated.
    target_params: parameters of the target network.
    config: loss settings.
    networks: the networks.
    value_limit: end of the value grid.
    rng_key: consumed (the penalty's mixing).
    agent: `M` windows of the agent's replay.
    expert: `M` windows of the demonstrations.
    targets: of the agent's windows.
    bc_on: `[]` 1 where the BC term counts at this update, else 0.
    axis_name: devices over which the batch's own statistics are taken, if there are several.
    recorded: rewards are the windows' own, and a head learns to predict them; else adversarial.

  Returns:
    The terms by name, `[]` each; a flat dictionary of scalar metrics, and what changes in `params`
    without a gradient: the statistics of batch normalisation.
  """
  half, horizon = agent.action_mask.shape[0], agent.action_mask.shape[1] - 1
  both = jax.tree.map(lambda a, e: jnp.concatenate([a, e]), agent, expert)
  latents = unroll(networks, params, both.observations[:, 0], both.actions[:, :horizon])
  agent_latents, expert_latents = latents[:half], latents[half:]
  chex.assert_shape(targets.value, (half, horizon + 1))

  policy = networks.policy(params, agent_latents)
  policy_term = policy_loss(policy, targets.actions, targets.weights)
  logits = networks.value_logits(params, agent_latents)
  value_term = value_bins.cross_entropy(logits, targets.value, value_limit)
  cloned = 1 if config.bc_steps == 'single' else horizon + 1
  bc_members = networks.bc_members(params, expert_latents[:, :cloned])
  # One step alone weighs as much as all of them.
  log_prob = jax.vmap(squashed_normal.log_prob, (0, None))
  bc_term = -log_prob(bc_members, expert.actions[:, :cloned]).mean(0) * (horizon + 1) / cloned

  if recorded:
    reward_terms, reward_metrics = recorded_terms(config, networks, params, latents, both)
  else:
    reward_terms, reward_metrics = adversarial_terms(
      config, networks, params, rng_key, latents, both, axis_name
    )

  encoder = target_params if config.consistency_target == 'target' else params
  following = networks.represent_window(encoder, both.observations[:, 1 : horizon + 1])
  seen = both.observation_mask[:, 1:-1]
  unexplained = latent_consistency_loss(latents[:, 1:], following, seen, axis_name)
  statistics = {}
  if config.consistency_space == 'latent':
    consistency_term = unexplained
  else:
    prediction, target, statistics = networks.compare(
      params, latents[:, 1:], following, seen > 0, axis_name
    )
    consistency_term = consistency_loss(prediction, target)

  terms = reward_terms | {
    'policy': (config.policy, policy_term, agent.action_mask),
    'value': (config.value, value_term, agent.action_mask),
    'consistency': (config.consistency, consistency_term, seen),
    'bc': (config.bc * bc_on, bc_term, expert.action_mask[:, :cloned]),
  }
  if config.expert_value:
    logits = networks.value_logits(params, expert_latents)
    expert_value_term = value_bins.cross_entropy(logits, targets.expert_value, value_limit)
    terms['expert_value'] = (config.expert_value, expert_value_term, expert.action_mask)
  summed = {name: (loss * mask).sum(1).mean() for name, (_, loss, mask) in terms.items()}
  weighted = {name: terms[name][0] * value / horizon for name, value in summed.items()}

  seen_mean = lambda x, mask: (x * mask).sum() / mask.sum()
  metrics = {f'loss/{name}': value / horizon for name, value in summed.items()}
  metrics |= {
    **reward_metrics,
    'policy/std': jnp.exp(policy.log_std[:, 0]).mean(),
    'bc/absolute_error': jnp.abs(
      squashed_normal.mode(squashed_normal.pooled(bc_members))[:, 0] - expert.actions[:, 0]
    ).mean(),
    'model/latent_norm': jnp.linalg.norm(latents[:, 0], axis=-1).mean(),
    'model/unexplained_variance': seen_mean(unexplained, seen),
    'value/target_mean': seen_mean(targets.value, agent.action_mask),
    'value/target_expert': seen_mean(targets.expert_value, expert.action_mask),
    'value/target_max': jnp.where(agent.action_mask > 0, targets.value, -jnp.inf).max(),
  }
  return weighted, (metrics, statistics)


def adversarial_terms(
  config: LossConfig,
  networks: Networks,
  params: types.Params,
  rng_key: chex.PRNGKey,
  latents: jax.Array,
  both: types.Window,
  axis_name: str | None = None,
) -> tuple[dict[str, tuple], types.Metrics]:
  """The discriminator's terms, as coefficient, loss and mask each, and metrics.

  Args:
    config: loss settings.
    networks: the networks.
    params: their parameters.
    rng_key: consumed (the penalty's mixing).
    latents: `[2M, H + 1, L]`, the agent's half first.
    both: the windows.
    axis_name: devices that share the batch, if there are several.
  """
  half, horizon = len(latents) // 2, latents.shape[1] - 1
  steps = horizon if config.discriminator_steps == 'multi' else 1
  logit = networks.discriminate(params, latents[:, :steps], both.actions[:, :steps])
  is_expert = (jnp.arange(2 * half) >= half).astype(jnp.float32)[:, None]
  # One step alone weighs as much as all of them.
  discriminator_term = adversarial.discriminator_loss(logit, is_expert) * (horizon / steps)
  unrolled, actions = latents[:, :horizon], both.actions[:, :horizon]
  agent, expert = (unrolled[:half], actions[:half]), (unrolled[half:], actions[half:])
  mask = both.action_mask[:, :horizon]
  # Of every pair both rows must be within their episodes; `one_row` pairs all with the first.
  paired = mask[half : half + 1] if config.penalty_expert == 'one_row' else mask[half:]
  pairs = mask[:half] * paired
  penalty_term = penalty(config, networks, params, rng_key, agent, expert, pairs, axis_name)
  terms = {
    'discriminator': (config.discriminator, discriminator_term, mask[:, :steps]),
    'gradient_penalty': (config.gradient_penalty, penalty_term, pairs),
  }
  first = logit[:, 0]
  return terms, {
    'discriminator/reward_agent': adversarial.reward(first[:half]).mean(),
    'discriminator/reward_expert': adversarial.reward(first[half:]).mean(),
    'discriminator/accuracy_agent': (first[:half] < 0).mean(),
    'discriminator/accuracy_expert': (first[half:] > 0).mean(),
  }


def recorded_terms(
  config: LossConfig,
  networks: Networks,
  params: types.Params,
  latents: jax.Array,
  both: types.Window,
) -> tuple[dict[str, tuple], types.Metrics]:
  """As `adversarial_terms`: the head learns the windows' rewards along the unrolled model."""
  steps = latents.shape[1] - 1
  predicted = networks.discriminate(params, latents[:, :steps], both.actions[:, :steps])
  loss = environment.loss(predicted, both.rewards[:, :steps])
  terms = {'reward': (config.reward, loss, both.action_mask[:, :steps])}
  return terms, {'reward/predicted': predicted.mean(), 'reward/recorded': both.rewards.mean()}


def unroll(
  networks: Networks, params: types.Params, observation: jax.Array, actions: jax.Array
) -> jax.Array:
  """Latents `[B, H + 1, L]` from `observation` `[B, O]` along `actions` `[B, H, A]`.

  The gradient is halved at every step, so that late steps do not dominate the dynamics.
  """
  latents = [networks.represent(params, observation)]
  for h in range(actions.shape[1]):
    following = networks.dynamics(params, latents[-1], actions[:, h])
    latents.append(gradients.scale_gradient(following, 0.5))
  return jnp.stack(latents, 1)


def policy_loss(
  policy: squashed_normal.SquashedNormal, actions: jax.Array, weights: jax.Array
) -> jax.Array:
  """Cross-entropy of the search's policy with log pi, an unnormalised density, `[...]`.

  Args:
    policy: fields `[..., A]`.
    actions: `[..., K, A]`.
    weights: `[..., K]`.
  """
  per_action = jax.tree.map(lambda x: x[..., None, :], policy)
  return -(weights * squashed_normal.log_prob(per_action, actions)).sum(-1)


def consistency_loss(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """-cos(prediction, sg(target)) over the last axis, `[...]`."""
  unit = lambda x: x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-5)
  return -(unit(prediction) * jax.lax.stop_gradient(unit(target))).sum(-1)


def latent_consistency_loss(
  latents: jax.Array, following: jax.Array, mask: jax.Array, axis_name: str | None = None
) -> jax.Array:
  """The share of the seen latents' variance that the model leaves unexplained, `[B, H]`.

  ||s_h - sg(f(o_h))||^2 over the batch's variance of f(o). Dividing by it takes the latents' scale,
  which nothing else fixes, out of the term.

  Args:
    latents: `[B, H, L]` the model's.
    following: `[B, H, L]` the representation's of what was then seen; a constant.
    mask: `[B, H]`, 1 where something was seen.
    axis_name: devices that share the batch, if there are several.
  """
  following = jax.lax.stop_gradient(following)
  total = lambda x: x if axis_name is None else jax.lax.psum(x, axis_name)
  seen = total(mask.sum())
  mean = lambda x: total((x * mask[..., None]).sum((0, 1), keepdims=True)) / seen
  variance = mean((following - mean(following)) ** 2).sum()
  return ((latents - following) ** 2).sum(-1) / (variance + 1e-6)


def penalty(
  config: LossConfig,
  networks: Networks,
  params: types.Params,
  rng_key: chex.PRNGKey,
  agent: tuple[jax.Array, jax.Array],
  expert: tuple[jax.Array, jax.Array],
  mask: jax.Array,
  axis_name: str | None = None,
) -> jax.Array:
  """The gradient penalty of every pair, `[M, H]`; latents are detached.

  Args:
    config: loss settings.
    networks: the networks.
    params: their parameters.
    rng_key: consumed.
    agent: latents `[M, H, L]` and actions `[M, H, A]`.
    expert: the same of the expert.
    mask: `[M, H]`, 1 where a pair counts.
    axis_name: devices that share the batch, if there are several.
  """
  latent_size = agent[0].shape[-1]
  join = lambda pair: jnp.concatenate([jax.lax.stop_gradient(pair[0]), pair[1]], -1)
  agent_input, expert_input = join(agent), join(expert)
  if config.penalty_expert == 'one_row':
    expert_input = jnp.broadcast_to(expert_input[:1], expert_input.shape)
  scaled = config.penalty_scale == 'spread'
  scale = adversarial.spread(agent_input, expert_input, mask, axis_name) if scaled else 1.0

  def logit(x):
    return networks.discriminate(params, x[:latent_size], x[latent_size:])

  def one(agent_row, expert_row, mix):
    return adversarial.gradient_penalty(
      logit, agent_row, expert_row, mix, config.penalty_centre, scale
    )

  mix = jax.random.uniform(rng_key, agent_input.shape[:-1])
  return jax.vmap(jax.vmap(one))(agent_input, expert_input, mix)
