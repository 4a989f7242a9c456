"""What memory this machine has left, or the part of it that a container was given."""

import math
import pathlib


def free_bytes() -> float:
  """Memory that can still be taken; infinite where nothing says how much."""
  container = read_number('/sys/fs/cgroup/memory.max')
  container -= read_number('/sys/fs/cgroup/memory.current', missing=0.0)
  # Files that were read or written lately count as used, and give way.
  for cached in ('inactive_file', 'active_file'):
    container += read_number('/sys/fs/cgroup/memory.stat', cached, missing=0.0)
  return min(1024 * read_number('/proc/meminfo', 'MemAvailable:'), container)


def read_number(path, after='', missing=math.inf) -> float:
  """A number in one of Linux's files, the first one or what comes `after` a word."""
  try:
    words = pathlib.Path(path).read_text().split()
    return float(int(words[words.index(after) + 1 if after else 0]))
  except (OSError, ValueError):  # No such file, or the word `max` for no limit.
    return missing
