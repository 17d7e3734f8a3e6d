import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from strided.data import ImageError, as_image, decode
from strided.data.reading.depth import WHITE, eight_bit

RAMP = np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)


def reread(image: Image.Image, kind: str, **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return decode(file)


def scaled(image: Image.Image) -> np.ndarray:
    """The 8 bits of an image of 16 that uses all of them."""
    assert image.mode == "I;16"
    return np.asarray(eight_bit(image, WHITE))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "DIB"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(reread(Image.fromarray(colours), kind)), colours)
    grey = reread(Image.fromarray(RAMP), kind)
    assert grey.mode == "L" and np.array_equal(np.asarray(grey), RAMP)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "GIF"])
def test_lossy_formats_keep_the_colour(kind: str) -> None:
    image = reread(Image.new("RGB", (16, 16), (200, 30, 60)), kind)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 60)).max() < 8


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    image = reread(Image.new("RGB", (16, 16), (250, 20, 20)).convert("CMYK"), "JPEG")
    red, green, _ = np.asarray(image)[8, 8]
    assert image.mode == "RGB" and red > 200 and green < 60


def test_a_palette_image_becomes_its_colours() -> None:
    palette = Image.new("RGB", (4, 4), (10, 200, 90)).convert("P", palette=Image.Palette.ADAPTIVE)
    image = reread(palette, "PNG")
    assert image.mode == "RGB" and image.getpixel((0, 0)) == (10, 200, 90)


def test_a_bilevel_image_becomes_black_and_white() -> None:
    image = reread(Image.fromarray(RAMP > 127), "PNG")
    assert image.mode == "L" and set(np.unique(np.asarray(image))) == {0, 255}


@pytest.mark.parametrize(("mode", "clear"), [("RGBA", (0, 0, 0, 0)), ("LA", (0, 0))])
def test_transparent_pixels_become_white(mode: str, clear: tuple[int, ...]) -> None:
    image = reread(Image.new(mode, (4, 4), clear), "PNG")
    assert image.mode == ("RGB" if mode == "RGBA" else "L")
    assert np.asarray(image).min() == 255


def test_transparent_palette_entries_become_white() -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putpixel((1, 1), 1)
    image = reread(palette, "PNG", transparency=0)
    assert image.getpixel((0, 0)) == (255, 255, 255) and image.getpixel((1, 1)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    deep = RAMP.astype(np.uint16) * 257
    image = reread(Image.fromarray(deep), kind)
    assert np.array_equal(np.asarray(image), deep) and np.array_equal(scaled(image), RAMP)


def test_big_endian_sixteen_bits_are_scaled() -> None:
    # A whole little TIFF, written out: 2 x 2, grey, 16 bits, Motorola byte order.
    tags = [(256, 2), (257, 2), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, 2)]
    tags.append((279, 8))
    pixels = np.array([0, 257, 32896, 65535], dtype=">u2").tobytes()
    body = b"".join(
        tag.to_bytes(2) + (4).to_bytes(2) + (1).to_bytes(4) + value.to_bytes(4)
        for tag, value in tags
    )
    header = b"MM\x00\x2a" + (16).to_bytes(4)
    file = io.BytesIO(header + pixels + len(tags).to_bytes(2) + body + (0).to_bytes(4))
    assert scaled(decode(file)).ravel().tolist() == [0, 1, 128, 255]


def test_sixteen_bits_held_in_thirty_two_are_scaled() -> None:
    image = reread(Image.fromarray(RAMP.astype(np.int32) * 257), "TIFF")
    assert np.array_equal(scaled(image), RAMP)
    for outside in (-1, 65536):
        with pytest.raises(ImageError, match="expected 0 to 65535"):
            reread(Image.fromarray(np.full((8, 8), outside, dtype=np.int32)), "TIFF")


def test_floats_of_0_to_1_are_scaled_and_others_refused() -> None:
    image = reread(Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF")
    assert np.array_equal(np.asarray(image), RAMP)
    with pytest.raises(ImageError, match="expected 0 to 1"):
        reread(Image.fromarray(RAMP.astype(np.float32)), "TIFF")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_once(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    wide = np.zeros((16, 32), dtype=np.uint8)
    wide[:, :16] = 255  # white at the left: upright, it is at the top
    image = np.asarray(reread(Image.fromarray(wide).convert("RGB"), kind, exif=exif))
    assert image.shape == (32, 16, 3)
    assert image[:14].min() > 200 and image[18:].max() < 50


def test_the_first_frame_stands_for_the_others() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    for kind in ("TIFF", "GIF", "PNG"):
        image = reread(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.asarray(image).max() == 10, kind


def test_a_png_with_large_texts_is_read_upright() -> None:
    texts = PngInfo()
    texts.add_text("note", "x" * 3_000_000, zip=True)
    wide = np.zeros((8, 16), dtype=np.uint8)
    wide[:, :8] = 255  # white at the left: upright, it is at the top
    exif = Image.Exif()
    exif[0x0112] = 6
    for options in ({"pnginfo": texts}, {"icc_profile": bytes(3_000_000)}):
        image = np.asarray(reread(Image.fromarray(wide), "PNG", exif=exif, **options))
        assert image.shape == (16, 8) and image[:8].min() == 255 and image[8:].max() == 0


def test_a_heic_is_read_or_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    start = io.BytesIO(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(40))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(ImageError, match=r"pip install 'strided\[heic\]'"):
            decode(start)
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    image = reread(Image.new("RGB", (64, 64), (200, 30, 60)), "HEIF", quality=90)
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 60)).max() < 8


def test_a_truncated_file_says_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in ("jpg", "png"):
        file = tmp_path / f"cut.{suffix}"
        Image.fromarray(noise).save(file)
        file.write_bytes(file.read_bytes()[:-1000])
        with pytest.raises(ImageError, match="truncated"):
            decode(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty, or not an image of a known format"),
        (b"words", "empty, or not an image of a known format"),
        (b"<html>not found</html>", "a web page.*, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS.*git lfs pull"),
        (bytes(600), "full of zeros, not an image"),
    ],
)
def test_what_is_no_image_says_so_without_its_path(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "page.jpg"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        decode(file)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PCX", "PDF", "TGA"])
def test_a_picture_of_another_format_under_a_known_name_is_no_image(
    tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "picture.png"
    Image.new("RGB", (16, 16), "red").save(file, kind)
    with pytest.raises(ImageError, match="not an image of a known format"):
        decode(file)


def test_the_first_picture_of_an_mpo_is_read(tmp_path: Path) -> None:
    file = tmp_path / "stereo.jpg"
    Image.new("L", (8, 8), 10).save(
        file, "MPO", save_all=True, append_images=[Image.new("L", (8, 8), 200)]
    )
    with Image.open(file) as stereo:
        assert stereo.format == "MPO"
    assert decode(file).getpixel((4, 4)) == pytest.approx(10, abs=2)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="too large"):
        reread(Image.new("L", (50, 50)), "PNG")


def test_large_pictures_cause_no_warning(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # up to twice as many, Pillow warns
    assert reread(Image.new("L", (12, 12)), "PNG").size == (12, 12)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4)])
def test_arrays_are_images(shape: tuple[int, ...]) -> None:
    image = as_image(np.full(shape, 255, dtype=np.uint8))
    assert image.size == (8, 8) and image.mode == ("RGB" if shape[2:] > (1,) else "L")


def test_arrays_files_and_open_images_agree(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "ramp.png")
    deep = RAMP.astype(np.uint16) * 257
    with Image.open(tmp_path / "ramp.png") as opened:
        assert np.array_equal(scaled(as_image(deep)), RAMP)
        for image in (RAMP, opened, tmp_path / "ramp.png", str(tmp_path / "ramp.png")):
            assert np.array_equal(np.asarray(as_image(image)), RAMP)


@pytest.mark.parametrize(
    ("array", "advice"),
    [(np.zeros((8, 8)), "astype"), (np.zeros((3, 8, 8), np.uint8), "moveaxis")],
)
def test_other_arrays_are_refused_with_advice(array: np.ndarray, advice: str) -> None:
    with pytest.raises(ImageError, match=advice):
        as_image(array)


def test_byte_order_of_this_machine_does_not_matter() -> None:
    other = ">u2" if sys.byteorder == "little" else "<u2"
    image = as_image((RAMP.astype(np.uint16) * 257).astype(other))
    assert np.array_equal(scaled(image), RAMP)
