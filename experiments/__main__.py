"""The command line: ``python -m experiments COMMAND [--config FILE.yaml] [--group.option VALUE ...]``."""

import sys

from experiments.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
