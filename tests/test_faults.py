from tests import faults


def test_five_kills(capsys, monkeypatch):
  # These runs take their programs from a cache, and longer in the programs than in compiling.
  monkeypatch.delenv('JAX_DISABLE_MOST_OPTIMIZATIONS')
  assert faults.main(['--kills=5', '--seed=0']) == 0
  assert '5 kills, 5 resumed, 5 bit-identical' in capsys.readouterr().out
