"""Train several configs, one after the other, in the processes of one launcher; for tests."""

import sys

from tunesmith.cli.train import main

if __name__ == "__main__":
    sys.exit(max(main([config]) for config in sys.argv[1:]))
