"""Demonstrations as frames, and the cache that keeps them."""

import tracemalloc

import numpy as np
import pytest

from eimitate import demonstrations
from eimitate import environments
from eimitate import errors
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.demonstrations import frames
from eimitate.demonstrations import rendering

pytestmark = pytest.mark.gl


@pytest.fixture(name='dataset')
def _dataset(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  return demonstrations.load(dataset_lib.shipped_path('ball_in_cup/catch')).take(1)


def _cached(tmp_path):
  return sorted((tmp_path / 'eimitate' / 'frames').iterdir())


def test_they_are_what_the_environment_shows_when_the_actions_are_done_again(dataset):
  episode = dataset.episodes[0]
  drawn = frames.with_frames(dataset, 16).episodes[0].trajectory
  environment = environments.make_environment(
    'ball_in_cup/catch', dataset.metadata.action_repeat, frame_size=16
  )
  assert environment.observation_spec().shape == (16, 16, 3)
  environment.restore(episode.states[0], episode.model_fields)
  shown = [environment.observe()]
  for action in episode.trajectory.actions[:30]:
    shown.append(environment.step(action).observation)
  np.testing.assert_array_equal(drawn.observations[:31], shown)
  assert drawn.observations.shape == (len(drawn.actions) + 1, 16, 16, 3)
  assert drawn.observations.dtype == np.uint8 and drawn.observations[30].std() > 10


def test_the_cache_is_used_and_a_damaged_one_is_drawn_anew(dataset, tmp_path, monkeypatch):
  first = frames.with_frames(dataset, 8).episodes[0].trajectory.observations
  (path,) = _cached(tmp_path)
  with monkeypatch.context() as patched:
    patched.setattr(rendering, 'frames', None)  # Not called: what is cached is enough.
    again = frames.with_frames(dataset, 8).episodes[0].trajectory.observations
  np.testing.assert_array_equal(again, first)
  whole = path.read_bytes()
  changed = bytearray(whole)
  changed[len(whole) // 2] ^= 255
  for damaged in (whole[: len(whole) // 2], bytes(changed), b''):
    path.write_bytes(damaged)
    again = frames.with_frames(dataset, 8).episodes[0].trajectory.observations
    np.testing.assert_array_equal(again, first)
    assert path.read_bytes() == whole


def test_whatever_changes_the_pixels_has_its_own_file(dataset, tmp_path, monkeypatch):
  frames.with_frames(dataset, 4)
  frames.with_frames(dataset, 6)
  monkeypatch.setattr(frames.metadata, 'version', lambda name: 'another')
  frames.with_frames(dataset, 4)
  assert len(_cached(tmp_path)) == 3


def test_other_episodes_of_one_file_have_their_own_frames(dataset):
  whole = demonstrations.load(dataset_lib.shipped_path('ball_in_cup/catch'))
  first, second = frames.with_frames(dataset, 8), frames.with_frames(whole.after(1).take(1), 8)
  shown = [x.episodes[0].trajectory.observations[:30] for x in (first, second)]
  assert (shown[0] != shown[1]).any()


def test_a_cache_that_cannot_be_written_is_said(dataset, tmp_path, monkeypatch, caplog):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  drawn = frames.with_frames(dataset, 4)
  assert 'Frames are not kept' in caplog.text
  assert drawn.episodes[0].trajectory.observations.shape[1:] == (4, 4, 3)


def test_they_are_there_once(dataset, monkeypatch):
  whole = demonstrations.load(dataset_lib.shipped_path('ball_in_cup/catch'))
  drawn = lambda: (np.full((len(x.states), 64, 64, 3), 7, np.uint8) for x in whole.episodes)
  monkeypatch.setattr(rendering, 'frames', lambda *_: drawn())
  for _ in ('drawn', 'read'):
    tracemalloc.start()
    episodes = frames.with_frames(whole, 64).episodes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(x.trajectory.observations.nbytes for x in episodes) > peak / 1.5
    assert all((x.trajectory.observations == 7).all() for x in episodes)


def test_what_does_not_fit_is_refused_before_it_is_drawn(dataset, monkeypatch):
  monkeypatch.setattr(frames.memory, 'free_bytes', lambda: 2**29)
  monkeypatch.setattr(rendering, 'frames', None)
  match = 'found 251 frames of 1024 x 1024, 0.74 GiB, expected at most the 0.50 GiB that are free'
  with pytest.raises(errors.InputError, match=f'demonstrations: {match}'):
    frames.with_frames(dataset, 1024)
