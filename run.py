"""Train binary neural networks: `python run.py --help`.

python run.py method=bayesbinn dataset=mnist
python run.py -m method=bayesbinn,ste 'seed=range(5)' dataset=mnist
"""

import sys

from bnnrepro import screen
from bnnrepro.cli import main

if __name__ == "__main__":
    screen.guard()
    sys.exit(main())
