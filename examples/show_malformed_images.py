"""What twenty malformed or odd image files do: which are read, and what the error of the others says.

python examples/show_malformed_images.py
"""

import tempfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from skgad import DeepFeatureTransformer
from skgad.exceptions import ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)


def encode(image, suffix, **options):
    buffer = BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def make_files(folder):
    """Write twenty files to a folder and return their paths."""
    image = Image.fromarray(PIXELS)
    png, jpeg, bmp = encode(image, "PNG"), encode(image, "JPEG"), encode(image, "BMP")
    tiff, webp, frame = encode(image, "TIFF"), encode(image, "WEBP"), image.quantize()
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 255
    header = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + png[24:29]  # 900 million pixels, so it claims
    huge = png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:]
    contents = {
        "empty.png": b"",
        "text.png": b"this is no image\n" * 20,
        "zeros.jpg": bytes(1000),
        "random.png": np.random.default_rng(1).bytes(1000),
        "half.png": png[: len(png) // 2],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "half.bmp": bmp[: len(bmp) // 2],
        "half.tif": tiff[: len(tiff) // 2],
        "half.webp": webp[: len(webp) // 2],
        "header_only.png": png[:33],
        "header_only.jpg": jpeg[:20],
        "flipped_byte.png": bytes(flipped),
        "huge.png": huge,
        "page.html": b"<!DOCTYPE html><html><body>404</body></html>",
        "floats.tif": encode(Image.fromarray(np.ones((8, 8), dtype=np.float32)), "TIFF"),
        "first_frame.gif": encode(frame, "GIF", save_all=True, append_images=[frame.rotate(90)]),
        "cmyk.jpg": encode(image.convert("CMYK"), "JPEG"),
        "one_pixel.png": encode(image.crop((0, 0, 1, 1)), "PNG"),
        "wrong_suffix.jpg": png,
        "grey_alpha.png": encode(image.convert("LA"), "PNG"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


if __name__ == "__main__":
    extractor = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[1])
    with tempfile.TemporaryDirectory() as name:
        for path in make_files(Path(name)):
            try:
                extractor.transform([path])
                print(f"{path.name:18} read")
            except ImageError as error:
                print(f"{path.name:18} {str(error).replace(f'{name}/', '')}")
