"""Tell a seed's story: `PYTHONPATH=tests .venv/bin/python -m simulation 42`."""

import sys

from simulation.world import tell

print(tell(int(sys.argv[1])))
