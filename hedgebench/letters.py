"""Which letters the figures of this machine can show: names from outside may be in any script. No torch."""

from __future__ import annotations

from functools import cache

OTHER_SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK TC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP"),
    *("Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "IPAGothic"),
    *("PingFang SC", "Heiti SC", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "MS Gothic", "Malgun Gothic"),
    *("Noto Sans", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai", "Nirmala UI"),
    *("Noto Emoji", "Segoe UI Symbol", "Arial Unicode MS", "Unifont"),
)
"""Fonts that have letters which matplotlib's own lacks, the first to be asked first."""


def families() -> list[str]:
    """Matplotlib's `font.family` with those of `OTHER_SCRIPTS` behind it that are installed: a letter is of the first font that has it."""
    from matplotlib import rcParams
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [*rcParams["font.family"], *(name for name in OTHER_SCRIPTS if name in installed)]


def shown(text: str) -> str:
    r"""Text with each letter that no font here has as its code point, such as `\u6a21`, instead of a box."""
    if text.isascii():
        return text
    known = _letters(tuple(families()))
    return "".join(
        one if ord(one) in known or one.isspace() else one.encode("ascii", "backslashreplace").decode() for one in text
    )


@cache
def _letters(names: tuple[str, ...]) -> frozenset[int]:
    """The code points of all letters that some fonts have."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = (findfont(FontProperties(family=[name])) for name in names)
    return frozenset(code for file in files for code in get_font(file).get_charmap())
