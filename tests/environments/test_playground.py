"""playground's tasks observe what dm_control's own do."""

import jax
import mujoco
from mujoco import mjx
from mujoco_playground._src import dm_control_suite
import numpy as np
import pytest

from eimitate import environments
from eimitate.environments import brax
from eimitate.environments import suite
from eimitate.environments import tasks


def test_every_task_has_its_counterpart():
  names = {name.removeprefix('playground/') for name in tasks.COUNTERPARTS}
  assert names == set(dm_control_suite.ALL_ENVS)
  known = {f'{domain}/{name}' for domain, name in suite.suite.ALL_TASKS}
  assert set(tasks.COUNTERPARTS.values()) <= known
  assert environments.counterpart('playground/BallInCup') == 'ball_in_cup/catch'
  assert environments.resolve_action_repeat('playground/CartpoleSwingup', 0) == 8
  assert environments.expert_return('playground/WalkerWalk') == 865.6


@pytest.mark.parametrize('name', ['WalkerWalk', 'PendulumSwingup', 'ReacherEasy', 'FishSwim'])
def test_observes_what_the_suite_observes(name):
  task = f'playground/{name}'
  theirs = brax.load_playground(task)
  ours = suite.SuiteEnvironment(environments.counterpart(task), 1)
  ours.seed(3)
  ours.reset()
  physics = ours._environment.physics
  physics.data.qvel[:] = np.random.default_rng(0).normal(size=physics.model.nv)
  mujoco.mj_forward(physics.model.ptr, physics.data.ptr)
  data = mujoco.MjData(theirs.mj_model)
  data.qpos[:], data.qvel[:] = physics.data.qpos, physics.data.qvel
  if theirs.mj_model.nmocap:
    data.mocap_pos[0] = physics.named.model.geom_pos['target']
  mujoco.mj_forward(theirs.mj_model, data)
  observed = brax.observe_as_suite(
    task, theirs, mjx.put_data(theirs.mj_model, data, impl='jax'), {}
  )
  np.testing.assert_allclose(observed, ours.observe(), atol=2e-5)


def test_what_is_restored_goes_on_exactly():
  # Its target is part of what is restored.
  simulation = brax.make_simulation('playground/ReacherEasy')
  state, _ = simulation.reset(jax.random.key(3))
  action = np.full(simulation.action_size, 0.7, np.float32)
  for _ in range(5):
    state, _ = simulation.step(state, action)
  restored = jax.jit(simulation.restore)(jax.jit(simulation.save)(state))
  for _ in range(5):
    state, outcome = simulation.step(state, -action)
    restored, again = simulation.step(restored, -action)
    for expected, found in zip(outcome, again):
      np.testing.assert_array_equal(expected, found)


def test_parts_are_the_suites():
  parts = brax.make_simulation('playground/BallInCup').parts
  assert parts == {'position': slice(0, 4), 'velocity': slice(4, 8)}
