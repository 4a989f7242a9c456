"""Measures how fast the learner is, beside how fast its arithmetic could be.

python -m experiments.benchmark --what=update --json=FILE
"""

import json
import pathlib
import time

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from eimitate import agents
from eimitate import errors
from eimitate import parallel
from eimitate import runs
from eimitate import types
from eimitate.replay import episodes
from experiments import command_line
from experiments.configs import efficient_imitate

_WHAT = flags.DEFINE_string('what', 'update', 'What to measure: update.')
_PRESET = flags.DEFINE_string('preset', 'state', 'What is observed: state.')
_VARIANT = flags.DEFINE_string('variant', 'paper', 'Settings: tuned, paper or released.')
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Timed calls; their median counts.', lower_bound=1)
_JSON = flags.DEFINE_string('json', '', 'A file to write the results to.')
_CONFIG = command_line.define_config(efficient_imitate.make_config())

# Walker walk's sizes.
_SPEC = types.EnvironmentSpec(24, 6, (0.0,) * 24, (1.0,) * 24)
_EPISODE, _EPISODES, _MATRIX = 250, 8, 1024


def main() -> None:
  errors.check(_WHAT.value == 'update', '--what', repr(_WHAT.value), 'update')
  errors.check(_PRESET.value == 'state', '--preset', repr(_PRESET.value), 'state')
  config = efficient_imitate.make_config(_VARIANT.value)
  config = command_line.overridden(config, _CONFIG)
  agent_config = command_line.part(config, agents.efficient_imitate.Config)
  run_config = command_line.part(config, runs.Config)
  parallel.prepare_cpu_devices(run_config.parallel.devices)
  devices = parallel.choose_devices(run_config.parallel.devices, agent_config.batch_size // 2)
  result = measure_update(agent_config, devices, _REPEATS.value)
  for name, value in result.items():
    print(f'{name:20s} {value}')
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=2) + '\n')


def measure_update(config, devices, repeats: int) -> dict[str, float]:
  """Times the learner's update and the machine's matrix product, in one run.

  Returns:
    ms_per_update: median. spread_ms: largest minus smallest. floor_ms: the time that the update's
    matrix products would take at the measured rate. ratio_to_floor. devices, gflop_per_update,
    gflop_per_second (of a product of two matrices of size 1024), root_simulations_per_second,
    compile_seconds.
  """
  agent = agents.efficient_imitate.make_agent(config, _SPEC)
  calls = 4  # Updates in one compiled call.

  def update_many(state, rng_key, replay, demonstrations):
    def one(state, key):
      return agent.update(state, key, replay, demonstrations, parallel.AXIS_NAME)

    return jax.lax.scan(one, state, jax.random.split(rng_key, calls))

  update = parallel.map_update(update_many, devices)
  state = parallel.replicate(agent.init(jax.random.key(0)), devices)
  replay = parallel.stack(_random_replay(0), devices)
  demonstrations = parallel.replicate(_random_replay(1), devices)

  def run(state, i):
    started = time.perf_counter()
    state, _ = jax.block_until_ready(update(state, jax.random.key(i), replay, demonstrations))
    return state, time.perf_counter() - started

  state, compile_seconds = run(state, 0)
  rate = _matmul_rate(len(devices))
  times = []
  for i in range(repeats):
    state, seconds = run(state, i + 1)
    times.append(1000 * seconds / calls)
    rate = max(rate, _matmul_rate(len(devices)))
  flops = count_flops(config)
  floor = 1000 * flops / rate
  roots = config.batch_size // 2 * (config.unroll_steps + 2)
  median = float(np.median(times))
  return {
    'ms_per_update': median,
    'spread_ms': max(times) - min(times),
    'floor_ms': floor,
    'ratio_to_floor': median / floor,
    'devices': len(devices),
    'gflop_per_update': flops / 1e9,
    'gflop_per_second': rate / 1e9,
    'root_simulations_per_second': roots * config.search.num_simulations / median * 1000,
    'compile_seconds': compile_seconds,
  }


def count_flops(config) -> float:
  """Floating-point operations of one update's matrix products, counted from the network sizes.

  Per simulation one edge: policies, discriminator, dynamics and value once. pUCT also evaluates
  the K children of each root. A gradient costs twice its forward pass again.
  """
  networks, latent = config.networks, config.networks.latent
  dense = lambda *sizes: sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))
  joint = latent + _SPEC.action_size
  represent = dense(_SPEC.observation_size, *networks.representation, latent)
  dynamics = dense(joint, *networks.dynamics, latent)
  value = dense(latent, *networks.value, networks.value_bins)
  policy = dense(latent, *networks.policy, 2 * _SPEC.action_size)
  discriminate = dense(joint, *networks.discriminator, 1)
  project = dense(latent, *networks.projector, networks.projection)
  predict = dense(networks.projection, *networks.predictor, networks.projection)

  search, half, steps = config.search, config.batch_size // 2, config.unroll_steps
  child = discriminate + dynamics + value
  one_ply = search.kind == 'gumbel' and (
    search.num_simulations == search.num_actions <= search.max_considered_actions
  )
  per_root = represent + 2 * policy
  if search.kind in ('mctx', 'node_list') or one_ply:
    per_root += search.num_actions * child
  if search.kind == 'gumbel':
    per_root += value
  if not one_ply:
    per_root += search.num_simulations * (child + 2 * policy)
  searches = half * (steps + 2) * per_root

  agent_rows = (steps + 1) * (value + policy)
  expert_rows = (steps + 1) * policy
  both_rows = represent + steps * (dynamics + project + predict + 3 * discriminate)
  trained = half * (agent_rows + expert_rows) + 2 * half * both_rows
  constant = 2 * half * steps * (represent + project)
  return 2.0 * (searches + 3 * trained + constant)


def _random_replay(seed):
  rng = np.random.default_rng(seed)
  replay = episodes.init(_SPEC, _EPISODES * (_EPISODE + 1))
  for _ in range(_EPISODES):
    trajectory = types.Trajectory(
      rng.normal(size=(_EPISODE + 1, _SPEC.observation_size)).astype(np.float32),
      rng.uniform(-1, 1, (_EPISODE, _SPEC.action_size)).astype(np.float32),
      np.ones(_EPISODE, np.float32),
      np.ones(_EPISODE, np.float32),
    )
    replay = episodes.add(replay, episodes.to_rows(trajectory), jnp.int32(_EPISODE + 1))
  return replay


def _matmul_rate(devices: int) -> float:
  """Operations per second of one large matrix product per device, all at once."""
  matrices = jnp.full((devices, _MATRIX, _MATRIX), 0.5)
  products = 8

  def multiply(x):
    return jax.lax.fori_loop(0, products, lambda _, y: (x @ y) * (1 / _MATRIX), x)

  multiply = jax.pmap(multiply)
  jax.block_until_ready(multiply(matrices))
  times = []
  for _ in range(5):
    started = time.perf_counter()
    jax.block_until_ready(multiply(matrices))
    times.append(time.perf_counter() - started)
  return 2 * devices * products * _MATRIX**3 / float(np.median(times))


if __name__ == '__main__':
  command_line.run(main)
