"""How fast a workload could be: what it must do over what the machine can do a second."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eimitate import types
from eimitate.networks import convolutions
from eimitate.networks import keypoints

_MATRIX, _COPIED = 1024, 1 << 26


def update_flops(agent: str, config: Any, spec: types.EnvironmentSpec) -> float:
  """Of one update's matrix products, counted from the network sizes; of D4PG's kind on state only.

  A gradient costs twice its forward pass again.
  """
  if agent == 'd4pg':
    return _d4pg_flops(config, spec)
  if agent == 'metamimic':
    alone = spec._replace(observation_size=spec.observation_size - spec.goal)
    return _d4pg_flops(config.imitation, spec) + _d4pg_flops(config.task, alone)
  sizes = _sizes(config, spec)
  half, steps = config.batch_size // 2, config.unroll_steps
  projects = config.loss.consistency_space == 'projection'
  project, predict = (sizes[name] * projects for name in ('project', 'predict'))
  agent_rows = (steps + 1) * (sizes['value'] + sizes['policy'])
  cloned = 1 if config.loss.bc_steps == 'single' else steps + 1
  expert_rows = (steps + 1) * sizes['value'] * (config.loss.expert_value > 0)
  expert_rows += cloned * sizes['bc_policy']
  unrolled = sizes['dynamics'] + project + predict + sizes['discriminate']
  both_rows = _represent(config, spec, 1) + steps * unrolled
  penalised = steps * 2 * sizes['discriminate']  # Of each pair, and its gradient.
  trained = half * (agent_rows + expert_rows + penalised) + 2 * half * both_rows
  # What is to be predicted: observations, and the values and rewards of the target network.
  constant = 2 * half * (_represent(config, spec, steps) + steps * project)
  constant += half * (_represent(config, spec, steps + 2) + (steps + 2) * sizes['value'])
  constant += 2 * half * (steps + 1) * sizes['discriminate']
  return search_flops(config, spec) + 2.0 * (3 * trained + constant)


def _d4pg_flops(config, spec):
  """Both networks learn and give targets; the policy's gradient goes through the critic."""
  policy = _dense(spec.observation_size, *config.policy, spec.action_size)
  critic = _dense(spec.observation_size + spec.action_size, *config.critic, config.num_atoms)
  return 2.0 * config.batch_size * (4 * policy + 6 * critic)


def search_flops(config: Any, spec: types.EnvironmentSpec) -> float:
  """Of the matrix products of one update's searches.

  Per simulation one edge: policies, discriminator, dynamics and value once. pUCT also evaluates
  the K children of each root. The cross-entropy method's steps are all edges of its sequences.
  """
  sizes, search = _sizes(config, spec), config.search
  one_ply = search.kind == 'gumbel' and (
    search.num_simulations == search.num_actions <= search.max_considered_actions
  )
  policies = sizes['policy'] + sizes['bc_policy']
  child = sizes['discriminate'] + sizes['dynamics'] + sizes['value']
  positions = config.unroll_steps + 2
  represent = _represent(config, spec, positions) / positions
  per_root = represent + policies
  if search.kind in ('mctx', 'node_list') or one_ply:
    per_root += search.num_actions * child
  if search.kind == 'gumbel':
    per_root += sizes['value']
  if search.kind == 'cem':
    edge = sizes['discriminate'] + sizes['dynamics']
    rolled = search.num_sequences * (search.depth * edge + sizes['value'])
    # Each is proposed by one of the policies.
    proposals = search.num_sequences // 4
    num_bc = round(search.bc_fraction * proposals)
    asked = (proposals - num_bc) * sizes['policy'] + num_bc * sizes['bc_policy']
    proposed = search.depth * (proposals * edge + asked)
    per_root = represent + search.num_iterations * rolled + proposed
    if search.bc_penalty and num_bc:
      per_root += search.depth * (sizes['dynamics'] + sizes['bc_policy'])
  elif not one_ply:
    per_root += search.num_simulations * (child + policies)
  roots = config.batch_size // 2 * positions
  return 2.0 * roots * per_root


def matmul_rate(devices: int) -> float:
  """Operations per second of one large matrix product per device, all at once."""
  matrices = jnp.full((devices, _MATRIX, _MATRIX), 0.5)
  products = 8

  def multiply(x):
    return jax.lax.fori_loop(0, products, lambda _, y: (x @ y) * (1 / _MATRIX), x)

  seconds = _median_seconds(jax.pmap(multiply), matrices)
  return 2 * devices * products * _MATRIX**3 / seconds


def memory_rate() -> float:
  """Bytes per second, read and written, of adding one to a large array."""
  array = jnp.zeros(_COPIED // 4)
  return 2 * _COPIED / _median_seconds(jax.jit(lambda x: x + 1), array)


def _median_seconds(function, argument):
  jax.block_until_ready(function(argument))
  times = []
  for _ in range(5):
    started = time.perf_counter()
    jax.block_until_ready(function(argument))
    times.append(time.perf_counter() - started)
  return float(np.median(times))


def _dense(*sizes):
  return sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))


def _sizes(config, spec):
  """Multiplications of one row through each network."""
  networks, latent = config.networks, config.networks.latent
  joint = latent + spec.action_size
  policy = _dense(latent, *networks.policy, 2 * spec.action_size)
  return {
    'dynamics': _dense(joint, *networks.dynamics, latent),
    'value': _dense(latent, *networks.value, networks.value_bins),
    'policy': policy,
    'bc_policy': networks.bc_members * policy,
    'discriminate': _dense(joint, *networks.discriminator, 1),
    'project': _dense(latent, *networks.projector, networks.projection),
    'predict': _dense(networks.projection, *networks.predictor, networks.projection),
  }


def _represent(config, spec, steps):
  """Multiplications of representing so many consecutive observations."""
  networks, latent = config.networks, config.networks.latent
  if not spec.frame:
    return steps * _dense(spec.observation_size, *networks.representation, latent)
  if networks.keypoints:
    sizes, strides = keypoints.KERNELS, keypoints.STRIDES
    count, pixels, maps = _convolved(spec.frame, networks.encoder, sizes, strides)
    points, hidden = 2 * maps, networks.representation
    count += pixels * points + (_dense(points, *hidden, points) if hidden else 0)
    return (steps + spec.stack - 1) * count + steps * spec.stack * points * latent
  sizes = convolutions.Encoder.first_kernel, convolutions.Encoder.kernel
  count, pixels, maps = _convolved(spec.observed, networks.encoder, sizes, (2, 2))
  return steps * (count + pixels * maps * latent)


def _convolved(shape, channels, sizes, strides):
  """Multiplications of `convolutions.convolutions` of one image; pixels and maps that it leaves."""
  height, width, inputs = shape
  count = 0
  for i, outputs in enumerate(channels):
    size, stride = sizes[min(i, 1)], strides[min(i, 1)]
    height, width = -(-height // stride), -(-width // stride)
    count += height * width * size * size * inputs * outputs
    inputs = outputs
  return count, height * width, inputs
