"""An airline's logo and colour. Uploaded images are re-encoded, so only their pixels are ever served.

Pure, except `set_logo`, which writes one airline's logo.
"""

from __future__ import annotations

import hashlib
import struct
from io import BytesIO
from typing import Final

from PIL import Image

from ifeportal.models import Airline, Logo

UPLOAD_LIMIT: Final = 1_048_576  # bytes
PIXEL_LIMIT: Final = 4_000_000  # of an upload; 16 MB once it is unpacked
JPEG_SCAN_LIMIT: Final = 100  # of a JPEG; each unpacks all its pixels again, and a thousand fit into 40 KB
JPEG_SCAN_MARKER: Final = b"\xff\xda"  # begins one, and stands nowhere else in a picture's data
LOGO_SIZE: Final = (256, 96)  # pixels, wide and high, that a logo is shrunk into
FORMATS: Final = ("PNG", "JPEG", "WEBP")
# What Pillow raises for pictures that are none, are cut, or contradict themselves.
PILLOW_ERRORS: Final = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
)


class BadLogo(ValueError):
    """It cannot be a logo; `str()` is a sentence that says why."""


def render_logo(upload: bytes) -> bytes:
    """The picture as a small PNG, its proportions kept. Raises BadLogo."""
    if len(upload) > UPLOAD_LIMIT:
        raise BadLogo("A logo may have 1 MB at most. Save it smaller.")
    try:
        with Image.open(BytesIO(upload), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > PIXEL_LIMIT:
                raise BadLogo(
                    f"It has {width} by {height} pixels; {PIXEL_LIMIT:,} in all are allowed. Save it smaller."
                )
            if picture.format == "JPEG" and upload.count(JPEG_SCAN_MARKER) > JPEG_SCAN_LIMIT:
                raise BadLogo("It is packed in too many layers. Save it as a PNG.")
            drawn = picture.convert("RGBA")
    except (Image.DecompressionBombError, MemoryError) as error:
        raise BadLogo(f"It has too many pixels; {PIXEL_LIMIT:,} are allowed. Save it smaller.") from error
    except BadLogo:
        raise
    except PILLOW_ERRORS as error:
        raise BadLogo("This is no picture that can be read. Upload a PNG, JPEG or WebP.") from error
    drawn.thumbnail(LOGO_SIZE)
    plain = Image.new("RGBA", drawn.size)  # carries no profile, comment or other guest of the upload
    plain.paste(drawn)
    out = BytesIO()
    plain.save(out, "PNG", optimize=True)
    return out.getvalue()


def logo_tag_of(png: bytes) -> str:
    """A short name for exactly these bytes."""
    return hashlib.sha256(png).hexdigest()[:16]


def set_logo(airline: Airline, png: bytes | None) -> None:
    """Give the airline this logo, or none. Its row is saved by the caller, in the same transaction."""
    airline.logo_tag = logo_tag_of(png) if png else ""
    if png:
        Logo.objects.update_or_create(airline=airline, defaults={"png": png})
    else:
        Logo.objects.filter(airline=airline).delete()


def stylesheet(colour: str) -> str:
    """What a page of the airline loads to know its colour (#rrggbb)."""
    return f":root {{ --brand: {colour}; }}\n"
