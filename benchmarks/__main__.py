"""All tables of speed and memory, one after the other, and their pictures.

    python -m benchmarks                    about half an hour on a quiet machine
    python -m benchmarks scaling silicon    some of them
    python -m benchmarks --pictures         pictures of the results that are there

Each is a script of its own, ``benchmarks/bench_NAME.py``, which prints its tables and writes them to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = ("silicon", "predict", "scaling", "quip", "descriptors", "posterior", "drift")
"""What is run when none is named: speed and memory; benchmarks of accuracy and of active learning take longer."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCRIPTS)}; default: all")
    parser.add_argument("--pictures", action="store_true", help="make pictures only")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in SCRIPTS]
    if unknown:
        parser.error(f"NAME must be one of {', '.join(SCRIPTS)}; got {unknown[0]}")
    failed = []
    for name in () if options.pictures else options.names or SCRIPTS:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, str(HERE / f"bench_{name}.py")]).returncode:
            failed.append(name)
        print(flush=True)
    sys.path.insert(0, str(HERE))
    from pictures import draw

    for path in draw():
        print(path)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
