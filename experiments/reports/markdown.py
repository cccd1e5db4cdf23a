"""Writes a report as Markdown with pictures beside it."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from PIL import Image

from experiments.reports.document import (
    Block,
    Bullets,
    Charts,
    Code,
    Gallery,
    Headline,
    Page,
    Paragraph,
    Picture,
    Section,
    Table,
)
from experiments.studies.reporting import markdown_table

DEEPEST = 6
"""Level of headings."""
SMALL = 96
"""Pixels to which smaller examples are enlarged."""


def as_markdown(page: Page, folder: str) -> tuple[str, dict[str, bytes]]:
    """Return the text, and by name the PNG files in ``folder`` to which it refers."""
    writer = MarkdownWriter(folder)
    head = [f"# {escape(page.title)}", escape(page.subtitle)]
    return "\n\n".join([*head, *writer.write_all(page.blocks, level=2)]) + "\n", writer.files


def escape(text: str) -> str:
    """Return text in one line of which no character is markup."""
    line = " ".join(text.encode(errors="replace").decode().split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", line)


class MarkdownWriter:
    """Writes blocks, and gathers their pictures, which are numbered.

    Attributes:
        files: the bytes of each PNG file by name.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self._writers: dict[type, Callable[[Any], str]] = {
            Paragraph: lambda paragraph: escape(paragraph.text),
            Bullets: lambda bullets: "\n".join(f"- {escape(item)}" for item in bullets.items),
            Headline: lambda headline: f"**{escape(headline.value)}** {escape(headline.text)}",
            Code: lambda code: "\n".join(f"    {line}" for line in code.text.splitlines()),
            Table: self._table,
            Charts: self._charts,
            Picture: lambda picture: self._image(picture.name, picture.png, picture.text),
            Gallery: self._gallery,
        }

    def write_all(self, blocks: Sequence[Block], level: int) -> Iterator[str]:
        """Yield paragraphs, headings of a level among them."""
        for block in blocks:
            if isinstance(block, Section):
                yield f"{'#' * min(level, DEEPEST)} {escape(block.title)}"
                yield from self.write_all(block.blocks, level + 1)
            else:
                yield self._writers[type(block)](block)

    def _table(self, table: Table) -> str:
        rows = [
            [f"**{escape(cell)}**" if index in table.strong else escape(cell) for cell in row]
            for index, row in enumerate(table.rows)
        ]
        text = markdown_table([escape(heading) for heading in table.headings], rows)
        return f"{escape(table.caption)}:\n\n{text}" if table.caption else text

    def _charts(self, charts: Charts) -> str:
        images = [self._image(chart.name, chart.png, chart.text) for chart in charts.items]
        return "\n\n".join([*images, *([escape(charts.caption)] if charts.caption else [])])

    def _gallery(self, gallery: Gallery) -> str:
        items = [(self._image(gallery.name, enlarged(png), ""), "; ".join(lines)) for png, lines in gallery.items]
        return markdown_table(["image", "what it is"], [[image, escape(text)] for image, text in items])

    def _image(self, name: str, png: bytes, text: str) -> str:
        file = f"{len(self.files) + 1:02d}_{name}.png"
        self.files[file] = png
        return f"![{escape(text)}]({self.folder}/{file})"


def enlarged(png: bytes) -> bytes:
    """Return a small image with each pixel as a square of pixels."""
    small = Image.open(io.BytesIO(png))
    factor = SMALL // max(small.size)
    if factor < 2:
        return png
    file = io.BytesIO()
    small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()
