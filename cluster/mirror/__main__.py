"""`python -m cluster.mirror STORAGE [--again] [PLACE …]`; a place is a user's own study, `/path/to/mine.py:Mine`."""

import sys
from pathlib import Path

from cluster.mirror.process import mirror_until_done
from cluster.secrets import scrub_streams

if __name__ == "__main__":
    scrub_streams()
    storage, *words = sys.argv[1:]
    mirror_until_done(Path(storage), again="--again" in words, own=[word for word in words if word != "--again"])
