"""Damaged checkpoints: the step before, or the same numbers; never silently others."""

import shutil

import jax
import numpy as np
import pytest

from eimitate import checkpoints

_ITEMS = ('params', 'learner', 'replay')


def _arrays(step):
  """Noise: it is neither compressed nor small enough to lie in an index that has checksums."""
  rng = np.random.default_rng(step)
  return {name: {'x': rng.random((40, 50), np.float32)} for name in _ITEMS}


def _texts(step):
  return {'meta': {'step': step}, 'config': {'seed': 0, 'of': 'a test'}}


@pytest.fixture(name='workdir')
def _workdir(tmp_path):
  kept = checkpoints.Checkpoints(tmp_path)
  for step in (1, 2):
    kept.save(step, _arrays(step), _texts(step), float(step))
  kept.close()
  return tmp_path


def _damages(whole):
  """Truncated, emptied, and a bit flipped at the beginning, in the middle and at the end."""
  yield whole[: len(whole) // 2]
  yield b''
  for place in (0, len(whole) // 2, len(whole) - 1):
    yield whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :]


def _restored(workdir):
  """What a run that goes on would be given, and of which step it says that it is."""
  kept = checkpoints.Checkpoints(workdir, reading=True)
  restored = kept.restore_latest(lambda meta: _arrays(meta['step']))
  return restored, restored['meta']['step']


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # Of orbax's.
def test_no_damaged_file_gives_other_numbers(workdir):
  """Each file of the last step in turn; all items are read."""
  found = sorted((workdir / 'checkpoints' / '2').rglob('*'))
  steps = []
  for path in (path for path in found if path.is_file()):
    whole = path.read_bytes()
    for damaged in _damages(whole) if whole else ():
      path.write_bytes(damaged)
      restored, step = _restored(workdir)
      expected = _arrays(step) | _texts(step)
      assert restored.keys() == expected.keys(), path
      jax.tree.map(np.testing.assert_array_equal, restored, expected)
      steps.append(step)
    path.write_bytes(whole)
  # Some files hold nothing that reading needs.
  assert set(steps) == {1, 2}
  assert _restored(workdir)[1] == 2


def test_an_unfinished_deletion_of_the_last_step(workdir):
  """A step that has lost any of its items is passed over, too."""
  step = workdir / 'checkpoints' / '2'
  for item in (*_ITEMS, 'meta', 'config', 'digest'):
    shutil.move(step / item, workdir / item)
    assert _restored(workdir)[1] == 1, item
    shutil.move(workdir / item, step / item)
  assert _restored(workdir)[1] == 2


def test_old_steps_that_a_kill_left_go_when_a_run_goes_on(tmp_path):
  kept = checkpoints.Checkpoints(tmp_path, keep=9)
  for step, value in enumerate((4.0, 9.0, 3.0, 2.0, 1.0), 1):
    kept.save(step, _arrays(step), _texts(step), value)
  kept.close()
  shutil.rmtree(tmp_path / 'checkpoints' / '1' / 'replay')  # Half of it is deleted already.
  reading = checkpoints.Checkpoints(tmp_path, keep=2, reading=True)
  assert reading.steps() == [1, 2, 3, 4, 5]
  resuming = checkpoints.Checkpoints(tmp_path, keep=2)
  assert resuming.steps() == [2, 4, 5] and resuming.best() == 2
  assert sorted(path.name for path in (tmp_path / 'checkpoints').iterdir()) == ['2', '4', '5']
