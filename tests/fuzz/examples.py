"""How many examples each target gets: few by default, thousands of a file in the nightly profile.

The targets of a file share its examples: a file of many has tens for each, one of few has hundreds.
"""

import math
import os

from hypothesis import settings

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
OF_A_FILE = 6000  # in the nightly profile, at least, of each file with targets
BY_DEFAULT = 5  # of a target; the seeds are fixed


def share(targets: int) -> settings:
    """Settings of one of so many targets of a file."""
    return settings(max_examples=math.ceil(OF_A_FILE / targets) if NIGHTLY else BY_DEFAULT)
