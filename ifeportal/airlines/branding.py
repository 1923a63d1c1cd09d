"""Logo and colour of an airline. Uploaded images are re-encoded, so that only their pixels are ever served.

Pure, except `set_logo`, which writes the logo of one airline.
"""

from __future__ import annotations

import hashlib
import struct
from io import BytesIO
from typing import Final

from PIL import Image

from ifeportal.models import Airline, Logo

UPLOAD_LIMIT: Final = 1_048_576  # bytes
PIXEL_LIMIT: Final = 4_000_000  # of an upload; 16 MB when decoded
JPEG_SCAN_LIMIT: Final = 100  # each scan decodes all pixels again, and 40 KB can contain a thousand scans
JPEG_SCAN_MARKER: Final = b"\xff\xda"  # start of scan (SOS); cannot occur in entropy-coded data
LOGO_SIZE: Final = (256, 96)  # maximum width and height in pixels
FORMATS: Final = ("PNG", "JPEG", "WEBP")
# Raised by Pillow for files that are not images, are truncated or are inconsistent.
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
    """The upload cannot be a logo; `str()` is the sentence shown to the user."""


def render_logo(upload: bytes) -> bytes:
    """Return the image as a PNG that fits into LOGO_SIZE, with its aspect ratio. Raises BadLogo."""
    if len(upload) > UPLOAD_LIMIT:
        raise BadLogo("The logo is larger than 1 MB. Upload a smaller file.")
    try:
        with Image.open(BytesIO(upload), formats=FORMATS) as image:
            width, height = image.size
            if width * height > PIXEL_LIMIT:
                raise BadLogo(
                    f"The logo has {width} by {height} pixels. The limit is {PIXEL_LIMIT:,} pixels in total. "
                    "Upload a smaller image."
                )
            if image.format == "JPEG" and upload.count(JPEG_SCAN_MARKER) > JPEG_SCAN_LIMIT:
                raise BadLogo("This JPEG has too many scans. Save the image as a PNG.")
            resized = image.convert("RGBA")
    except (Image.DecompressionBombError, MemoryError) as error:
        raise BadLogo(f"The logo has too many pixels. The limit is {PIXEL_LIMIT:,}. Upload a smaller image.") from error
    except BadLogo:
        raise
    except PILLOW_ERRORS as error:
        raise BadLogo("The file is not a readable image. Upload a PNG, JPEG or WebP file.") from error
    resized.thumbnail(LOGO_SIZE)
    plain = Image.new("RGBA", resized.size)  # without the profile, comments and other metadata of the upload
    plain.paste(resized)
    out = BytesIO()
    plain.save(out, "PNG", optimize=True)
    return out.getvalue()


def logo_tag_of(png: bytes) -> str:
    """Return a short hash of the image, for its URL."""
    return hashlib.sha256(png).hexdigest()[:16]


def set_logo(airline: Airline, png: bytes | None) -> None:
    """Store or remove the logo. The caller saves the airline's row, in the same transaction."""
    airline.logo_tag = logo_tag_of(png) if png else ""
    if png:
        Logo.objects.update_or_create(airline=airline, defaults={"png": png})
    else:
        Logo.objects.filter(airline=airline).delete()


def stylesheet(colour: str) -> str:
    """Return the CSS that sets the airline's colour (#rrggbb) on its pages."""
    return f":root {{ --brand: {colour}; }}\n"
