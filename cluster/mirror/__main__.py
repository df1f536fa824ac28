"""`python -m cluster.mirror STORAGE`."""

import sys
from pathlib import Path

from cluster.mirror.process import mirror_until_done

if __name__ == "__main__":
    mirror_until_done(Path(sys.argv[1]), again=sys.argv[2:] == ["again"])
