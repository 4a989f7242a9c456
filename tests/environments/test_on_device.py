"""Environments that are jax programs, against a slow loop over one simulation."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import environments
from eimitate.environments import brax
from eimitate.environments import on_device
from tests.environments import fakes_on_device


def _follow(simulation, state, actions, repeat):
  """One environment by hand: `(observation, reward, discount, last)` after each action."""
  steps, followed = 0, []
  for action in actions:
    total, discount, last = 0.0, 1.0, False
    for _ in range(repeat):
      state, outcome = simulation.step(state, action)
      total, steps = total + float(outcome.reward), steps + 1
      discount = 0.0 if bool(outcome.terminated) else 1.0
      last = bool(outcome.terminated) or steps == simulation.episode_length
      if last:
        break
    followed.append((np.asarray(outcome.observation), total, discount, last))
    if last:
      break
  return followed


@pytest.mark.parametrize('repeat, push, expected', [(1, 0.1, (20, 1.0)), (3, 0.1, (7, 1.0)),
                                                    (3, 1.0, (9, 0.0))])  # fmt: skip
def test_steps_against_one_simulation(repeat, push, expected):
  simulation = fakes_on_device.make()
  if push == 1:  # Far away it terminates, before a longer time limit.
    simulation = simulation._replace(episode_length=50)
  batch = on_device.OnDevice(simulation, repeat, 3)
  states = batch.reset(jax.random.key(1))
  actions = [jnp.full((3, 1), push)] * batch.longest_episode
  followed = [
    _follow(simulation, jax.tree.map(lambda x: x[i], states.simulation), [a[i] for a in actions],
            repeat)
    for i in range(3)
  ]  # fmt: skip
  step = jax.jit(batch.step)
  for t in range(min(map(len, followed))):
    states = step(states, actions[t])
    for i in range(3):
      observation, reward, discount, last = followed[i][t]
      np.testing.assert_allclose(states.observation[i], observation, atol=1e-5)
      assert float(states.reward[i]) == pytest.approx(reward, abs=1e-4)
      assert (float(states.discount[i]), bool(states.last[i])) == (discount, last)
  assert abs(len(followed[0]) - expected[0]) <= 2 and followed[0][-1][2] == expected[1]


def test_a_step_after_the_last_begins_another_episode():
  batch = on_device.OnDevice(fakes_on_device.make(), 1, 2)
  states = batch.reset(jax.random.key(0))
  states = states._replace(last=jnp.array([True, False]))
  following = batch.step(states, jnp.ones((2, 1)))
  assert abs(float(following.observation[0, 0])) < 1 and float(following.observation[0, 1]) == 0
  assert float(following.observation[0, 0]) != float(states.observation[0, 0])
  assert float(following.observation[1, 1]) == 1 and not following.last.any()
  assert float(following.reward[0]) == 0


def test_a_diverging_step_never_happened_and_ends_the_episode():
  batch = on_device.OnDevice(fakes_on_device.make_diverging(), 2, 2)
  states = batch.reset(jax.random.key(0))
  states = states._replace(simulation=(jnp.array([-0.5, 0.5]), states.simulation[1]))
  for _ in range(2):
    states = batch.step(states, jnp.zeros((2, 1)))
  before = states.observation
  states = batch.step(states, jnp.zeros((2, 1)))
  np.testing.assert_array_equal(states.failed, [True, False])
  np.testing.assert_array_equal(states.last, [True, False])
  np.testing.assert_array_equal(states.observation[0], before[0])
  assert float(states.reward[0]) == 0 and float(states.discount[0]) == 1
  states = batch.step(states, jnp.zeros((2, 1)))
  assert not states.failed.any() and int(states.env_steps[0]) == 0


@pytest.fixture(name='pendulum', scope='module')
def _pendulum():
  return environments.make_on_device('brax/inverted_pendulum/spring', 4, 2)


def test_brax_terminates_and_prints_nothing(pendulum, capfd, recwarn):
  assert pendulum.spec.observation_size == 4 and pendulum.spec.action_size == 1
  assert pendulum.longest_episode == 250 and pendulum.control_timestep == pytest.approx(0.08)
  step = jax.jit(pendulum.step)
  states = pendulum.idle(jax.random.key(0))
  lengths = []
  for _ in range(30):
    states = step(states, jnp.array([[1.0], [-1.0]]))
    if states.last[0]:
      lengths.append(int(states.env_steps[0]))
      assert abs(float(states.observation[0, 1])) > 0.2
      assert float(states.discount[0]) == 0 and float(states.reward[0]) <= 4
  assert len(lengths) >= 2 and max(lengths) < 40  # It falls at once, again and again.
  assert capfd.readouterr() == ('', '') and not list(recwarn)


@pytest.mark.parametrize(
  'task, message',
  [
    ('brax/nothing', "task: found 'brax/nothing', expected brax/ and one of ant, "),
    ('brax/ant/newton', "task: found 'brax/ant/newton', expected brax/ant/ and a backend: gen"),
    ('cartpole/swingup', "config.actors.placement: found 'device', expected 'host' for cartpole"),
  ],
)
def test_unknown(task, message):
  with pytest.raises(ValueError, match=message):
    environments.make_on_device(task, 1, 1)


def test_programs_need_actors_on_device():
  with pytest.raises(ValueError, match="placement: found 'host', expected 'device' for brax/ant"):
    environments.make_environment('brax/ant', 1)


@pytest.mark.parametrize(
  'task, package', [('brax/ant', 'brax'), ('playground/BallInCup', 'playground')]
)
def test_not_installed(monkeypatch, task, package):
  whole = importlib.import_module

  def missing(module):
    if package not in module:
      return whole(module)
    raise ImportError(f'No module named {module!r}', name=module)

  brax.make_simulation.cache_clear()
  monkeypatch.setattr('importlib.import_module', missing)
  with pytest.raises(
    ValueError, match=f'task: found no module .*, expected the package .*{package}'
  ):
    environments.make_on_device(task, 1, 1)


@pytest.mark.parametrize(
  'factory, message',
  [
    ('tests.environments.fakes_on_device:make_nothing', 'making int, expected on_device.Simul'),
    ('tests.environments.fakes_on_device:none', 'config.environment: found'),
  ],
)
def test_bad_factories(factory, message):
  with pytest.raises(ValueError, match=message):
    environments.make_on_device('point', 1, 1, factory)
