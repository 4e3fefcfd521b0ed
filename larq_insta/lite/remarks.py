"""What pictures' files say besides pixels: orientations, profiles, texts.

Decoders refuse whole files for damage to it, and it must not decide who decodes a file. So it
is taken out first; the orientation alone counts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

JPEG_START = b"\xff\xd8"
_SCAN, _FILLING = 0xDA, 0xFF
_EXIF = 0xE1
_REMARKS = {*range(0xE0, 0xF0), 0xFE}
_COLOURS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
"""Those that tell what colours the numbers are: how they begin, and their least length."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_TRANSPARENCY = b"tRNS"
_WEBP = b"WEBP"

_EXIF_START = b"Exif\0\0"
_ORIENTATION, _UPRIGHT = 0x0112, 1
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_WHOLE_NUMBERS = {3: "H", 4: "I"}


def without_remarks(contents: bytes) -> tuple[bytes, int]:
    """A picture's file of pixels alone, and its orientation in EXIF data, from 1 to 8.

    From a damaged part on, the file stays as it is.
    """
    exif = b""
    if contents.startswith(JPEG_START):
        contents, exif = _of_jpeg(contents)
    elif contents.startswith(_PNG_START):
        contents, exif = _of_png(contents)
    elif contents[8:12] == _WEBP:
        exif = next((part for kind, part in _webp_parts(contents) if kind == b"EXIF"), b"")
    return contents, _orientation(exif)


def jpeg_parts(contents: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Kinds, contents and ends of the parts of a JPEG file in front of its pixels."""
    end = len(JPEG_START)
    while contents[end : end + 1] == b"\xff" and end + 4 <= len(contents):
        start, kind = end + 4, contents[end + 1]
        if kind == _FILLING:
            end += 1
            continue
        size = int.from_bytes(contents[end + 2 : start], "big")
        end += 2 + size
        if kind == _SCAN or size < 2 or end > len(contents):
            return
        yield kind, contents[start:end], end


def _of_jpeg(contents: bytes) -> tuple[bytes, bytes]:
    kept, exif, end = [JPEG_START], b"", len(JPEG_START)
    for kind, part, end in jpeg_parts(contents):
        start, least = _COLOURS.get(kind, (b"", 0))
        if kind == _EXIF and part.startswith(_EXIF_START):
            exif = exif or part
        remark = kind in _REMARKS and kind not in _COLOURS
        if not remark and part.startswith(start) and len(part) >= least:
            kept.append(contents[end - len(part) - 4 : end])
    return b"".join([*kept, contents[end:]]), exif


def _of_png(contents: bytes) -> tuple[bytes, bytes]:
    kept, exif, end = [_PNG_START], b"", len(_PNG_START)
    for kind, part, end in _png_parts(contents):
        whole = contents[end - len(part) - 12 : end]
        if kind == b"eXIf" and zlib.crc32(whole[4:-4]) == int.from_bytes(whole[-4:], "big"):
            exif = exif or part
        if kind[:1].isupper() or kind == _TRANSPARENCY:
            kept.append(whole)
    return b"".join([*kept, contents[end:]]), exif


def _png_parts(contents: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    end = len(_PNG_START)
    while end + 12 <= len(contents):
        start, kind = end + 8, contents[end + 4 : end + 8]
        end = start + int.from_bytes(contents[end : end + 4], "big") + 4
        if end > len(contents):
            return
        yield kind, contents[start : end - 4], end


def _webp_parts(contents: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(contents):
        size = int.from_bytes(contents[place + 4 : place + 8], "little")
        yield contents[place : place + 4], contents[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def _orientation(exif: bytes) -> int:
    exif = exif.removeprefix(_EXIF_START).removeprefix(_EXIF_START)  # some cameras have it twice
    order, found = _BYTE_ORDERS.get(exif[:4], "<"), _UPRIGHT
    with suppress(struct.error):  # beyond their end
        (place,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", exif, entry)
            if tag == _ORIENTATION and kind in _WHOLE_NUMBERS:
                (found,) = struct.unpack_from(order + _WHOLE_NUMBERS[kind], exif, entry + 8)
    return found if found in range(1, 9) else _UPRIGHT
