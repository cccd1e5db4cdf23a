"""What a user may set about reports, as the command line and YAML files have it. No torch here."""

from dataclasses import dataclass

from lightning_modules.settings import require


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Report on finished runs: report.html, one file that needs no other, and report.md with its pictures.

    Args:
        runs: directories of finished runs, or of comparisons: ``DIR,...`` or a list.
        output: directory of the report; null takes the run's own, where there is one.
    """

    runs: list[str] | str
    output: str | None = None

    def __post_init__(self) -> None:
        given = self.runs
        runs = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
        require(
            bool(runs) and all(runs), "runs", given, "one or more directories, such as runs/distill,runs/self-train"
        )
        require(
            len(runs) == 1 or self.output is not None,
            "output",
            self.output,
            "a directory, where there are several runs; give --output",
        )
        object.__setattr__(self, "runs", runs)
