"""`python -m cluster.mirror STORAGE [--again] [--stay] [PLACE …]`; a place is a study of your own, `mine.py:Mine`."""

import sys
from pathlib import Path

from cluster.mirror.process import mirror_for_ever, mirror_until_done
from cluster.secrets import scrub_streams

if __name__ == "__main__":
    scrub_streams()
    storage, *words = sys.argv[1:]
    own = [word for word in words if not word.startswith("--")]
    if "--stay" in words:
        mirror_for_ever(Path(storage), again="--again" in words, own=own)
    else:
        mirror_until_done(Path(storage), again="--again" in words, own=own)
