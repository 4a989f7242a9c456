"""Whether this machine can draw off-screen, asked before anything imports MuJoCo."""

import functools
import os
import subprocess
import sys

from eimitate import errors

_OFF = ('', 'disable', 'disabled', 'off', 'false', '0')
_PROBE = """
import os, mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
renderer = mujoco.Renderer(model, 8, 8)
renderer.update_scene(mujoco.MjData(model))
assert renderer.render().shape == (8, 8, 3)
os._exit(0)
"""
_ADVICE = (
  'OpenGL: on Debian or Ubuntu `apt-get install -y --no-install-recommends libegl1 libgl1`,'
  ' with MUJOCO_GL unset or egl'
)


@functools.cache  # Once proven is enough, and a probe takes a second.
def prepare() -> None:
  """Chooses EGL, unless MUJOCO_GL names something else, and proves in a child that it draws.

  In a child, because a context that fails may take its process along, and a process that has had
  one cannot fork.

  Raises:
    InputError: if MuJoCo was imported without a renderer, or nothing can be drawn here.
  """
  chosen = os.environ.get('MUJOCO_GL', '')
  if chosen.lower() in _OFF:
    too_late = 'mujoco' in sys.modules
    expected = 'MUJOCO_GL=egl set before anything imports mujoco or dm_control'
    errors.check(not too_late, 'MUJOCO_GL', repr(chosen), expected)
    os.environ['MUJOCO_GL'] = chosen = 'egl'
  found = subprocess.run(
    [sys.executable, '-c', _PROBE], capture_output=True, text=True, check=False
  )
  reason = (found.stderr.strip().splitlines() or ['no reason given'])[-1]
  errors.check(found.returncode == 0, 'MUJOCO_GL', f'{chosen!r}, which fails ({reason})', _ADVICE)
