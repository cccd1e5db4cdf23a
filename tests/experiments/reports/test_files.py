"""The files of a report: whole in themselves, escaped, and the same each time."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from experiments.command_line import carry_out, main
from experiments.reports.command import write_report
from experiments.reports.drawing import printable
from experiments.reports.html import escape as escape_html
from experiments.reports.markdown import enlarged
from experiments.reports.markdown import escape as escape_markdown
from experiments.reports.settings import ReportCommand
from tests.experiments.reports.runs import png, write_comparison, write_self_training

VOID = {"meta", "img", "br", "hr"}


class Structure(HTMLParser):
    """Notes the ids of a page, what refers to them or to elsewhere, and whether its elements are closed."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.loaded, self.tags = [], [], [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name in ("src", "href") and not value.startswith("#"):
                self.loaded.append(value)
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")
            self.references += [value[1:]] if name == "href" and value.startswith("#") else []

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the directory of a report on a self-training run."""
    directory = write_self_training(tmp_path_factory.mktemp("runs") / "<b>loop|$")
    assert write_report([directory], directory) == directory / "report.html"
    return directory


@pytest.fixture(scope="module")
def page(report):
    return (report / "report.html").read_text()


def test_the_page_loads_nothing_and_runs_no_script(page):
    structure = Structure()
    structure.feed(page)
    assert structure.open == []
    assert not structure.tags & {"script", "link", "iframe", "object"}
    assert all(value.startswith("data:image/png;base64,") for value in structure.loaded)
    assert len(structure.loaded) >= 3  # the examples and the confusion matrix
    for trace in ("http", "@import", "url(//", "javascript", "onclick"):
        assert trace not in page


def test_no_two_drawings_share_an_id(page):
    structure = Structure()
    structure.feed(page)
    assert len(set(structure.ids)) == len(structure.ids) > 0
    assert set(structure.references) == set(structure.ids)


def test_drawings_have_the_texts_colour_and_say_what_they_show(page):
    drawings = re.findall(r"<svg[^>]*>.*?</svg>", page, flags=re.DOTALL)
    assert len(drawings) == 10
    for svg in drawings:
        assert "currentColor" in svg
        assert "#000000" not in svg
        assert "#ffffff" not in svg
        assert re.match(r'<svg aria-label="[^"]{20,}" viewBox="[\d. ]+" role="img">', svg)


def test_the_page_is_for_night_and_for_paper(page):
    assert "@media screen and (prefers-color-scheme: dark)" in page
    assert "@media print" in page
    assert "details-content" in page


def test_names_are_text_everywhere(report, page):
    assert "<b>" not in page
    assert "<title>&lt;b&gt;loop|$</title>" in page
    assert ">&lt;b&gt;|x<" in page  # in a table
    assert "$cat$ $dog$<" in page
    markdown = (report / "report.md").read_text()
    assert markdown.startswith(r"# &lt;b&gt;loop\|\$")
    assert not any("<b>" in line for line in markdown.splitlines() if not line.startswith("    "))
    assert r"&lt;b&gt;\|x" in markdown


def test_rows_of_markdown_have_as_many_cells_as_their_heading(report):
    lines = (report / "report.md").read_text().splitlines()
    widths = [len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0 for line in lines]
    for before, after in pairwise(widths):
        assert 0 in (before, after) or before == after
    assert max(widths) > 8


def test_markdown_shows_every_picture_that_is_written(report):
    shown = re.findall(r"!\[[^\n]*?\]\(report_files/([\w.]+)\)", (report / "report.md").read_text())
    written = {path.name: path.read_bytes() for path in (report / "report_files").iterdir()}
    assert sorted(shown) == sorted(written)
    assert all(content.startswith(b"\x89PNG") for content in written.values())


def test_the_same_run_gives_the_same_bytes(tmp_path):
    directory = write_comparison(tmp_path / "run")
    contents = []
    for output in (tmp_path / "first", tmp_path / "second"):
        write_report([directory], output)
        files = sorted(path for path in output.rglob("*") if path.is_file())
        contents.append([(path.name, path.read_bytes()) for path in files])
    assert len(contents[0]) == 3
    assert contents[0] == contents[1]


@pytest.mark.parametrize("text", ["<b>|x", "a & b", 'say "x"', "\udcff", "`code` *bold* [link](x) # _u_ $m$"])
def test_text_is_escaped(text):
    shown = escape_html(text)
    assert not set('<>"') & set(shown)
    assert shown.encode()
    marks = re.sub(r"\\.|&\w+;", "", escape_markdown(text))
    assert not set("<>|*_`[]#$") & set(marks)


def test_small_examples_are_enlarged_by_whole_factors():
    assert enlarged(png(8)) != png(8)
    assert int.from_bytes(enlarged(png(8))[16:20]) == 96
    assert enlarged(png(64)) == png(64)


def test_names_are_drawn_in_one_line_and_cut():
    assert printable("a\nb" + 40 * "c", longest=6) == "a bcc…"
    assert printable("$x$") == r"\$x\$"
    assert not printable("_hidden").startswith("_")
    assert printable("") == "–"


def test_the_command_writes_into_the_runs_directory(tmp_path, capsys):
    directory = write_comparison(tmp_path / "run")
    assert carry_out("report", ReportCommand(runs=str(directory)), debug=True) == 0
    assert capsys.readouterr().out == f"report: {directory / 'report.html'}\n"
    assert (directory / "report.md").is_file()


def test_several_runs_need_a_place_for_their_report(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["report", "--runs", "a,b"])
    assert "output: got None, expected a directory" in capsys.readouterr().err
    with pytest.raises(ValueError, match="runs: got 'a,,b', expected one or more directories"):
        ReportCommand(runs="a,,b", output="x")


def test_a_directory_without_a_run_is_bad_input(tmp_path, capsys):
    assert carry_out("report", ReportCommand(runs=[str(tmp_path)]), debug=False) == 2
    assert f"runs: got {tmp_path}, expected" in capsys.readouterr().err


def test_a_report_on_several_runs_folds_each(tmp_path):
    runs = [write_comparison(tmp_path / name) for name in ("a", "b")]
    page = write_report(runs, tmp_path / "all").read_text()
    assert page.count("<details>") == 2
    assert "<summary>b: Comparison of settings over 3 seeds</summary>" in page
