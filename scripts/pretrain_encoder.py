"""Pretrain the embedded encoder on unlabelled sequences: ``python scripts/pretrain_encoder.py masking.kind=single``.

The same as ``protscribe pretrain``, with the same overrides; ``--help`` lists them. Needs ``PROTSCRIBE_DATA`` and, to take the
relatives of test proteins out of the corpus, the extra ``homology``.
"""

import sys

from protscribe.cli import main

if __name__ == "__main__":
    sys.exit(main(["pretrain", *sys.argv[1:]]))
