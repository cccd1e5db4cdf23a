"""Reports on finished runs."""

from collections.abc import Sequence
from pathlib import Path

from experiments.files import as_path, write_atomically
from experiments.reports.settings import ReportCommand


def run(command: ReportCommand) -> None:
    """Write the report, and say where it is."""
    directories = [Path(name).expanduser() for name in command.runs]
    print(f"report: {write_report(directories, as_path(command.output) or directories[0])}", flush=True)


def write_report(directories: Sequence[Path], output: Path) -> Path:
    """Write ``report.html``, ``report.md`` and the latter's ``report_files/``; return the first one's path.

    What a run has not kept is left out, with a line that says so. The same files give the same bytes.

    Args:
        directories: one or more, of finished runs or of comparisons.
        output: where the report goes; it is made where there is none.

    Raises:
        ValueError: a directory holds neither results nor a comparison.
    """
    from experiments.reports.drawing import report_style  # matplotlib, which draws, takes its time to import
    from experiments.reports.html import as_html
    from experiments.reports.markdown import as_markdown
    from experiments.reports.page import compose
    from experiments.reports.reading import read_source

    sources = [read_source(directory) for directory in directories]
    pictures = output / "report_files"
    pictures.mkdir(parents=True, exist_ok=True)
    with report_style():
        page = compose(sources)
        text, files = as_markdown(page, pictures.name)
        page_text = as_html(page)
    for name, content in files.items():
        (pictures / name).write_bytes(content)
    write_atomically(output / "report.md", text)
    write_atomically(output / "report.html", page_text)
    return output / "report.html"
