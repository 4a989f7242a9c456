"""Shows the networks of D4PG, MetaMimic's learner, on frames, and what an update of them costs.

python -m experiments.vision
python -m experiments.vision --updates=3 --config.batch_size=4 --json=FILE
"""

import json
import pathlib
import resource
import time

from absl import flags
import jax
import numpy as np

from eimitate import agents
from eimitate import errors
from eimitate import types
from eimitate.networks import table
from experiments import command_line
from experiments import workloads
from experiments.configs import d4pg

_FRAMES = flags.DEFINE_integer(
  'frames', 1, 'Seen at once: 2 for a frame and a goal.', lower_bound=1
)
_ACTIONS = flags.DEFINE_integer('actions', 9, "Their number; the Jaco arm's.", lower_bound=1)
_UPDATES = flags.DEFINE_integer('updates', 0, 'To time, after a first one.', lower_bound=0)
_JSON = flags.DEFINE_string('json', '', 'A file to write the results to.')
_CONFIG = command_line.define_config(d4pg.make_config(preset='image'))


def main() -> None:
  config = command_line.overridden(d4pg.make_config(preset='image'), _CONFIG)
  errors.check(config.frame_size > 0, 'config.frame_size', config.frame_size, 'more than 0')
  agent_config = command_line.part(config, agents.d4pg.Config)
  frame = (config.frame_size, config.frame_size, 3 * _FRAMES.value)
  spec = types.EnvironmentSpec(0, _ACTIONS.value, frame=frame, stack=config.stack)
  agent = agents.d4pg.make_agent(agent_config, spec)
  params = jax.eval_shape(lambda key: agent.params(agent.init(key)), jax.random.key(0))
  print(table.table(params))
  result = {f'{name}_parameters': table.count(params[name]) for name in ('policy', 'critic')}
  result |= {'batch_size': config.batch_size, 'frame_bytes': int(np.prod(frame))}
  if _UPDATES.value:
    result |= _measure(agent, spec, _UPDATES.value)
  for name, value in result.items():
    print(f'{name:28s} {value}')
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=2) + '\n')


def _measure(agent, spec, updates) -> dict[str, float | str]:
  """Seconds of an update, and the process's memory before and after."""
  replay = workloads.random_replay(spec, 0)
  update = jax.jit(agent.update, donate_argnums=(0, 2))
  state = agent.init(jax.random.key(0))
  before, seconds = _peak(), []
  for i in range(updates + 1):
    started = time.perf_counter()
    state, replay, metrics = update(state, jax.random.key(i), replay, None)
    finite = bool(np.isfinite(metrics['loss/critic']))
    seconds.append(time.perf_counter() - started)
    errors.check(finite, 'loss/critic', 'not finite', 'a number')
  device = jax.local_devices()[0]
  return {
    'device': device.device_kind,
    'seconds_per_update': float(np.median(seconds[1:])),
    'spread_seconds': float(np.ptp(seconds[1:])),
    'first_update_seconds': seconds[0],
    'peak_gib_before': before,
    'peak_gib': _peak(),
    'device_peak_gib': (device.memory_stats() or {}).get('peak_bytes_in_use', 0) / 2**30,
  }


def _peak() -> float:
  """Of the process on the host, in GiB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == '__main__':
  command_line.run(main)
