"""One self-contained HTML page: no network, no script, readable on a phone, in print, in the dark.

What a page says is a list of sections of blocks, which `page.html` turns into markup, and
`markdown` into text for a terminal. Blocks are made by the functions here, so that none can come
without what a screen reader needs.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from keras_lodin.utils.foreign_text import shown

Block = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A heading and what is under it.

    Attributes:
        title: of the section.
        blocks: made by the functions of this module.
    """

    title: str
    blocks: list[Block]


def page(title: str, summary: str, sections: Sequence[Section]) -> str:
    """The page as HTML.

    Args:
        title: of the page.
        summary: a sentence or two under it.
        sections: in order; those without a block are left out.
    """
    return _renderer()(
        title=title, summary=summary, sections=[section for section in sections if section.blocks]
    )


def markdown(title: str, summary: str, sections: Sequence[Section]) -> str:
    """The same in Markdown, for a terminal: its words and tables, without the images."""
    parts = [f"# {_plain(title)}", _plain(summary)]
    for section in sections:
        if section.blocks:
            parts.append(f"## {_plain(section.title)}")
            parts += [_as_markdown(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _as_markdown(block: Block) -> str:
    if block["kind"] == "table":
        names = [_plain(name) for name in block["header"]]
        rows = [names, ["---"] * len(names)]
        rows += [[_plain(cell) for cell in row["cells"]] for row in block["rows"]]
        lines = [f"| {' | '.join(cells)} |" for cells in rows]
        return "\n".join([_plain(block["caption"]), "", *lines])
    if block["kind"] == "verdict":
        return f"**{_plain(block['text'])}**"
    if block["kind"] == "code":
        # A fence longer than any in the text cannot be ended by it.
        ticks = max((len(run) for run in re.findall("`+", block["text"])), default=0)
        fence = "`" * max(3, ticks + 1)
        words = shown(block["text"], keep="\n")
        return f"{fence}sh\n{words}\n{fence}"
    if block["kind"] == "definitions":
        return "\n".join(
            f"* {_plain(name)}: {_plain(meaning)}" for name, meaning in block["meanings"]
        )
    return _plain(str(block.get("text", "")))


def _plain(words: str) -> str:
    """Words that Markdown takes for words: an underscore within one needs no escape."""
    return re.sub(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", shown(words))


def text(words: str) -> Block:
    """A paragraph."""
    return {"kind": "text", "text": words}


def verdict(words: str) -> Block:
    """The sentence that the page was made for."""
    return {"kind": "verdict", "text": words}


def code(words: str) -> Block:
    """A command."""
    return {"kind": "code", "text": words}


def made_with(words: str, command: str | None) -> list[Block]:
    """How a page was made: words, and the command line if there was one."""
    return [text(words), *([] if command is None else [code(command)])]


def versions_text(versions: Mapping[str, str | None]) -> str:
    """The versions of packages as a sentence."""
    return f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}."


def definitions(meanings: Mapping[str, str]) -> Block:
    """Names and what they mean."""
    return {"kind": "definitions", "meanings": list(meanings.items())}


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    best: Iterable[tuple[int, int]] = (),
) -> Block:
    """A table whose first column names its rows.

    Args:
        caption: what it shows, for eyes and screen readers alike.
        header: names of the columns.
        rows: cells of each row.
        best: (row, column) of the cells to mark.
    """
    marked = set(best)
    return {
        "kind": "table",
        "caption": caption,
        "header": list(header),
        "rows": [
            {"cells": list(cells), "best": {column for row, column in marked if row == number}}
            for number, cells in enumerate(rows)
        ],
    }


# A plot's words are then a little smaller than those around it.
_DOTS_PER_INCH = 110


def figure(png: bytes, alt: str, caption: str) -> Block:
    """A plot.

    Args:
        png: the image, which says how many dots it has to the inch.
        alt: what it shows, in words and numbers.
        caption: what to look at.
    """
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        width, height = (
            round(_DOTS_PER_INCH * dots / to_the_inch)
            for dots, to_the_inch in zip(picture.size, picture.info["dpi"], strict=True)
        )
    return {
        "kind": "figure",
        "source": _data_url(png),
        "alt": alt,
        "caption": caption,
        "width": width,
        "height": height,
    }


def pictures(caption: str, items: Iterable[tuple[np.ndarray, str, str]]) -> Block:
    """Small images side by side.

    Args:
        caption: what they have in common.
        items: for each the uint8 pixels `(height, width, 1 or 3)`, the text that stands for it,
            and the label under it.
    """
    from PIL import Image

    shown = []
    for pixels, alt, label in items:
        content = io.BytesIO()
        small = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        small.thumbnail((128, 128))
        small.save(content, "PNG")
        shown.append({"source": _data_url(content.getvalue()), "alt": alt, "label": label})
    return {"kind": "pictures", "caption": caption, "pictures": shown}


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@cache
def _renderer() -> Callable[..., str]:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_lodin", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        # After the markup of names, what a browser would obey without any: marks that turn the
        # direction of writing, and what UTF-8 cannot hold.
        finalize=lambda value: shown(value, keep="\n") if isinstance(value, str) else value,
    )
    return environment.get_template("page.html").render
