"""The executable `forerun`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    try:
        from forerun.cli.app import app
    except ModuleNotFoundError as error:
        # A robot has only what the controller needs.
        if error.name not in ("typer", "rich", "pydantic", "yaml"):
            raise
        sys.exit(f"forerun: the command line needs the package '{error.name}': pip install 'forerun[train,sim]'")
    app(prog_name="forerun")


if __name__ == "__main__":
    main()
