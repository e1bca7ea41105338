"""The page itself: its parts in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from alignkit.inspector.audit import Lexicon, audit_section
from alignkit.inspector.colours import style
from alignkit.inspector.corpus import corpus_section
from alignkit.inspector.curves import curves
from alignkit.inspector.numbers import payload
from alignkit.inspector.pairs import cards_section
from alignkit.inspector.subject import Subject, subject_of
from alignkit.page import Element, document, element, table, write

REPORT = "report.html"
"""In a run folder."""


def write_report(folder: Path, target: Path, lexicon: Lexicon | None = None, rows: int | None = None) -> None:
    """Writes the page of a run folder.

    Args:
        folder: of the run; nothing but `target` is written.
        target: the page's file.
        lexicon: terms of the safety audit; None takes alignkit's own.
        rows: most cards; None for all that were recorded.

    Raises:
        RunFolderError: it is no run folder, a record in it is damaged, or the page cannot be written.
    """
    write(target, inspection_page(subject_of(folder, rows), lexicon or Lexicon.read(None)))


def inspection_page(subject: Subject, lexicon: Lexicon) -> str:
    """The whole page as HTML.

    Args:
        subject: what it is about.
        lexicon: terms of the safety audit.
    """
    sections = [(name, title, body) for name, title, body in _sections(subject, lexicon) if body]
    links = [element("a", title, href=f"#{name}") for name, title, _ in sections]
    body = [
        *_head(subject),
        element("nav", *links, aria_label="parts of the page"),
        *(element("section", element("h2", title), *parts, id=name) for name, title, parts in sections),
    ]
    own = files(__package__)
    return document(
        f"{subject.title} \u00b7 alignkit",
        body,
        data=payload(subject.cards) if subject.cards else {},
        script=own.joinpath("inspector.js").read_text(encoding="utf-8") if subject.cards else "",
        style=own.joinpath("inspector.css").read_text(encoding="utf-8") + style(),
    )


def _head(subject: Subject) -> Iterator[Element]:
    yield element("h1", subject.title)
    if subject.verdict:
        yield element("p", subject.verdict, class_="verdict")
    for note in subject.notes:
        yield element("p", note, class_="note")
    facts = [part for name, value in subject.facts for part in (element("dt", name), element("dd", value))]
    yield element("dl", *facts, class_="facts")


def _sections(subject: Subject, lexicon: Lexicon) -> Iterator[tuple[str, str, Sequence[Element]]]:
    yield "results", "Results", [*_results(subject)]
    yield "weights", "Token weights", corpus_section(subject.cards) if subject.cards else []
    yield "safety", "Safety audit", audit_section(subject.cards, lexicon) if subject.cards else []
    missing = "No tokens were recorded; alignkit inspect RUN --rows 40 computes them from the run's model."
    yield "tokens", "Token by token", cards_section(subject.cards) if subject.cards else [element("p", missing)]
    yield (
        "recipe",
        "Recipe",
        [element("details", element("summary", "resolved, every default filled in"), element("pre", subject.recipe))],
    )


def _results(subject: Subject) -> Iterator[Element]:
    if subject.results:
        head = ["measure", "before", "after", "change"]
        rows = [[cell.replace("+-", "\u00b1 ") for cell in row] for row in subject.results]
        yield table(head, rows, "Held-out data; \u00b1 is one standard error, that of a change is paired by row")
    if subject.remarks:
        yield element("ul", *(element("li", remark) for remark in subject.remarks))
    charts = list(curves(subject.log))
    if charts:
        yield element("div", *charts, class_="charts")
