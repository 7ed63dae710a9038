"""Run every benchmark of this folder, or those of one name.

    python benchmarks/run.py [NAME]

NAME is one of a file's ``BENCHMARKS``, which goes to that file as its argument, or the name of a file without ``.py``.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

HELPERS = ("run", "measure", "peers", "fleet_data", "night_data", "night_engines", "night_store")


def names(file: Path) -> tuple[str, ...]:
    """Return the BENCHMARKS that a file declares at its top, without running it."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "BENCHMARKS":
            return ast.literal_eval(node.value)
    return ()


def main(arguments: list[str]) -> int:
    """Run the files in the order of their names; the last line of a file that fails is its own."""
    files = [file for file in sorted(Path(__file__).parent.glob("*.py")) if file.stem not in HELPERS]
    commands = [[file] for file in files]
    if arguments:
        name = arguments[0]
        commands = [[file] for file in files if file.stem == name]
        commands += [[file, name] for file in files if name in names(file)]
    if not commands:
        known = [*(file.stem for file in files), *(name for file in files for name in names(file))]
        print(f"NAME is {name!r}; it must be one of {', '.join(known)}.", file=sys.stderr)
        return 2
    for command in commands:
        print(f"== {' '.join([command[0].name, *command[1:]])}", file=sys.stderr, flush=True)
        status = subprocess.run([sys.executable, *map(str, command)], check=False).returncode  # noqa: S603
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
