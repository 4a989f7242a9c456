"""Videos of an agent's episodes beside a demonstration.

They need `pip install imageio-ffmpeg`, which brings an ffmpeg of its own. It is run directly:
imageio would fork this process, which has an OpenGL context and jax's threads by then.
"""

from collections.abc import Mapping, Sequence
import importlib.util
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
from PIL import Image
from PIL import ImageDraw

from eimitate import demonstrations
from eimitate import errors
from eimitate.environments import gl

_SIZE = 240  # Height and width of each picture, a multiple of 16 as codecs like it.


def prepare(path: str) -> None:
  """Checks that a video can be made; call it before anything imports MuJoCo.

  Raises:
    InputError: if `path` is no .mp4 in a folder that exists, a package is missing, or nothing can
      be drawn.
  """
  errors.check(path.endswith('.mp4'), '--video', repr(path), 'a name.mp4')
  folder = pathlib.Path(path).absolute().parent
  errors.check(folder.is_dir(), '--video', f'no directory {folder}', 'one that exists')
  found = importlib.util.find_spec('imageio_ffmpeg') is not None
  errors.check(found, '--video', 'no imageio-ffmpeg', '`pip install imageio-ffmpeg`')
  gl.prepare()


class Filmed:
  """An environment that keeps a picture of every state it has been in."""

  def __init__(self, environment: Any):
    """Wraps `environment`.

    Raises:
      InputError: if it cannot be drawn.
    """
    drawn = hasattr(environment, 'render')
    expected = 'an environment with render(height, width)'
    errors.check(drawn, '--video', type(environment).__name__, expected)
    self._environment = environment
    self.frames: list[np.ndarray] = []

  def reset(self):
    """Begins an episode, and the film anew."""
    timestep = self._environment.reset()
    self.frames = [self._environment.render(_SIZE, _SIZE)]
    return timestep

  def restore(self, *saved):
    """Puts the environment elsewhere, and begins the film anew."""
    self._environment.restore(*saved)
    self.frames = [self._environment.render(_SIZE, _SIZE)]

  def step(self, action):
    """One step."""
    timestep = self._environment.step(action)
    self.frames.append(self._environment.render(_SIZE, _SIZE))
    return timestep

  def __getattr__(self, name):
    return getattr(self._environment, name)


def film_first(environments: Any) -> Filmed:
  """Puts a film into the first of several environments.

  Raises:
    InputError: if they cannot be drawn.
  """
  listed = isinstance(environments, list)
  errors.check(listed, '--video', 'environments on device', 'a task that is simulated on the host')
  environments[0] = Filmed(environments[0])
  return environments[0]


def write(path: str, filmed: Filmed, description: Mapping[str, Any], speed: float) -> None:
  """Writes the film as an mp4, beside the first demonstration that the agent learnt from.

  Args:
    path: of the file.
    filmed: after an episode.
    description: of the agent's run; where its demonstrations cannot be drawn, a line says so.
    speed: 1 for that of the task.
  """
  shown = {description['agent'].replace('_', ' '): filmed.frames}
  try:
    shown['demonstration'] = demonstration_frames(description)
  except errors.InputError as error:
    print(f'No demonstration beside it: {error}', file=sys.stderr)
  write_frames(path, side_by_side(shown), speed / filmed.control_timestep)


def write_imitation(
  path: str, filmed: Filmed, dataset: Any, description: Mapping[str, Any], speed: float
) -> None:
  """Writes the film of an imitation as an mp4, beside the demonstration that was imitated.

  Args:
    path: of the file.
    filmed: after the episode.
    dataset: of that one demonstration.
    description: of the agent's run.
    speed: 1 for that of the task.
  """
  # Imported here: it imports MuJoCo, which decides on import whether it can draw.
  from eimitate.demonstrations import rendering

  agent = description['agent'].replace('_', ' ')
  shown = {agent: filmed.frames, 'demonstration': next(rendering.frames(dataset, _SIZE, _SIZE))}
  write_frames(path, side_by_side(shown), speed / filmed.control_timestep)


def demonstration_frames(description: Mapping[str, Any]) -> np.ndarray:
  """The first demonstration that a run learnt from, `[T + 1, height, width, 3]` uint8.

  Raises:
    InputError: if there was none, it is not there any more, or it cannot be drawn.
  """
  # Imported here: it imports MuJoCo, which decides on import whether it can draw.
  from eimitate.demonstrations import rendering

  wanted, task = description['demonstrations'], description['task']
  errors.check(bool(wanted), 'demonstrations', 'an agent that learnt without', 'one that had some')
  given = description['config']['demonstrations']
  path = given or demonstrations.shipped_path(task, description['action_repeat'])
  dataset = demonstrations.load(path)
  same = dataset.checksum == wanted
  errors.check(same, 'demonstrations', f'others in {path}', "the agent's")
  return next(rendering.frames(dataset.take(1), _SIZE, _SIZE))


def side_by_side(shown: Mapping[str, Sequence[np.ndarray]]) -> list[np.ndarray]:
  """Films beside each other, each with its name; the shorter waits with its last picture.

  Args:
    shown: by name, pictures `[height, width, 3]` uint8 of one height.
  """
  length = max(len(frames) for frames in shown.values())
  labelled = [[_labelled(x, name) for x in frames] for name, frames in shown.items()]
  at = lambda t: [frames[min(t, len(frames) - 1)] for frames in labelled]
  return [np.concatenate(at(t), 1) for t in range(length)]


def write_frames(path: str | os.PathLike, frames: Sequence[np.ndarray], rate: float) -> None:
  """Writes pictures `[height, width, 3]` uint8 as H.264, `rate` a second, and renames it then."""
  import imageio_ffmpeg

  partial = pathlib.Path(path).with_suffix('.partial.mp4')
  height, width, _ = frames[0].shape
  raw = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', f'{width}x{height}', '-r', f'{rate}']
  encoded = ['-c:v', 'libx264', '-pix_fmt', 'yuv420p', '-movflags', '+faststart']
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-y', '-loglevel', 'error', *raw, '-i', '-', *encoded]
  subprocess.run([*command, str(partial)], input=np.stack(frames).tobytes(), check=True)
  os.replace(partial, path)


def _labelled(frame, name):
  image = Image.fromarray(frame)
  ImageDraw.Draw(image).text((6, 4), name, fill='white', stroke_width=1, stroke_fill='black')
  return np.asarray(image)
