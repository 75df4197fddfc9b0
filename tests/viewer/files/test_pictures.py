"""Pictures in every common format become the same pixels; a file that cannot be read is refused before memory is
spent on it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from roam.viewer.commands.generate import read_image as for_generate
from roam.viewer.files.pictures import SENT_BYTES, SENT_SIDE, degrees_across, to_send
from roam.viewer.opening.start import first_frame
from roam.viewer.wire.encoding import read_image as over_the_wire
from roam.viewer.wire.protocol import ProtocolError
from roam.world.pictures.reading import PictureError, read_picture

ORIENTATION = 0x0112


def scene() -> Image.Image:
    """A tall picture with a different colour in each corner."""
    y, x = np.mgrid[:96, :64]
    return Image.fromarray(np.stack([x * 4, y * 2, (x + y) % 64 * 2], -1).astype(np.uint8))


def written(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def off(seen: np.ndarray, picture: Image.Image) -> float:
    wanted = np.asarray(picture.convert("RGB"), float)
    assert seen.dtype == np.uint8 and seen.shape == wanted.shape
    return float(np.abs(seen - wanted).mean())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_upright_wherever_it_is_given(orientation, tmp_path):
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that the orientation mark undoes
    lying = scene().transpose(back[orientation]) if orientation in back else scene()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "phone.jpg"
    path.write_bytes(written(lying, "JPEG", exif=exif, quality=95))
    assert off(over_the_wire(path.read_bytes()), scene()) < 4
    assert off(for_generate(path), scene()) < 4
    middle = scene().crop((0, 16, 64, 80)).resize((128, 128), Image.Resampling.LANCZOS)
    assert off(first_frame(path).pixels, middle) < 6


def test_sixteen_bits_keep_their_shades():
    shades = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    seen = read_picture(written(Image.fromarray(shades)))
    assert off(seen, Image.fromarray((shades / 257).round().astype(np.uint8))) < 0.6


@pytest.mark.parametrize(
    ("levels", "kind", "shown"),
    [
        (np.uint16([[0, 200, 514]]), "PNG", [0, 1, 2]),  # dark, and deeper than eight bits
        (np.uint16([[0, 200, 514]]), "PPM", [0, 1, 2]),
        (np.int32([[0, 200, 255]]), "TIFF", [0, 200, 255]),
        (np.float32([[0, 0.5, 1]]), "TIFF", [0, 128, 255]),
        (np.float32([[0, 0.5, 3]]), "TIFF", [0, 128, 255]),  # values above 1 are shown as white
        (np.float32([[0, 128, 255]]), "TIFF", [0, 128, 255]),
    ],
)
def test_dark_and_bright_pictures_are_as_dark_and_bright_as_they_say(levels, kind, shown):
    assert read_picture(written(Image.fromarray(levels), kind))[0, :, 0].tolist() == shown


def test_a_grey_of_sixteen_bits_that_is_told_to_be_transparent_is_white():
    grey = Image.fromarray(np.uint16([[0, 32896]]))
    assert read_picture(written(grey, transparency=0))[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"garbage", b"II*\0\x08\0\0\0\x01\0\x12", b"II*\0\xff\xff\xff\x7f", b""])
def test_a_picture_whose_exif_data_are_damaged_is_read_as_it_lies(kind, exif, recwarn):
    data = written(Image.new("RGB", (8, 4), "red"), kind, exif=b"Exif\0\0" + exif)
    assert read_picture(data).shape == (4, 8, 3) and to_send(data) == data
    assert not list(recwarn), "a warning of Python would stand in the terminal"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_shines_through_is_white_and_not_what_an_editor_left_there(mode):
    clear = Image.new(mode, (8, 8), 3 if mode == "P" else (0,) * len(mode))
    if mode == "P":
        clear.putpalette([9] * 768)
    assert (read_picture(written(clear, **({"transparency": 3} if mode == "P" else {}))) == 255).all()


def test_a_colour_profile_is_kept_to_where_it_is_one():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert off(read_picture(written(scene(), icc_profile=profile)), scene()) < 1.5
    assert off(read_picture(written(scene(), icc_profile=profile[:40])), scene()) == 0
    at = {profile[k : k + 4]: k + 4 for k in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)}
    turned = bytearray(profile)  # a profile whose red and green are exchanged
    for one, other in ((b"rXYZ", b"gXYZ"), (b"gXYZ", b"rXYZ")):
        turned[at[one] : at[one] + 8] = profile[at[other] : at[other] + 8]
    for mode in ("RGB", "P", "RGBA"):
        red = Image.new("RGB", (4, 4), (204, 51, 51)).convert(mode)
        seen = read_picture(written(red, icc_profile=bytes(turned)))
        assert off(seen, Image.new("RGB", (4, 4), (51, 204, 51))) < 2


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_many_formats_are_read_and_of_an_animation_the_first_picture(kind):
    later = {} if kind == "BMP" else {"save_all": True, "append_images": [Image.new("RGB", (64, 96), "red")] * 3}
    lossless = {"lossless": True} if kind == "WEBP" else {}
    assert off(read_picture(written(scene(), kind, **later, **lossless)), scene()) < 8
    assert off(over_the_wire(to_send(written(scene(), kind, **later))), scene()) < 12


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a huge size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = {b"IHDR": head, b"IDAT": zlib.compress(b"\0" * 1000), b"IEND": b""}
    told = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(told)


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_picture_that_is_a_bomb_is_refused_by_its_head(side, tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side, side))
    for read in (read_picture, for_generate, first_frame, lambda path: to_send(path.read_bytes())):
        with pytest.raises(ValueError) as refused:
            read(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(ProtocolError):
        over_the_wire(bomb(side, side))


def test_large_photographs_are_made_smaller_before_they_are_sent():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), dtype=np.uint8))
    heavy, wide = written(noise, "JPEG", quality=100), written(Image.new("RGB", (5000, 3000), "teal"), "JPEG")
    assert len(heavy) > SENT_BYTES
    for photo in (heavy, wide):
        sent = to_send(photo)
        assert len(sent) < 8 << 20 and max(over_the_wire(sent).shape) <= SENT_SIDE
    small = written(scene())
    assert to_send(small) is small
    assert over_the_wire(written(Image.new("RGB", (3000, 2000), "teal"))).shape == (1365, SENT_SIDE, 3)


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("words")
    with pytest.raises(PictureError, match=r"notes\.txt is no image that can be read"):
        read_picture(path)
    with pytest.raises(PictureError, match=r"cannot read .*missing"):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(PictureError):
        read_picture(written(scene())[:200], name="a torn one")
    with pytest.raises(PictureError):
        to_send(b"words" * SENT_BYTES)


def test_a_drawing_that_another_program_would_have_to_run_is_no_picture():
    # Pillow passes such a file, whoever made it, to Ghostscript
    with pytest.raises(PictureError, match="no image that can be read"):
        read_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize(("orientation", "degrees"), [(1, 90.0), (6, 67.38)])
def test_how_wide_a_photograph_sees_is_read_from_its_focal_length(tmp_path, orientation, degrees):
    """18 mm on film of 36 by 24 mm."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif.get_ifd(0x8769)[0xA405] = 18
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    assert degrees_across(tmp_path / "a.jpg") == pytest.approx(degrees, abs=0.05)


def test_how_wide_a_picture_sees_is_unknown_where_nothing_says_so(tmp_path):
    scene().save(tmp_path / "a.png")
    assert degrees_across(tmp_path / "a.png") is None and degrees_across(tmp_path / "none.jpg") is None


def test_black_and_white_of_sixteen_bits_are_black_and_white():
    deep = Image.fromarray(np.repeat(np.array([[0], [65535]], np.uint16), 2, 1))
    assert read_picture(written(deep))[:, 0].tolist() == [[0] * 3, [255] * 3]


@pytest.mark.parametrize("kind", ["BLP", "AVIF"])
def test_a_damaged_picture_of_a_rare_kind_is_refused_like_any_other(kind):
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow has no {kind}")
    data = bytearray(written(Image.new("P" if kind == "BLP" else "RGB", (13, 9)), kind))
    data[4 if kind == "BLP" else data.index(b"iloc")] = 77  # its decoder prints a message of its own
    for read in (read_picture, to_send):
        with pytest.raises(PictureError, match="cannot read"):
            read(bytes(data) + bytes(SENT_BYTES if read is to_send else 0))
