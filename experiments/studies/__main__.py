"""``python -m experiments.studies STUDY``: many runs, one table."""

import sys

from experiments.command_line import Program, main
from experiments.studies.settings import InterruptionsStudy, NetworksStudy, TransferStudy

STUDIES = Program(
    "python -m experiments.studies",
    {
        "networks": (NetworksStudy, "experiments.studies.networks"),
        "interruptions": (InterruptionsStudy, "experiments.studies.interruptions"),
        "transfer": (TransferStudy, "experiments.studies.transfer"),
    },
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], STUDIES))
