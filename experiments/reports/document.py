"""What a report consists of, however it is written down."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Paragraph:
    """Sentences; a note says what is missing or how a figure is read."""

    text: str
    is_note: bool = False


@dataclass(frozen=True)
class Bullets:
    """Sentences one below the other."""

    items: Sequence[str]


@dataclass(frozen=True)
class Headline:
    """The figure that is read first, and what it is."""

    value: str
    text: str


@dataclass(frozen=True)
class Table:
    """Rows of text; the first ``num_text_columns`` are words, the others numbers.

    Attributes:
        headings: ``C`` of them.
        rows: ``C`` cells each.
        num_text_columns: aligned at the left.
        strong: rows that stand out.
        caption: how it is read.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_text_columns: int = 1
    strong: frozenset[int] = frozenset()
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing.

    Attributes:
        name: of its file, without suffix.
        svg: an element for HTML, in the colours of the page.
        png: the bytes of a PNG file.
        text: what it shows, for those who do not see it.
        is_wide: it needs the page's whole width.
    """

    name: str
    svg: str
    png: bytes
    text: str
    is_wide: bool = False


@dataclass(frozen=True)
class Charts:
    """Drawings side by side where there is room."""

    items: Sequence[Chart]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """The bytes of a PNG file that is shown as wide as the page.

    Attributes:
        name: of its file, without suffix.
        png: the bytes.
        text: what it shows.
    """

    name: str
    png: bytes
    text: str


@dataclass(frozen=True)
class Gallery:
    """Small images, enlarged, each the bytes of a PNG file with lines below it."""

    name: str
    items: Sequence[tuple[bytes, Sequence[str]]]


@dataclass(frozen=True)
class Code:
    """Text that is typed or read by machines."""

    text: str


@dataclass(frozen=True)
class Section:
    """Blocks below a heading; a folded one is opened by the reader."""

    title: str
    blocks: Sequence["Block"]
    is_folded: bool = False


Block: TypeAlias = Paragraph | Bullets | Headline | Table | Charts | Picture | Gallery | Code | Section


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    blocks: Sequence[Block] = field(default_factory=list)
