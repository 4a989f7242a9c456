"""The loop, one for all agents: collect -> push -> update -> log -> evaluate -> checkpoint.

A round is one episode per actor and the updates that are due for it. Whatever changes while
training is in `states.State`, and each part of the loop maps one to the next, so that a run can
stop after any of them and go on from there as if it had not.
"""

from collections.abc import Callable, Mapping
import contextlib
import functools
import math
import os
import pathlib
import time

import chex
import jax
import numpy as np

from eimitate import checkpoints as checkpoints_lib
from eimitate import collecting
from eimitate import environments as environments_lib
from eimitate import errors
from eimitate import evaluation
from eimitate import inputs as inputs_lib
from eimitate import logs
from eimitate import parallel
from eimitate import processes
from eimitate import runs
from eimitate import states
from eimitate import types
from eimitate.replay import episodes


# What runs once per evaluation takes half the time to compile if it may be a little slower.
_QUICK_TO_COMPILE = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
}


def train(
  run: runs.Run, workdir: str | os.PathLike, should_stop: Callable[[], bool] = lambda: False
) -> Mapping[str, float]:
  """Trains, or continues where the work directory's latest whole checkpoint stands.

  Args:
    run: what to train.
    workdir: created if need be; holds config.json, metrics.jsonl, timing.jsonl, tensorboard/ and
      checkpoints/.
    should_stop: asked after every call; once it says so the run is saved and ends. Where several
      processes train as one, all call this, and it must say the same in all.

  Returns:
    The last evaluation's metrics.

  Raises:
    InputError: on bad input, before anything is written, or if every checkpoint is damaged.
    FloatingPointError: if the loss is no longer finite; the last checkpoint is kept.
  """
  config = run.config
  runs.validate(run)
  inputs = inputs_lib.load(run)
  agent = evaluation.AGENTS[run.agent].make_agent(run.agent_config, inputs.spec)
  description = inputs_lib.describe(run, inputs)
  processes.check_same(runs.common(description))
  warm = lambda: config.init_from and not checkpoints_lib.exist(workdir)
  params = processes.on_leader(lambda: states.initial_params(run, agent) if warm() else None)
  shared = run.agent_config.shared_rows
  if isinstance(inputs.environments, environments_lib.OnDevice):
    inputs.environments.share(config.parallel.devices or 1)
    shared = math.gcd(shared, config.actors.num, config.tracking.task_actors)
  # Each device's replays need experience of both kinds.
  following = config.actors.num - config.tracking.task_actors
  most = following if inputs.parts else config.replay.episodes
  devices = parallel.choose_devices(config.parallel.devices, shared, most)
  errors.check(
    config.replay.episodes >= len(devices),
    'config.replay.episodes',
    config.replay.episodes,
    f'at least one for each of {len(devices)} devices',
  )
  expected = f'one for each of {len(devices)} devices'
  enough = following >= len(devices) or not inputs.parts
  errors.check(enough, 'config.tracking', f'{following} actors that follow', expected)
  placement = parallel.place(config.parallel.backend, devices)
  # Each device gets its share of the steps.
  capacity = config.replay.episodes * (inputs.longest + 1)
  make_replay = lambda count: agent.init_replay(-(-capacity // count))
  states.check_fits(make_replay, devices, config.replay.episodes)
  workdir = pathlib.Path(workdir)

  with contextlib.ExitStack() as stack:
    processes.only_leader(lambda: stack.enter_context(runs.lock(workdir)))
    processes.only_leader(lambda: runs.claim(workdir, description))
    opened = processes.only_leader(
      lambda: checkpoints_lib.Checkpoints(workdir, config.checkpoints.keep)
    )
    if opened:
      stack.callback(opened.close)
    state = states.init(run, agent, placement, make_replay(len(devices)), params)
    state, metrics_bytes = states.restore(opened, agent, placement, state, make_replay)
    begun = state.counters['agent_steps']
    logger = processes.only_leader(
      lambda: logs.Logger(workdir, config.agent_steps, metrics_bytes, begun)
    )
    if logger:
      stack.callback(logger.close)
    parts = _Parts(run, agent, inputs, placement, logger)

    def save(state):
      states.save(opened, agent, state, len(devices), logger, description)

    return _train(config, parts, state, save, should_stop).result


def _train(config, parts, state, save, should_stop) -> states.State:
  """The loop itself."""

  def ended():
    # One evaluation alone may be lucky.
    return state.counters['agent_steps'] >= config.agent_steps or state.counters['reached'] >= 2

  def passed(interval):
    before, after = state.counters['round_start'], state.counters['agent_steps']
    return before // interval < after // interval or after >= config.agent_steps

  if not state.counters['agent_steps']:
    state = parts.evaluate(state)
  saved = state
  # A run that was stopped within its last round still owes updates.
  while (parts.calls_due(state) or not ended()) and not should_stop():
    if not parts.calls_due(state):
      state = parts.collect(state)
    while parts.calls_due(state) and not should_stop():
      state = parts.update(state)
    if parts.calls_due(state):
      break
    state = parts.log_round(state)
    if passed(config.evaluation.interval):
      state = parts.evaluate(state)
    if passed(config.checkpoints.interval) or ended():
      save(state)
      saved = state
  if state is not saved:
    save(state)
  return state


class _Parts:
  """What the loop is made of: compiled functions, environments and the log of one run."""

  def __init__(self, run, agent, inputs, placement, logger):
    self._run, self._agent, self._inputs, self._logger = run, agent, inputs, logger
    self._devices = len(placement.devices)
    chex.clear_trace_counter()  # It counts per process, and a process may train several runs.
    once = chex.assert_max_traces(n=1)
    update = many_updates(agent, run.config.updates_per_call)
    self._update = placement.map_update(once(update))
    self._collect = collecting.make_collect(run, agent, inputs, placement, once)
    self._act_greedily = jax.jit(agent.act_greedily)
    diagnosis = functools.partial(_diagnose_shard, agent)
    self._diagnosis = jax.jit(diagnosis, compiler_options=_QUICK_TO_COMPILE)
    sampled = run.agent_config.needs_demonstrations
    demonstrations = inputs_lib.demonstrations_replay(inputs) if sampled else None
    self._demonstrations = placement.replicate(demonstrations)

  def calls_due(self, state: states.State) -> int:
    """Calls of many updates that the agent steps so far ask for."""
    config, counters = self._run.config, state.counters
    if counters['stored'] < self._devices:  # Some shard is still empty.
      return 0
    due = int(counters['agent_steps'] * config.updates_per_agent_step) - counters['updates']
    return max(due, 0) // config.updates_per_call

  def collect(self, state: states.State) -> states.State:
    """One episode per actor, pushed."""
    started = time.perf_counter()
    config, counters = self._run.config, state.counters
    rng_key, act_key = jax.random.split(state.rng_key)
    fraction = counters['agent_steps'] / config.agent_steps
    temperature = np.float32(runs.current_temperature(config.actors, fraction))
    state, done = self._collect(state, act_key, temperature)
    state = state._replace(rng_key=rng_key).with_counters(
      round_start=counters['agent_steps'],
      agent_steps=counters['agent_steps'] + done.agent_steps,
      env_steps=counters['env_steps'] + done.agent_steps * self._inputs.action_repeat,
      episodes=counters['episodes'] + done.episodes,
      stored=counters['stored'] + done.stored,
    )
    seconds = time.perf_counter() - started
    self._log(state.counters, done.metrics, {'time/collect_seconds': seconds})
    return state

  def update(self, state: states.State) -> states.State:
    """One call of many updates."""
    started = time.perf_counter()
    rng_key, update_key = jax.random.split(state.rng_key)
    learner, replay, metrics = self._update(
      state.learner, update_key, state.replay, self._demonstrations
    )
    count = self._run.config.updates_per_call
    state = state.with_counters(updates=state.counters['updates'] + count)
    metrics = jax.device_get(metrics)
    _check_finite(metrics, state.counters['updates'] - count)
    metrics = {name: float(values.mean()) for name, values in metrics.items()}
    rate = count / (time.perf_counter() - started)
    times, shown = {'time/updates_per_second': rate}, {'updates/s': f'{rate:.1f}'}
    self._log(state.counters, times=times, shown=shown)
    pending = [*state.pending, metrics]
    return state._replace(learner=learner, replay=replay, rng_key=rng_key, pending=pending)

  def log_round(self, state: states.State) -> states.State:
    """Writes the mean of the round's metrics."""
    if state.pending:
      names = state.pending[0]
      means = {name: np.mean([metrics[name] for metrics in state.pending]) for name in names}
      self._log(state.counters, means)
    return state._replace(pending=[])

  def evaluate(self, state: states.State) -> states.State:
    """Greedy episodes, always from the same initial states."""
    started = time.perf_counter()
    params = parallel.first_copy(self._agent.params(state.learner))

    def evaluated():
      environments, stack = self._inputs.evaluators, self._inputs.spec.stack
      trajectories, failures = evaluation.rollout(self._act_greedily, params, environments, stack)
      recorded = [trajectory for trajectory in trajectories if trajectory]
      summary = {**self._inputs.summarise(trajectories), 'failed_episodes': sum(failures.values())}
      return summary, self._diagnose(state, recorded)

    result, diagnosis = processes.on_leader(evaluated)
    self._log(state.counters, diagnosis)
    metrics = {f'eval/{name}': value for name, value in result.items()}
    seconds = time.perf_counter() - started
    shown = {'return': 'mean_return', 'of_expert': 'fraction_of_expert'}
    shown = {name: f'{result[key]:.4g}' for name, key in shown.items() if key in result}
    self._log(state.counters, metrics, {'time/evaluation_seconds': seconds}, shown)
    reached = 0 < self._run.config.target_return <= result['mean_return']
    return state._replace(result=result).with_counters(
      reached=state.counters['reached'] + 1 if reached else 0,
      evaluated=state.counters['updates'],
    )

  def _log(self, counters, metrics=None, times=None, shown=None):
    """Written by the leader; if it cannot, as on a full disk, no process goes on."""

    def write():
      if metrics:
        self._logger.write(counters, metrics)
      if times:
        self._logger.write_timing(counters, times)
      if shown:
        self._logger.progress(counters, **shown)

    processes.only_leader(write)

  def _diagnose(self, state, trajectories):
    """What the agent says of itself, by one device's share of the replay."""
    config, inputs = self._run.config.evaluation, self._inputs
    offered = config.diagnostics and self._agent.diagnose is not None
    if not offered or not trajectories or state.counters['stored'] < self._devices:
      return {}
    capacity = config.episodes * (inputs.longest + 1)
    evaluated = episodes.of(inputs.spec, trajectories, capacity)
    # Drawn alike at every evaluation of every run, so that nothing else depends on it.
    learner, shard, demonstrations = parallel.first_copy(
      (state.learner, state.replay, self._demonstrations)
    )
    metrics = self._diagnosis(learner, jax.random.key(0), shard, demonstrations, evaluated)
    return jax.device_get(metrics)


def many_updates(agent: types.Agent, count: int):
  """`count` updates of an agent as one function, to be mapped over devices; metrics: `[count]`."""

  def update(learner, rng_key, replay, demonstrations):
    def one(carry, key):
      learner, replay = carry
      learner, replay, metrics = agent.update(
        learner, key, replay, demonstrations, parallel.AXIS_NAME
      )
      return (learner, replay), metrics

    keys = jax.random.split(rng_key, count)
    (learner, replay), metrics = jax.lax.scan(one, (learner, replay), keys)
    return learner, replay, metrics

  return update


def _diagnose_shard(agent, learner, rng_key, shard, demonstrations, evaluated):
  """`shard` keeps the axis of devices, at length 1, so that it need not be copied."""
  replay = jax.tree.map(lambda x: x[0], shard)
  return agent.diagnose(learner, rng_key, replay, demonstrations, evaluated)


def _check_finite(metrics, updates):
  """Raises where one of the `[count]` values after `updates` updates is not finite."""
  bad = {name: np.flatnonzero(~np.isfinite(values)) for name, values in metrics.items()}
  first = min((where[0] for where in bad.values() if where.size), default=None)
  if first is not None:
    names = [name for name, where in bad.items() if where.size and where[0] == first]
    raise FloatingPointError(f'{", ".join(names)} not finite at update {updates + first + 1}')
