"""Writes a report as one HTML file that loads nothing and runs no script."""

import base64
import html
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from experiments.reports.document import (
    Block,
    Bullets,
    Chart,
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
from experiments.reports.drawing import with_own_ids
from experiments.reports.style import STYLESHEET

SMALL = 128
"""Pixels below which an image is enlarged, and shows its pixels."""
DEEPEST = 4
"""Level of headings."""


def as_html(page: Page) -> str:
    """Return the text of the file."""
    body = HtmlWriter().write_all(page.blocks, level=2)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}</title>\n<style>{STYLESHEET}</style>\n</head>\n<body>\n"
        f'<h1>{escape(page.title)}</h1>\n<p class="subtitle">{escape(page.subtitle)}</p>\n{body}\n</body>\n</html>\n'
    )


def escape(text: str) -> str:
    """Return text of which no character is markup; half a character of a file's name becomes a question mark."""
    return html.escape(text.encode(errors="replace").decode())


class HtmlWriter:
    """Writes blocks; drawings are numbered, so that no two share an id."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._writers: dict[type, Callable[[Any], str]] = {
            Paragraph: self._paragraph,
            Bullets: self._bullets,
            Headline: self._headline,
            Table: self._table,
            Charts: self._charts,
            Picture: self._picture,
            Gallery: self._gallery,
            Code: self._code,
        }

    def write_all(self, blocks: Sequence[Block], level: int) -> str:
        """Return blocks one below the other, their headings of a level."""
        return "\n".join(
            self._section(block, level) if isinstance(block, Section) else self._writers[type(block)](block)
            for block in blocks
        )

    def _section(self, section: Section, level: int) -> str:
        title, inside = escape(section.title), self.write_all(section.blocks, level + 1)
        if section.is_folded:
            return f"<details>\n<summary>{title}</summary>\n{inside}\n</details>"
        heading = f"h{min(level, DEEPEST)}"
        return f"<section>\n<{heading}>{title}</{heading}>\n{inside}\n</section>"

    def _paragraph(self, paragraph: Paragraph) -> str:
        kind = ' class="note"' if paragraph.is_note else ""
        return f"<p{kind}>{escape(paragraph.text)}</p>"

    def _bullets(self, bullets: Bullets) -> str:
        return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in bullets.items) + "</ul>"

    def _headline(self, headline: Headline) -> str:
        return f'<p class="headline"><strong>{escape(headline.value)}</strong> {escape(headline.text)}</p>'

    def _table(self, table: Table) -> str:
        caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
        head = cells("th", table.headings, table.num_text_columns)
        kinds = [' class="strong"' if index in table.strong else "" for index in range(len(table.rows))]
        rows = [cells("td", row, table.num_text_columns) for row in table.rows]
        body = "\n".join(f"<tr{kind}>{row}</tr>" for kind, row in zip(kinds, rows, strict=True))
        return (
            f'<div class="scroll" tabindex="0"><table>{caption}<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody></table></div>"
        )

    def _charts(self, charts: Charts) -> str:
        caption = f'<p class="note">{escape(charts.caption)}</p>' if charts.caption else ""
        return f'<div class="charts">{"".join(map(self._chart, charts.items))}</div>{caption}'

    def _chart(self, chart: Chart) -> str:
        kind = ' class="wide"' if chart.is_wide else ""
        svg = with_own_ids(chart.svg, f"c{next(self._numbers)}-")
        svg = svg.replace("<svg", f'<svg aria-label="{escape(chart.text)}"', 1)
        return f"<figure{kind}>{svg}</figure>\n"

    def _picture(self, picture: Picture) -> str:
        return f"<figure>{image(picture.png, picture.text)}<figcaption>{escape(picture.text)}</figcaption></figure>"

    def _gallery(self, gallery: Gallery) -> str:
        figures = []
        for png, lines in gallery.items:
            below = "".join(f"<span>{escape(line)}</span>" for line in lines)
            figures.append(f"<figure>{image(png, '; '.join(lines))}<figcaption>{below}</figcaption></figure>")
        return f'<div class="gallery">{"".join(figures)}</div>'

    def _code(self, code: Code) -> str:
        return f"<pre><code>{escape(code.text)}</code></pre>"


def cells(tag: str, texts: Sequence[str], num_text_columns: int) -> str:
    """Return the cells of a row."""
    kinds = ["" if column < num_text_columns else ' class="number"' for column in range(len(texts))]
    return "".join(f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True))


def image(png: bytes, text: str) -> str:
    """Return an image that lies in the page itself."""
    kind = ' class="pixelated"' if int.from_bytes(png[16:20]) < SMALL else ""  # a PNG's width is there
    return f'<img{kind} src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="{escape(text)}">'
