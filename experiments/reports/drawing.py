"""Drawings for a page that is read by day, by night and on paper: SVG in the text's own colour, PNG on white."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from experiments.audit_plots import BLUE, GREEN, ORANGE, RED, SKY
from experiments.reports.document import Chart

NARROW, WIDE = 4.6, 9.4
"""Width in inches of a drawing that has another one beside it, and of one that has not."""
COLORS = (BLUE, RED, GREEN, "#CC79A7", ORANGE, SKY)
"""Of lines and points, told apart by colour-blind readers too, and seen on white and on black (Wong 2011)."""
MARKERS = "osD^vPX*"
RESOLUTION = 130
"""Of a PNG, in dots per inch."""
LONGEST_NAME = 26
STYLE = {
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "black",
    "grid.alpha": 0.13,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
}
PAGE_COLORS = {"#000000": "currentColor", "#ffffff": "var(--paper)", BLUE.lower(): "var(--blue)"}
"""What colours become in a page, where they are others by night."""


@contextmanager
def report_style() -> Iterator[None]:
    """Draw in the manner of reports; letters that the font of a PNG lacks are no matter for a warning."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(height: float, width: float = NARROW) -> Figure:
    """Return an empty drawing of a size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def color_of(index: int) -> str:
    """Return the colour of the stage, or whatever there are several of, with this number."""
    return COLORS[index % len(COLORS)]


def marker_of(index: int) -> str:
    """Return the marker of the stage with this number."""
    return MARKERS[index % len(MARKERS)]


def printable(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a name as it is drawn: in one line, cut where it is too long."""
    line = " ".join(name.encode(errors="replace").decode().split()) or "–"
    line = line if len(line) <= longest else f"{line[: longest - 1]}…"
    line = line.replace("$", r"\$")  # what lies between two of them would be a formula
    return f"\u2009{line}" if line.startswith("_") else line  # matplotlib hides what begins with an underscore


def as_chart(name: str, figure: Figure, text: str, *, is_wide: bool = False) -> Chart:
    """Return a drawing as a chart: laid out once, and drawn once for the page and once on white.

    Args:
        name: of its file, without suffix.
        figure: in black, and in colours that are seen on white and on black.
        text: what it shows.
        is_wide: it needs the page's whole width.
    """
    return Chart(name, as_svg(figure), as_png(figure), text, is_wide)


def as_svg(figure: Figure) -> str:
    """Return a drawing as an SVG element for HTML, on nothing, in the colours of the page."""
    file = io.StringIO()
    figure.set_facecolor("none")
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    figure.set_layout_engine("none")  # the places are found, and finding them takes longer than drawing
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box is not None, "matplotlib writes a view box"
    body = svg[svg.index(">", svg.index("<svg")) + 1 :].replace("xlink:href", "href").strip()
    return f'<svg viewBox="{box[1]}" role="img">{in_colors(body)}'


def with_own_ids(svg: str, prefix: str) -> str:
    """Return SVG that shares no id with that of another prefix; ids to which nothing refers are left out."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", svg)


def in_colors(svg: str) -> str:
    """Return SVG in the colours of the page."""
    return re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda found: PAGE_COLORS.get(found[0], found[0]), svg)


def as_png(figure: Figure) -> bytes:
    """Return a drawing as the bytes of a PNG file, on white."""
    file = io.BytesIO()
    figure.set_facecolor("white")
    figure.set_dpi(RESOLUTION)
    FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return file.getvalue()
