"""`python -m edge_agent`: first of all a stop in the first moments, then the command."""

import os
import signal
import sys

if __name__ == "__main__":
    if not sys.argv[1:]:
        # Until the agent waits for these signals it has nothing to finish. The imports alone take
        # a good part of a second on a Raspberry Pi, and an exception may end badly within them.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(0))

    from edge_agent.commands import main

    sys.exit(main())
