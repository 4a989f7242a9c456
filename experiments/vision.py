"""Shows the networks of D4PG or of MetaMimic, two of it, on frames, and what an update costs.

python -m experiments.vision
python -m experiments.vision --updates=3 --config.batch_size=4 --json=FILE
python -m experiments.vision --agent=metamimic --updates=3 --config.imitation.batch_size=4
"""

import json
import pathlib
import resource
import time
from typing import Any

from absl import flags
import jax
import numpy as np

from eimitate import errors
from eimitate import evaluation
from eimitate import types
from eimitate.networks import table
from experiments import command_line
from experiments import workloads
from experiments.configs import d4pg
from experiments.configs import metamimic

_PRESETS = {'d4pg': d4pg, 'metamimic': metamimic}
_AGENT = flags.DEFINE_enum('agent', 'd4pg', list(_PRESETS), 'Whose networks and updates.')
_FRAMES = flags.DEFINE_integer(
  'frames', 1, 'Seen at once by D4PG: 2 for a frame and a goal.', lower_bound=1
)
_ACTIONS = flags.DEFINE_integer('actions', 9, "Their number; the Jaco arm's.", lower_bound=1)
_UPDATES = flags.DEFINE_integer('updates', 0, 'To time, after a first one.', lower_bound=0)
_JSON = flags.DEFINE_string('json', '', 'A file to write the results to.')
_CONFIG = command_line.define_config(*(x.make_config(preset='image') for x in _PRESETS.values()))


def main() -> None:
  name, count = _AGENT.value, _FRAMES.value
  config: Any = command_line.overridden(_PRESETS[name].make_config(preset='image'), _CONFIG)
  size = config.frame_size
  errors.check(size > 0, 'config.frame_size', size, 'more than 0')
  follows, expected = name == 'metamimic', '1: a goal comes with every frame'
  errors.check(count == 1 or not follows, '--frames', count, expected)
  agent_config = command_line.part(config, evaluation.AGENTS[name].Config)
  spec = types.EnvironmentSpec(0, _ACTIONS.value, frame=(size, size, 3 * count), stack=config.stack)
  if follows:
    spec = spec._replace(frame=(size, size, 6), goal=3, rewards=2)
  agent = evaluation.AGENTS[name].make_agent(agent_config, spec)
  params = jax.eval_shape(lambda key: agent.params(agent.init(key)), jax.random.key(0))
  print(table.table(params))
  learners = {'': (agent_config, params)}
  if follows:
    learners = {f'{x}_': (getattr(agent_config, x), getattr(params, x)) for x in params._fields}
  result = {}
  for prefix, (settings, own) in learners.items():
    result |= {
      f'{prefix}{part}_parameters': table.count(own[part]) for part in ('policy', 'critic')
    }
    result[f'{prefix}batch_size'] = settings.batch_size
  result['frame_bytes'] = int(np.prod(spec.frame))
  if _UPDATES.value:
    result |= _measure(agent, spec, _UPDATES.value)
  for field, value in result.items():
    print(f'{field:28s} {value}')
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=2) + '\n')


def _measure(agent, spec, updates) -> dict[str, float | str]:
  """Seconds of an update, and the process's memory before and after."""
  replay = workloads.filled_replay(agent, spec)
  update = jax.jit(agent.update, donate_argnums=(0, 2))
  state = agent.init(jax.random.key(0))
  before, seconds = _peak(), []
  for i in range(updates + 1):
    started = time.perf_counter()
    state, replay, metrics = update(state, jax.random.key(i), replay, None)
    bad = [name for name, value in metrics.items() if not np.isfinite(value)]
    seconds.append(time.perf_counter() - started)
    errors.check(not bad, ', '.join(bad), 'not finite', 'a number')
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
