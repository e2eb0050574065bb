"""Time of ``import cogment`` against ``import grpc.aio``, each in fresh interpreters, in turns."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

MODULES = ["grpc.aio", "cogment", "cogment_core.context", "cogment_controller"]
PROGRAM = "import time; begin = time.perf_counter(); import {module}; print(time.perf_counter() - begin)"


def import_seconds(module: str) -> float:
    """Seconds that a fresh interpreter takes to import ``module``."""
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    # Users' interpreters keep their bytecode; one that is told not to would compile everything at each import.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="imports of each module (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here, too")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {module: [] for module in MODULES}
    for turn in range(options.repeats + 1):
        for module in MODULES:
            measured = import_seconds(module)
            if turn:  # the first turn fills the caches of the file system
                seconds[module].append(measured)
    floor = seconds[MODULES[0]]
    figures: dict[str, dict[str, float]] = {}
    for module, taken in seconds.items():
        ratio = statistics.median(own / bare for own, bare in zip(taken, floor, strict=True))
        figures[module] = {"milliseconds": statistics.median(taken) * 1000, "ratio": ratio}
        print(f"import {module:<24} {figures[module]['milliseconds']:7.1f} ms   {ratio:.2f} x import grpc.aio")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
