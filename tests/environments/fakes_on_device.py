"""The tiny environment of `fakes` as a jax program."""

import jax
import jax.numpy as jnp

from eimitate.environments import on_device


def make():
  """What `--config.environment` names: ends after 20 steps, or terminates past 5."""

  def observe(position, steps):
    return jnp.stack([position, steps.astype(jnp.float32)])

  def reset(rng_key):
    state = jax.random.uniform(rng_key, minval=-1, maxval=1), jnp.int32(0)
    return state, observe(*state)

  def step(state, action):
    position, steps = state[0] + 0.2 * action[0], state[1] + 1
    outcome = on_device.Outcome(
      observe(position, steps), jnp.exp(-(position**2)), jnp.abs(position) > 5
    )
    return (position, steps), outcome

  return on_device.Simulation(reset, step, 2, 1, 20, 1.0)


def make_diverging():
  """The same, but left of 0 its numbers are not finite after four steps."""
  simulation = make()

  def step(state, action):
    state, outcome = simulation.step(state, action)
    bad = (state[1] > 4) & (state[0] < 0)
    return state, outcome._replace(reward=jnp.where(bad, jnp.nan, outcome.reward))

  return simulation._replace(step=step)


def make_broken():
  """The same, never finite."""
  simulation = make()

  def step(state, action):
    state, outcome = simulation.step(state, action)
    return state, outcome._replace(observation=outcome.observation * jnp.nan)

  return simulation._replace(step=step)


def make_nothing():
  """Not a simulation."""
  return 3
