import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import agents
from eimitate import errors
from eimitate import types
from eimitate.agents import d4pg
from eimitate.agents.metamimic import networks
from eimitate.replay import episodes

_SPEC = types.EnvironmentSpec(
  6, 2, (0.0,) * 6, (1.0,) * 6, goal=3, goal_scale=(1.0,) * 3, rewards=2
)
_D4PG = d4pg.Config(batch_size=8, n_step=2, policy=(16,), critic=(16,), num_atoms=11)
_CONFIG = agents.metamimic.Config(
  dataclasses.replace(_D4PG, sampling='prioritised', reward='tracking'), _D4PG
)


def _episode(steps, imitates, seed=0):
  """Distinct numbers everywhere; tracking is lost at the end, the task goes on."""
  rng = np.random.default_rng(seed)
  observations = rng.normal(size=(steps + 1, 6)).astype(np.float32)
  discounts = np.ones((steps, 2), np.float32)
  discounts[-1, 1] = 0 if imitates else 1
  if not imitates:
    observations[:, 3:] = 0
  return types.Trajectory(
    observations,
    rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
    rng.uniform(size=(steps, 2)).astype(np.float32),
    discounts,
  )


def _filled(agent, *trajectories):
  replay = agent.init_replay(40)
  for trajectory in trajectories:
    rows = episodes.pad_rows(episodes.to_rows(trajectory), 9)
    replay = agent.add(replay, rows, jnp.int32(len(trajectory.observations)))
  return replay


def test_experience_is_shared_as_in_the_algorithms():
  agent = agents.metamimic.make_agent(_CONFIG, _SPEC)
  imitated, performed = _episode(4, True), _episode(3, False, 1)
  replay = _filled(agent, imitated, performed)
  # Both are the task's, in order, without goals and with the task's reward and discount.
  rows = jax.tree.map(lambda x: np.asarray(x)[:9], replay.task.rows)
  np.testing.assert_array_equal(rows.observation[:5], imitated.observations[:, :3])
  np.testing.assert_array_equal(rows.observation[5:], performed.observations[:, :3])
  np.testing.assert_array_equal(rows.reward[:4], imitated.rewards[:, 0])
  np.testing.assert_array_equal(rows.reward[5:8], performed.rewards[:, 0])
  np.testing.assert_array_equal(rows.discount[:4], 1)
  # Imitation has the first alone, as two-step transitions of the tracking reward.
  stored = np.asarray(replay.imitation.priority) > 0
  assert stored.sum() == 4
  items = jax.tree.map(lambda x: np.asarray(x)[stored], replay.imitation.items)
  order = [
    int(np.flatnonzero((items.observation == o).all(1))[0]) for o in imitated.observations[:4]
  ]
  r = imitated.rewards[:, 1]
  expected = [r[0] + 0.99 * r[1], r[1] + 0.99 * r[2], r[2] + 0.99 * r[3], r[3]]
  np.testing.assert_allclose(items.reward[order], expected, rtol=1e-6)
  # Lost at the last step: nothing is bootstrapped past it.
  np.testing.assert_allclose(items.discount[order], [0.99**2, 0.99**2, 0, 0], rtol=1e-6)
  np.testing.assert_array_equal(items.next_observation[order[0]], imitated.observations[2])


def test_acts_by_whether_there_is_a_goal():
  agent = agents.metamimic.make_agent(_CONFIG, _SPEC)
  params = agent.params(jax.jit(agent.init)(jax.random.key(0)))
  observations = jnp.array([[1.0, 2, 3, 1, 1, 1], [1, 2, 3, 0, 0, 0], [1, 2, 3, 0, 0, 2]])
  chosen = agent.act_greedily(params, jax.random.key(1), observations)
  imitation = d4pg.make_networks(_CONFIG.imitation, _SPEC)
  task = d4pg.make_networks(_CONFIG.task, networks.task_spec(_SPEC))
  with_goal = imitation.policy(params.imitation, observations)
  without = task.policy(params.task, observations[:, :3])
  expected = jnp.stack([with_goal[0], without[1], with_goal[2]])
  np.testing.assert_allclose(chosen, expected, rtol=1e-5)
  noisy = agent.act(params, jax.random.key(2), observations, 0.3)
  assert (noisy != chosen).all() and np.abs(noisy).max() <= 1


def test_imitation_sees_the_goal_relative_to_the_observation_in_units_of_a_step():
  spec = _SPEC._replace(
    observation_mean=(1.0, 2.0, 3.0) * 2, observation_scale=(2.0,) * 6, goal_scale=(0.1,) * 3
  )
  plain = d4pg.make_networks(_CONFIG.imitation, spec._replace(goal=0))
  made = d4pg.make_networks(_CONFIG.imitation, spec)
  params = plain.init(jax.random.key(0))
  seen = jnp.array([[3.0, 2.0, -1.0, 3.05, 2.0, -1.3]])
  inputs = jnp.array([[1.0, 0.0, -2.0, 0.5, 0.0, -3.0]])
  np.testing.assert_allclose(made.policy(params, seen), plain.policy(params, inputs), atol=1e-5)
  action = jnp.array([[0.3, -0.2]])
  np.testing.assert_allclose(
    made.critic(params, seen, action), plain.critic(params, inputs, action), atol=1e-5
  )


def test_an_update_is_two_of_d4pg():
  agent = agents.metamimic.make_agent(_CONFIG, _SPEC)
  replay = _filled(agent, _episode(8, True), _episode(6, False, 1))
  state, key = jax.jit(agent.init)(jax.random.key(0)), jax.random.key(7)
  after, replay_after, metrics = jax.jit(agent.update)(state, key, replay, None)
  imitation = d4pg.make_agent(_CONFIG.imitation, _SPEC._replace(rewards=1))
  task = d4pg.make_agent(_CONFIG.task, networks.task_spec(_SPEC))
  keys = jax.random.split(key)
  first = jax.jit(imitation.update)(state.imitation, keys[0], replay.imitation, None)
  second = jax.jit(task.update)(state.task, keys[1], replay.task, None)
  for a, b in zip(jax.tree.leaves(after), jax.tree.leaves((first[0], second[0])), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
  priority, expected = (np.asarray(x.priority) for x in (replay_after.imitation, first[1]))
  np.testing.assert_allclose(priority, expected, rtol=1e-3, atol=1e-5)
  assert (replay_after.imitation.priority != replay.imitation.priority).any()
  for name, alone in (('imitation', first[2]), ('task', second[2])):
    np.testing.assert_allclose(metrics[f'loss/{name}_critic'], alone['loss/critic'], rtol=1e-4)


def test_learns_to_reach_any_goal():
  # One step moves the observation by the action; reward falls with what is left to the goal.
  config = agents.metamimic.Config(
    d4pg.Config(
      batch_size=64, n_step=1, discount=0.0, learning_rate=3e-3, policy=(32,), critic=(32, 32),
      highest_value=1.0, num_atoms=21, target_update_interval=10, sampling='prioritised',
    ),
    _D4PG,
  )  # fmt: skip
  spec = types.EnvironmentSpec(
    4, 2, (0.0,) * 4, (1.0,) * 4, goal=2, goal_scale=(1.0,) * 2, rewards=2
  )
  agent = agents.metamimic.make_agent(config, spec)
  rng = np.random.default_rng(0)
  replay = agent.init_replay(3000)
  add = jax.jit(agent.add)
  for _ in range(125):
    action = rng.uniform(-1, 1, (8, 2)).astype(np.float32)
    seen = np.cumsum(np.concatenate([rng.normal(size=(1, 2)), action]), 0)
    goal = seen + rng.uniform(-0.8, 0.8, seen.shape)
    reward = np.exp(-((seen[1:] - goal[:-1]) ** 2).sum(1) / 0.5)
    trajectory = types.Trajectory(
      np.concatenate([seen, goal], 1).astype(np.float32),
      action,
      np.stack([0 * reward, reward], 1).astype(np.float32),
      np.ones((8, 2), np.float32),
    )
    replay = add(replay, episodes.to_rows(trajectory), jnp.int32(9))
  update = jax.jit(agent.update)
  state = jax.jit(agent.init)(jax.random.key(0))
  for i in range(600):
    state, replay, _ = update(state, jax.random.key(i), replay, None)
  seen, left = rng.normal(size=(200, 2)), rng.uniform(-0.8, 0.8, (200, 2))
  observations = jnp.asarray(np.concatenate([seen, seen + left], 1), jnp.float32)
  action = agent.act_greedily(agent.params(state), jax.random.key(0), observations)
  error = np.square(action - left).sum(1).mean()
  assert error < 0.2 * np.square(left).sum(1).mean()


def test_an_environment_without_goals_is_refused():
  with pytest.raises(errors.InputError, match='environment: found no goals'):
    agents.metamimic.make_agent(_CONFIG, types.EnvironmentSpec(6, 2))


def test_updates_and_acts_from_frames():
  tower = d4pg.TowerConfig(channels=(4,), blocks=0, output=8)
  small = dataclasses.replace(_D4PG, tower=tower, policy=(8,), critic=(8,), batch_size=4)
  config = agents.metamimic.Config(
    dataclasses.replace(small, sampling='prioritised', reward='tracking'), small
  )
  spec = types.EnvironmentSpec(0, 2, frame=(16, 16, 6), goal=3, rewards=2)
  agent = agents.metamimic.make_agent(config, spec)
  rng = np.random.default_rng(0)
  frames = rng.integers(1, 256, (9, 16, 16, 6), np.uint8)
  imitating = types.Trajectory(
    frames, rng.uniform(-1, 1, (8, 2)).astype(np.float32), *np.ones((2, 8, 2), np.float32)
  )
  performing = imitating._replace(observations=frames * np.array([1, 1, 1, 0, 0, 0], np.uint8))
  state = jax.jit(agent.init)(jax.random.key(0))
  replay = _filled(agent, imitating, performing)
  after, _, metrics = jax.jit(agent.update)(state, jax.random.key(1), replay, None)
  assert all(np.isfinite(x) for x in metrics.values())
  assert replay.task.rows.observation.shape[1:] == (16, 16, 3)
  for learner in ('imitation', 'task'):
    before, now = (getattr(x, learner).params['policy'] for x in (state, after))
    assert all((a != b).any() for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(now)))
  seen = jnp.stack([imitating.observations[0], performing.observations[0]])
  actions = agent.act_greedily(agent.params(after), jax.random.key(2), seen)
  assert actions.shape == (2, 2) and (actions[0] != actions[1]).any()
