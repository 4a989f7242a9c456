"""Pickles without their dangers: only arrays of numbers and plain values, nothing called.

A pickle is a program. This one's machine knows few operations and none that runs what the file
names: names of NumPy's functions stand for the functions here, and any other name is refused.
"""

from collections.abc import Callable, Mapping
import io
import math
import pickle
import struct

import numpy as np

from eimitate import errors

_FIELD = 'pickle'
_MOST_OPERATIONS = 4_000_000
_LONGEST = 2**40


class Array:
  """Stands for `numpy.ndarray`. values: the array, empty until its state is known."""

  def __init__(self):
    self.values = np.zeros(0)

  def set_state(self, state):
    """(version, shape, dtype, whether in Fortran's order, bytes), the version optional."""
    good = isinstance(state, tuple) and len(state) in (4, 5)
    errors.check(good, _FIELD, 'an array without its state', 'shape, type, order and bytes')
    shape, dtype, fortran, raw = state[-4:]
    self.values = _build(raw, dtype, shape, 'F' if fortran is True else 'C')


class DType:
  """Stands for `numpy.dtype`. value: the type, of numbers only."""

  def __init__(self, code):
    good = isinstance(code, str) and code in _CODES
    name = ascii(code)[:50] if isinstance(code, str) else type(code).__name__
    errors.check(good, _FIELD, f'an array of type {name}', 'numbers')
    self.value = np.dtype(code)

  def set_state(self, state):
    """(version, byte order, ...)."""
    good = isinstance(state, tuple) and len(state) >= 2 and isinstance(state[1], str)
    good = good and state[1] in ('<', '>', '|', '=')
    errors.check(good, _FIELD, 'an array type without its state', 'a byte order')
    self.value = self.value.newbyteorder(state[1])


_CODES = ('b1', *(f'{kind}{size}' for kind in 'iu' for size in (1, 2, 4, 8)), 'f2', 'f4', 'f8')


def load(data: bytes) -> object:
  """What a pickle of Python 3 holds: dicts by text, lists, tuples, plain values and `Array`s.

  Raises:
    InputError: if there is anything else in it, or it is damaged.
  """
  try:
    return _Machine(data).load()
  except errors.InputError:
    raise
  except Exception as error:  # A damaged program may fail in any way.
    reason = ascii(str(error))[:200]
    message = f'{_FIELD}: found it unreadable ({type(error).__name__}: {reason}), expected a pickle'
    raise errors.InputError(message) from error


def _build(raw, dtype, shape, order):
  errors.check(isinstance(dtype, DType), _FIELD, 'an array without a type', 'numbers')
  good = isinstance(raw, bytes)
  errors.check(good, _FIELD, f'an array of {type(raw).__name__}', 'an array of bytes')
  good = isinstance(shape, tuple) and len(shape) <= 32
  good = good and all(type(size) is int and 0 <= size < _LONGEST for size in shape)
  errors.check(good, _FIELD, 'an array without a possible shape', 'a tuple of sizes')
  wanted = math.prod(shape) * dtype.value.itemsize
  found = f'{len(raw)} bytes for an array of shape {shape}'
  errors.check(len(raw) == wanted, _FIELD, found, f'{wanted} bytes')
  return np.frombuffer(raw, dtype.value).reshape(shape, order=order)


def _array(*_):
  return Array()


def _array_of_buffer(raw, dtype, shape, order):
  array = Array()
  array.values = _build(raw, dtype, shape, 'F' if order == 'F' else 'C')
  return array


def _dtype(code, *_):
  return DType(code)


def _scalar(dtype, raw):
  array = Array()
  array.values = _build(raw, dtype, (), 'C')
  return array


def _encode(text, encoding):
  good = isinstance(text, str) and encoding == 'latin1'
  errors.check(good, _FIELD, 'an encoding of its own', 'latin1')
  return text.encode('latin1')


def _ordered():
  return {}


def _ndarray(*_):
  raise errors.InputError(
    f'{_FIELD}: found a call of numpy.ndarray, expected arrays as NumPy writes them'
  )


_NAMES: Mapping[tuple[str, str], Callable] = {
  ('numpy', 'ndarray'): _ndarray,
  ('numpy', 'dtype'): _dtype,
  ('_codecs', 'encode'): _encode,
  ('collections', 'OrderedDict'): _ordered,
} | {
  (f'numpy.{core}.{module}', name): function
  for core in ('core', '_core')
  for module, name, function in (
    ('multiarray', '_reconstruct', _array),
    ('multiarray', 'scalar', _scalar),
    ('numeric', '_frombuffer', _array_of_buffer),
  )
}

_OPERATIONS = frozenset(
  """
  PROTO FRAME STOP MARK POP POP_MARK DUP MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET
  NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
  STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
  UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
  EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS
  EMPTY_DICT DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE BUILD
""".split()
)


class _Operations(dict):
  """Counts what it gives: a short file may make many empty lists."""

  def __init__(self, functions):
    super().__init__(functions)
    self._left = _MOST_OPERATIONS

  def __getitem__(self, code):
    self._left -= 1
    errors.check(self._left > 0, _FIELD, 'more values than arrays need', 'NumPy arrays')
    errors.check(code in self, _FIELD, f'operation {code}', 'arrays and plain values')
    return super().__getitem__(code)


def _reduce(machine):
  arguments = machine.stack.pop()
  function = machine.stack[-1]
  # By identity: comparing or hashing a value of the file may take for ever.
  good = any(function is known for known in _NAMES.values()) and isinstance(arguments, tuple)
  errors.check(good, _FIELD, f'a call of {type(function).__name__}', 'NumPy arrays')
  if function is _encode:
    # A text that is in the file once may be encoded many times.
    machine.to_encode -= len(arguments[0])
    errors.check(machine.to_encode >= 0, _FIELD, 'more bytes than it holds', 'NumPy arrays')
  machine.stack[-1] = function(*arguments)


def _set_state(machine):
  state = machine.stack.pop()
  item = machine.stack[-1]
  kind = type(item).__name__
  errors.check(isinstance(item, (Array, DType)), _FIELD, f'state for {kind}', 'NumPy arrays')
  item.set_state(state)


def _set_item(machine):
  value, key = machine.stack.pop(), machine.stack.pop()
  _update(machine.stack[-1], [key, value])


def _set_items(machine):
  items = machine.pop_mark()
  _update(machine.stack[-1], items)


def _make_dict(machine):
  items = machine.pop_mark()
  machine.append({})
  _update(machine.stack[-1], items)


def _update(target, items):
  good = type(target) is dict and len(items) % 2 == 0
  errors.check(good, _FIELD, f'entries for {type(target).__name__}', 'a dict')
  for key, value in zip(items[::2], items[1::2]):
    # Nothing else is hashed: a short file may hold a tuple whose hash takes for ever.
    errors.check(type(key) is str, _FIELD, f'a key of type {type(key).__name__}', 'text')
    target[key] = value


def _read_bytearray(machine):
  (size,) = struct.unpack('<Q', machine.read(8))
  # Read, not allocated: the size is only what the file claims.
  machine.append(machine.read(size))


_FUNCTIONS = {
  getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
  for name in _OPERATIONS
} | {
  pickle.REDUCE[0]: _reduce,
  pickle.BUILD[0]: _set_state,
  pickle.SETITEM[0]: _set_item,
  pickle.SETITEMS[0]: _set_items,
  pickle.DICT[0]: _make_dict,
  pickle.BYTEARRAY8[0]: _read_bytearray,
}


class _Machine(pickle._Unpickler):
  """The one in Python, whose memo is a dict: a huge index there is just a key."""

  def __init__(self, data):
    super().__init__(io.BytesIO(data))
    self.to_encode = len(data)
    self.dispatch = _Operations(_FUNCTIONS)  # pyrefly: ignore

  def find_class(self, module, name):
    if (module, name) not in _NAMES:
      found = ascii(f'{module[:100]}.{name[:100]}')
      raise errors.InputError(f'{_FIELD}: found {found}, expected only NumPy arrays of numbers')
    return _NAMES[module, name]
