"""Frames: what they show, and what happens where nothing can be drawn."""

import os
import subprocess
import sys

import numpy as np
import pytest

from eimitate import environments
from eimitate.environments import gl
from eimitate.environments import rendering


@pytest.mark.gl
def test_a_frame_shows_the_state():
  environment = environments.make_environment('cartpole/swingup', 8)
  environment.seed(0)
  environment.reset()
  state, fields = environment.save()
  before = environment.render(48, 64)
  assert before.shape == (48, 64, 3) and before.dtype == np.uint8 and before.std() > 10
  for _ in range(5):
    environment.step(np.ones(1))
  assert np.abs(environment.render(48, 64).astype(int) - before).max() > 50
  environment.restore(state, fields)
  np.testing.assert_array_equal(environment.render(48, 64), before)


@pytest.mark.gl
@pytest.mark.parametrize('task', ['quadruped/escape', 'swimmer/swimmer6'])
def test_a_frame_shows_what_the_task_drew_anew(task):
  first, second = (environments.make_environment(task, 1) for _ in range(2))
  for seed, environment in enumerate((first, second)):
    environment.seed(seed)
    environment.reset()
  other = second.render(48, 48)
  second.restore(*first.save())
  np.testing.assert_array_equal(second.render(48, 48), first.render(48, 48))
  assert (second.render(48, 48) != other).any()


@pytest.mark.gl
def test_two_sizes_and_two_environments_do_not_disturb_each_other():
  walker, cup = (
    environments.make_environment(task, 4) for task in ('walker/walk', 'ball_in_cup/catch')
  )
  for environment in (walker, cup):
    environment.seed(0)
    environment.reset()
  alone = walker.render(48, 48)
  assert cup.render(48, 48).shape == (48, 48, 3) and walker.render(300, 700).shape == (300, 700, 3)
  np.testing.assert_array_equal(walker.render(48, 48), alone)


def _python(program, **environment):
  kept = {name: value for name, value in os.environ.items() if name != 'MUJOCO_GL'}
  return subprocess.run(
    [sys.executable, '-c', program],
    env=kept | environment,
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.gl
def test_egl_is_chosen_and_nothing_is_said_at_the_end():
  program = """
from eimitate.environments import gl
gl.prepare()
from eimitate import environments
environment = environments.make_environment('cartpole/swingup', 8)
environment.reset()
print(environment.render(8, 8).shape)
"""
  result = _python(program)
  assert (result.stdout, result.stderr, result.returncode) == ('(8, 8, 3)\n', '', 0)


def test_too_late():
  program = 'import eimitate.environments.suite; from eimitate.environments import gl; gl.prepare()'
  result = _python(program)
  assert "MUJOCO_GL: found 'disabled', expected MUJOCO_GL=egl set before" in result.stderr


def test_no_gl_says_what_to_install(monkeypatch):
  monkeypatch.setenv('MUJOCO_GL', 'osmesa')
  monkeypatch.setattr(gl, '_PROBE', 'raise ImportError("no library")')
  gl.prepare.cache_clear()
  with pytest.raises(ValueError, match="found 'osmesa', which fails .*no library.*libegl1 libgl1"):
    gl.prepare.__wrapped__()  # It may have been called before.


def test_four_pixels_become_their_mean():
  drawn = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
  found = rendering._halved(drawn)
  means = drawn.reshape(3, 2, 4, 2, 3).mean((1, 3))
  assert found.dtype == np.uint8 and found.shape == (3, 4, 3)
  assert np.abs(found - means).max() <= 0.5
