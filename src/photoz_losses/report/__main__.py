"""The report from the command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from photoz_losses import metrics
from photoz_losses.io import load_predictions
from photoz_losses.report import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report of a file of predictions; 0, or 2 where the file or an option is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m photoz_losses.report",
        description="One page with all metrics and pictures of a file of predictions.",
    )
    parser.add_argument("predictions", type=Path, help="HDF5 or npz: probs, edges, z_spec")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--preset", choices=tuple(metrics.PRESETS), default="paper")
    parser.add_argument(
        "--magnitude", metavar="COLUMN", help="array of the file: metrics against it"
    )
    parser.add_argument("--n-boot", type=int, default=200, help="replicas for standard errors")
    options = parser.parse_args(arguments)
    try:
        found = load_predictions(options.predictions)
        if found.z_spec is None:
            raise ValueError(f"{options.predictions} lacks z_spec, the true redshifts")
        by = {}
        if options.magnitude is not None:
            if options.magnitude not in found.columns:
                has = ", ".join(found.columns) or "none"
                raise ValueError(
                    f"{options.predictions} lacks {options.magnitude}; its columns: {has}"
                )
            by = {options.magnitude: found.columns[options.magnitude]}
        try:
            write_report(
                found.probs, found.z_spec, found.bins, options.output,
                preset=options.preset, by=by, n_boot=options.n_boot,
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            raise type(error)(f"{options.predictions}: {error}") from None
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    print(options.output / "report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
