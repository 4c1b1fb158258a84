"""``python -m protscribe`` is the command ``protscribe``: for launchers that start a module, such as torchrun."""

import sys

from protscribe.cli import main

if __name__ == "__main__":
    sys.exit(main())
