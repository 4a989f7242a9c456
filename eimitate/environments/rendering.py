"""Frames of a simulation, off-screen and fast: no shadows, reflections or multisampling.

They are drawn twice as large and averaged: small movements then show, which edges drawn hard would
hide, at less than multisampling costs. A process uses one kind of renderer: closing one of these
makes the other's later frames wrong, without an error.
"""

import atexit

import mujoco
import numpy as np

# Contexts must go before the display does, which MuJoCo closes when the interpreter exits.
_open = []


class Renderer:
  """Draws one model; call `gl.prepare` first."""

  def __init__(self, model: mujoco.MjModel, height: int, width: int, camera: int = 0):
    """Makes a context for `model`.

    Args:
      model: may change later in its numbers, not in its sizes.
      height, width: of the frames, in pixels.
      camera: the model's, by number.
    """
    model.vis.quality.offsamples = 0
    height, width = 2 * height, 2 * width
    # The model's own buffer may be smaller than what is asked for.
    model.vis.global_.offheight = max(model.vis.global_.offheight, height)
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
    self._renderer = mujoco.Renderer(model, height, width)
    self._camera = camera
    self._model, self._ground = model, model.hfield_data.copy()
    flags = self._renderer.scene.flags
    flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
    flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    if not _open:
      atexit.register(_close_all)
    _open.append(self._renderer)

  def render(self, data: mujoco.MjData) -> np.ndarray:
    """The frame of the current state, `[height, width, 3]` uint8."""
    if (self._model.hfield_data != self._ground).any():
      self._upload_ground()
    self._renderer.update_scene(data, camera=self._camera)
    return _halved(self._renderer.render())

  def _upload_ground(self):
    """OpenGL has height fields of its own, as they were when the context was made."""
    self._ground = self._model.hfield_data.copy()
    self._renderer._gl_context.make_current()  # pylint: disable=protected-access
    for number in range(self._model.nhfield):
      mujoco.mjr_uploadHField(self._model, self._renderer._mjr_context, number)  # pylint: disable=protected-access


def _halved(drawn):
  """Means of squares of four pixels, rounded."""
  rows = drawn[::2].astype(np.uint16) + drawn[1::2]
  return ((rows[:, ::2] + rows[:, 1::2] + 2) // 4).astype(np.uint8)


def _close_all():
  while _open:
    _open.pop().close()
