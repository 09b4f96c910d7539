"""The reference run, whole or by parts: `python results/reference.py [losses growth widths where seeds]` runs the commands that the pages name, one after another, as a shell would.

What is trained or measured already is not done again, so that a run that was broken off goes on where it stood. The seconds of each command, of what was left of it to do, go to out/reference/times.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import claims

REPOSITORY = Path(__file__).parents[1]
TIMES = REPOSITORY / "out/reference/times.csv"
ENVIRONMENT = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
"""`python` and `hedgebench` are those of this interpreter."""
COLUMNS = ("command", "seconds", "returned", "cores", "machine", "started_at")


def named(part: claims.Part) -> str:
    """What a part is called here: after its folder, or after its page where the folder has two."""
    return part.folder if part.page == "page" else part.page


def commands(part: claims.Part) -> list[str]:
    """The commands of a part's page, in its order."""
    lines = claims.module(part).HEAD.splitlines()
    return [line.split(" # ")[0].strip() for line in lines if line.startswith("    ")]


def run(command: str, servers: list[subprocess.Popen[bytes]]) -> None:
    """One command from the repository's root; one that ends in & is a server, and goes on beside the others.

    Raises:
        SystemExit: The command failed; its own words are on stderr.
    """
    if command.endswith("&"):
        servers.append(
            subprocess.Popen(["bash", "-c", f"exec {command.removesuffix('&')}"], cwd=REPOSITORY, env=ENVIRONMENT)
        )
        return
    started = time.time()
    done = subprocess.run(["bash", "-e", "-c", command], cwd=REPOSITORY, env=ENVIRONMENT, check=False)
    TIMES.parent.mkdir(parents=True, exist_ok=True)
    is_new = not TIMES.exists()
    with TIMES.open("a", newline="") as file:
        table = csv.writer(file)
        if is_new:
            table.writerow(COLUMNS)
        seconds = round(time.time() - started, 1)
        table.writerow([command, seconds, done.returncode, os.cpu_count(), platform.machine(), int(started)])
    if done.returncode:
        sys.exit(
            f"{command}: ended with {done.returncode}; what was done stays, and the same command goes on from there"
        )


def main() -> None:
    """The parts that are named, or all."""
    parts = {named(part): part for part in claims.PARTS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one or more of {', '.join(parts)} (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="say the commands, and run none")
    args = parser.parse_args()
    if unknown := [name for name in args.parts if name not in parts]:
        parser.error(f"no part is called {unknown[0]!r}; there are {', '.join(parts)}")
    lines = dict.fromkeys(line for name in args.parts or parts for line in commands(parts[name]))
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for line in [*lines, "python results/claims.py"]:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            if not args.dry_run:
                run(line, servers)
    finally:
        for server in servers:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
