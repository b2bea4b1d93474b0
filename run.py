"""Train binary neural networks: `python run.py --help`. The same as `bnnrepro run`.

python run.py method=bayesbinn dataset=mnist
python run.py -m method=bayesbinn,ste 'seed=range(5)' dataset=mnist
"""

import sys

from bnnrepro import screen
from bnnrepro.cli.run import main

if __name__ == "__main__":
    screen.guard()
    sys.exit(main())
