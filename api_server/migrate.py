"""The command `python -m api_server.migrate`."""

import sys

from api_server.migrations.migrate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
