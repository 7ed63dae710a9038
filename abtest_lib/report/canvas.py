"""What charts are drawn with: text, rectangles and a PNG of them, by the font beside this file and no other.

All lengths are CSS pixels; a picture has two of its own for each. Text is 13 high where the picture is 400 wide, so it
is above 11 where a phone shows the picture 343 wide.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path

import resvg_py
from PIL import Image, ImageFont

WIDTH = 400
ZOOM = 2
SIZE = 13
LINE = 17
INK, MUTE, RULE, BAND, EDGE = "#1c2230", "#566070", "#d5dae2", "#e9edf3", "#7a8699"
TEXTS = {"good": "#0b6136", "bad": "#9c1420", "wait": "#28456f", "warn": "#6f4400", "flat": "#414b5a"}
FILLS = {"good": "#1f8a4c", "bad": "#c4313b", "wait": "#5b6b82", "warn": "#5b6b82", "flat": "#5b6b82"}

# Four bits for a pixel: the colours above, and some between them and white for the edges of letters.
_BETWEEN = ("#ffffff", "#a7aeb9", "#85b09b", "#ce8a90")
_PALETTE = tuple(dict.fromkeys((INK, MUTE, RULE, BAND, EDGE, *_BETWEEN, *FILLS.values(),
                                *(TEXTS[tone] for tone in ("good", "bad", "warn", "flat")))))  # fmt: skip
_FONTS = Path(__file__).with_name("fonts")
_FILES = {"normal": _FONTS / "DejaVuSans.ttf", "bold": _FONTS / "DejaVuSans-Bold.ttf"}
_ISOLATES = "\u2066\u2067\u2068\u2069"
_SMALLEST = 11.8


def png(parts: Sequence[str], height: int) -> bytes:
    """Draw parts of SVG on a white card.

    Parameters
    ----------
    parts : sequence of str
        Of the functions of this module.
    height : int
        Of the card; its width is ``WIDTH``.

    Returns
    -------
    bytes
        Without a transparent pixel; the same bytes for the same parts.

    Raises
    ------
    ValueError
        If a part is no SVG.

    Examples
    --------
    >>> png([rect(0, 0, 10, 10, INK)], 20)[:4]
    b'\x89PNG'
    """
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="DejaVu Sans" font-size="{SIZE}">{"".join(parts)}</svg>'
    )
    drawn = resvg_py.svg_to_bytes(
        svg_string=svg,
        zoom=ZOOM,
        background="#ffffff",
        skip_system_fonts=True,
        font_files=[str(path) for path in _FILES.values()],
        font_family="DejaVu Sans",
    )
    with Image.open(io.BytesIO(drawn)) as picture:
        flat = picture.convert("RGB").quantize(palette=_palette(), dither=Image.Dither.NONE)
    out = io.BytesIO()
    flat.save(out, "PNG", compress_level=6, compress_type=zlib.Z_RLE)
    return out.getvalue()


@cache
def _palette() -> Image.Image:
    picture = Image.new("P", (1, 1))
    picture.putpalette([int(colour[at : at + 2], 16) for colour in _PALETTE for at in (1, 3, 5)])
    return picture


def text(
    x: float, baseline: float, words: str, *, colour: str = INK, weight: str = "normal", anchor: str = "start"
) -> str:
    """Write words of ours in one line.

    Parameters
    ----------
    x, baseline : float
        Where the line lies.
    words : str
    colour : str
    weight : str
        "normal" or "bold".
    anchor : str
        What lies at ``x``: "start", "middle" or "end".

    Returns
    -------
    str
        SVG, escaped.

    Examples
    --------
    >>> "&lt;b&gt;" in text(0, 20, "<b>")
    True
    """
    return (
        f'<text x="{x:.2f}" y="{baseline:.2f}" fill="{colour}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{_safe(words)}</text>"
    )


def chosen(x: float, baseline: float, name: str, otherwise: str, space: float, *, weight: str = "normal") -> str:
    """Write a name that someone chose, cut to its space, and never outside of its line, whatever is piled up in it.

    Parameters
    ----------
    x, baseline : float
        Where the line begins.
    name : str
        Of ``clean_name``.
    otherwise : str
        Another name for the same, written if the font lacks a letter of the first; may be empty.
    space : float
        Width of the line.
    weight : str
        "normal" or "bold".

    Returns
    -------
    str
        SVG, escaped.

    Examples
    --------
    >>> "clicks" in chosen(0, 20, "点击", "clicks", 100)
    True
    """
    words = _fitted(_written(name, otherwise), space, weight)
    return (
        f'<svg x="{x:.2f}" y="{baseline - SIZE:.2f}" width="{space:.2f}" height="{LINE}" overflow="hidden">'
        f'<text x="0" y="{SIZE}" fill="{INK}" font-weight="{weight}">{_safe(words)}</text></svg>'
    )


def estimate(x: float, baseline: float, effect: str, interval: str, space: float) -> list[str]:
    """Write an effect in bold with its interval, a little smaller or on two lines where the numbers are long.

    Parameters
    ----------
    x, baseline : float
        Where the first line begins.
    effect, interval : str
    space : float
        Width of the line.

    Returns
    -------
    list of str
        SVG of one or two lines, each ``LINE`` below the one before.

    Examples
    --------
    >>> len(estimate(0, 20, "+4.2%", "+1.7% to +6.7%", 200)), len(estimate(0, 20, "+4.2%", "+1.7% to +6.7%", 90))
    (1, 2)
    """
    inner = f" ({interval})"
    wide = width(effect, "bold") + width(inner, "normal")
    size = min(float(SIZE), SIZE * space / wide)
    begin = f'<text x="{x:.2f}" fill="{INK}" xml:space="preserve" '
    bold = f'<tspan font-weight="bold">{_safe(effect)}</tspan>'
    if size >= _SMALLEST:
        return [f'{begin}y="{baseline:.2f}" font-size="{size:.2f}">{bold}{_safe(inner)}</text>']
    size = min(float(SIZE), SIZE * space / width(inner.strip(), "normal"))
    return [
        f'{begin}y="{baseline:.2f}">{bold}</text>',
        f'{begin}y="{baseline + LINE:.2f}" font-size="{size:.2f}">{_safe(inner.strip())}</text>',
    ]


def rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    """Draw a filled rectangle.

    Parameters
    ----------
    x, y, width, height : float
    fill : str

    Returns
    -------
    str
        SVG.

    Examples
    --------
    >>> rect(0, 0, 10, 2, "#1c2230")
    '<rect x="0.00" y="0.00" width="10.00" height="2.00" fill="#1c2230" shape-rendering="crispEdges"/>'
    """
    place = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
    return f'<rect {place} fill="{fill}" shape-rendering="crispEdges"/>'


def arrow(x: float, y: float, dx: float, dy: float, fill: str) -> str:
    """Draw the point of what is cut: it leads out of the scale.

    Parameters
    ----------
    x, y : float
        The middle of its foot.
    dx, dy : float
        From there to the tip; one of them is 0.
    fill : str

    Returns
    -------
    str
        SVG.

    Examples
    --------
    >>> arrow(10, 10, 8, 0, "#1c2230")
    '<path d="M18.00 10.00L10.00 18.00L10.00 2.00Z" fill="#1c2230"/>'
    """
    ends = (x + dx, y + dy), (x - dy, y + dx), (x + dy, y - dx)
    path = "L".join(f"{across:.2f} {down:.2f}" for across, down in ends)
    return f'<path d="M{path}Z" fill="{fill}"/>'


def dot(x: float, y: float, radius: float, stroke: str, fill: str) -> str:
    """Draw a filled or hollow dot.

    Parameters
    ----------
    x, y, radius : float
    stroke, fill : str

    Returns
    -------
    str
        SVG.

    Examples
    --------
    >>> dot(5, 5, 4, INK, "#ffffff")[:32]
    '<circle cx="5.00" cy="5.00" r="4'
    """
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:.2f}" fill="{fill}" stroke="{stroke}" stroke-width="1.6"/>'


def width(words: str, weight: str) -> float:
    """Measure a line of text.

    Parameters
    ----------
    words : str
    weight : str
        "normal" or "bold".

    Returns
    -------
    float

    Examples
    --------
    >>> width("WW", "bold") > width("ii", "normal")
    True
    """
    return _font(weight).getlength(words) * SIZE / 100


def _safe(words: str) -> str:
    return escape("".join(sign for sign in words if sign not in _ISOLATES + "\ufffe\uffff"))


def _written(name: str, otherwise: str) -> str:
    if all(_known(sign) for sign in name):
        return name
    return "".join(sign if _known(sign) else "\ufffd" for sign in otherwise or name)


def _fitted(words: str, space: float, weight: str) -> str:
    words = words.strip(_ISOLATES)
    if width(words, weight) <= space:
        return words
    kept = words
    while kept and width(kept + "…", weight) > space:
        kept = kept[:-1]
    return kept.rstrip() + "…"


@cache
def _font(weight: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_FILES[weight]), 100, layout_engine=ImageFont.Layout.BASIC)


@cache
def _missing() -> bytes:
    return bytes(_font("normal").getmask("\U000fffff"))


@cache
def _known(sign: str) -> bool:
    return sign in _ISOLATES + "\u200d" or bytes(_font("normal").getmask(sign)) != _missing()
