"""Figures to pictures: PNG by matplotlib, and one HTML page that has them all and needs nothing else."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure as Canvas

from shoal_bench.figures import Figure

_INCHES: Final = (8.0, 4.5)
_DPI: Final = 110
_MOST_NAMED: Final = 12  # a legend with more hides the curves

_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Shoal benchmarks</title>
<style>body{{font:15px system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}img{{max-width:100%}}
table{{border-collapse:collapse}}td,th{{border:1px solid #ccc;padding:.2em .6em;text-align:left}}</style>
<h1>Shoal benchmarks</h1>
{table}
{images}
</html>
"""


def draw(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    canvas = Canvas(figsize=_INCHES, dpi=_DPI, layout="constrained")
    axes = canvas.add_subplot()
    width = 0.8 / max(len(figure.lines), 1)
    for index, line in enumerate(figure.lines):
        if figure.bars:
            places = [x + (index - (len(figure.lines) - 1) / 2) * width for x in line.x]
            axes.bar(places, line.y, width, label=line.name)
        else:
            axes.plot(line.x, line.y, marker="o", markersize=3, label=line.name)
    axes.set(title=figure.title, xlabel=figure.x_label, ylabel=figure.y_label)
    if figure.log_x:
        axes.set_xscale("log")
    if figure.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    if len(figure.lines) <= _MOST_NAMED:
        axes.legend(fontsize="small")
    picture = io.BytesIO()
    canvas.savefig(picture, format="png")
    return picture.getvalue()


def page(pictures: Mapping[str, bytes], records: Mapping[str, Mapping[str, Any]]) -> str:
    """Return an HTML page with the pictures in it and where each record comes from."""
    images = "\n".join(
        f'<p><img alt="{html.escape(title)}" src="data:image/png;base64,{base64.b64encode(picture).decode()}"></p>'
        for title, picture in pictures.items()
    )
    return _PAGE.format(table=_table(records), images=images)


def write_all(figures: Sequence[Figure], records: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write each figure as PNG and the page of all; return the files.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {figure.title: draw(figure) for figure in figures}
    written = []
    for title, picture in pictures.items():
        name = "_".join(title.partition(",")[0].lower().split())
        written.append(folder / f"{name}.png")
        written[-1].write_bytes(picture)
    written.append(folder / "index.html")
    written[-1].write_text(page(pictures, records), encoding="utf-8")
    return written


def _table(records: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, record in records.items():
        about = record.get("machine", {})
        cells = (
            name,
            record["kind"],
            about.get("at"),
            str(about.get("commit"))[:12],
            about.get("cpu"),
            about.get("cpus"),
            about.get("load_average"),
        )
        rows.append("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("record", "of", "at", "commit", "cpu", "cpus", "load before"))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
