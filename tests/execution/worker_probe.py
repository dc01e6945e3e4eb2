"""A command for a worker under test: it prints what the process that runs it is like."""

import json
import os
import sys

from robustfl import cli
from robustfl.execution import worker_client


def main(argv, should_stop=None):
    """Print this process's context and its descriptors; the words are its exit status."""
    descriptors = {name: os.readlink(f"/proc/self/fd/{name}") for name in "012"}
    print(json.dumps([worker_client.context(), descriptors]))
    return int(argv[0])


# `python worker_probe.py STATUS` asks the offered worker and says on stderr whether it did it
if __name__ == "__main__":
    worker_client.SERVER = worker_client.SERVER.replace("cli.main", "worker_probe.main").replace(
        "from robustfl import cli", "import worker_probe"
    )
    cli._open_standard_streams()
    status = worker_client.submit(sys.argv[1:])
    if status is None:
        status = main(sys.argv[1:])
        print("plain", file=sys.stderr)
    sys.exit(status)
