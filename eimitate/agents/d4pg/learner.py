"""D4PG's learner: sample, two losses, one step of Adam."""

import functools

import jax
import jax.numpy as jnp
import optax

from eimitate import errors
from eimitate import types
from eimitate.agents import learning
from eimitate.agents.d4pg import config as config_lib
from eimitate.agents.d4pg import experience as experience_lib
from eimitate.agents.d4pg import losses
from eimitate.agents.d4pg.networks import make_networks


def make_agent(config: config_lib.Config, spec: types.EnvironmentSpec) -> types.Agent:
  """Builds D4PG for an environment.

  Args:
    config: settings.
    spec: sizes of the environment's observations and actions.

  Returns:
    A `types.Agent` whose state is a `learning.LearnerState`. Its `act` adds normal noise of
    standard deviation `temperature`; its `update` learns from the replay's rewards, and from the
    demonstrations' where `config.demonstration_fraction` asks for some.

  Raises:
    InputError: if a setting is out of range, or at an update without demonstrations if a share of
      the batch is to come from them.
  """
  config_lib.validate(config)
  networks = make_networks(config, spec)
  experience = experience_lib.make_experience(config, spec)
  optimiser = optax.adam(config.learning_rate)

  def sample(replay, demonstrations, rng_key, count):
    shown = config.demonstration_rows * count // config.batch_size
    if not shown:
      return experience.sample(replay, rng_key, count)
    expected = f'some: config.demonstration_fraction is {config.demonstration_fraction}'
    errors.check(demonstrations is not None, 'demonstrations', 'none', expected)
    own_key, shown_key = jax.random.split(rng_key)
    own = experience.sample(replay, own_key, count - shown)
    return experience_lib.with_demonstrations(own, demonstrations, shown_key, shown, config, spec)

  def init(rng_key, params=None):
    return learning.init(networks.init(rng_key) if params is None else params, optimiser)

  def act(params, rng_key, observations, temperature):
    action = networks.policy(params, observations)
    return jnp.clip(action + temperature * jax.random.normal(rng_key, action.shape), -1, 1)

  def act_greedily(params, rng_key, observations):
    del rng_key
    return networks.policy(params, observations)

  return types.Agent(
    init=init,
    act=act,
    act_greedily=act_greedily,
    update=functools.partial(_update, config, networks, optimiser, sample, experience.reprioritise),
    params=lambda state: state.params,
    init_replay=experience.init,
    add=experience.add,
    reshard=experience.reshard,
  )


def _update(
  config,
  networks,
  optimiser,
  sample,
  reprioritise,
  state,
  rng_key,
  replay,
  demonstrations,
  axis_name=None,
):
  """One gradient step; see `types.Agent.update`."""
  rng_key, devices = learning.share(rng_key, axis_name)
  batch = sample(replay, demonstrations, rng_key, config.batch_size // devices)
  weights = importance_weights(batch.likelihood, config.importance_exponent, axis_name)

  target_params = learning.current_target(state, config.target_update_interval)
  gradient_fn = jax.grad(losses.total_loss, has_aux=True)
  gradient, (priority, metrics) = gradient_fn(
    state.params, target_params, networks, batch.transition, weights
  )
  own = len(batch.index)  # Demonstrations, behind them, have no priority.
  replay = reprioritise(replay, batch.index, priority[:own])
  state, metrics = learning.step(state, target_params, optimiser, gradient, metrics, axis_name)
  return state, replay, metrics


def importance_weights(
  likelihood: jax.Array, exponent: float, axis_name: str | None = None
) -> jax.Array:
  """What corrects for non-uniform sampling, `[B]`, at most 1 (Schaul et al., 2016).

  Args:
    likelihood: `[B]` how much likelier each row was drawn than uniformly.
    exponent: 1 corrects fully, 0 not at all.
    axis_name: devices that share the batch, if there are several.
  """
  weights = likelihood**-exponent
  highest = weights.max()
  return weights / (highest if axis_name is None else jax.lax.pmax(highest, axis_name))
