from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_lodin import data
from keras_lodin.data.batches import iterate_batches


def load(folder, **options):
    return data.load(f"dir:{folder}", **{"part": "test", "input_range": (0, 255), **options})


def read(source):
    return [np.concatenate(column) for column in zip(*source.batches(4), strict=True)]


def encoded(pixels, file_format):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format)
    return buffer.getvalue()


def test_images_of_a_folder_come_in_the_order_of_their_names(flat_folder, colours):
    source = load(flat_folder)

    np.testing.assert_array_equal(read(source)[0], colours)
    assert not source.labelled
    assert source.count is None


def test_sub_folders_are_classes_in_sorted_order(class_folder, colours):
    source = load(class_folder)

    x, y = read(source)

    np.testing.assert_array_equal(x, colours)
    np.testing.assert_array_equal(y, np.repeat([0, 1, 2], 4))
    assert source.class_names == ("apple", "bean", "corn")


def test_empty_class_folder_keeps_its_number(class_folder):
    (class_folder / "aardvark").mkdir()
    (class_folder / ".hidden").mkdir()

    source = load(class_folder)

    assert source.class_names == ("aardvark", "apple", "bean", "corn")
    assert read(source)[1].min() == 1


def test_images_deeper_in_a_class_folder_belong_to_the_class(class_folder, colours):
    (class_folder / "bean" / "more").mkdir()
    Image.fromarray(colours[0]).save(class_folder / "bean" / "more" / "x.png")

    assert np.bincount(read(load(class_folder))[1]).tolist() == [4, 5, 4]


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "GIF"])
def test_format_is_told_by_content_not_by_name(tmp_path, colours, file_format):
    (tmp_path / "image.png").write_bytes(encoded(colours[0], file_format))
    (tmp_path / "no_ending").write_bytes(encoded(colours[1], file_format))
    (tmp_path / "notes.txt").write_text("no image")

    source = load(tmp_path)

    assert len(read(source)[0]) == 2
    assert source.skipped == []


def test_images_of_all_modes_are_brought_to_the_classifier(tmp_path, colours):
    for mode in ("L", "LA", "RGB", "RGBA", "P", "1"):
        Image.fromarray(colours[0]).convert(mode).save(tmp_path / f"{mode}.png")
    for size in (5, 40):
        Image.fromarray(colours[0]).resize((size, 2 * size)).save(tmp_path / f"{size}.png")

    for channels in (1, 3):
        (x,) = read(load(tmp_path, image_shape=(8, 8, channels)))
        assert x.shape == (8, 8, 8, channels)


def test_grey_images_stay_exactly_the_same(tmp_path, colours):
    Image.fromarray(colours[0, :, :, 0]).save(tmp_path / "grey.png")

    source = load(tmp_path)

    assert source.shape == (10, 12, 1)
    np.testing.assert_array_equal(read(source)[0][0, :, :, 0], colours[0, :, :, 0])


@pytest.fixture
def damaged(flat_folder, colours):
    """The twelve images with five unreadable files among them: name to expected reason."""
    png, jpeg = encoded(colours[0], "PNG"), encoded(colours[0], "JPEG")
    damages = {
        "00_text.png": (b"hello, this is text", "not a complete PNG, JPEG, BMP or GIF image"),
        "01_empty.jpg": (b"", "the file is empty"),
        "02_truncated.jpg": (jpeg[: len(jpeg) // 2], "Invalid JPEG data"),
        "03_truncated.png": (png[: len(png) // 2], "Invalid PNG data"),
        "04_corrupted.png": (png[:60] + bytes(40) + png[100:], "Invalid PNG data"),
    }
    for name, (content, _) in damages.items():
        (flat_folder / name).write_bytes(content)
    return {str(flat_folder / name): reason for name, (_, reason) in damages.items()}


def test_corrupted_image_is_reported_by_name_and_the_rest_is_read(flat_folder, colours, damaged):
    source = load(flat_folder)
    assert source.skipped == []

    np.testing.assert_array_equal(read(source)[0], colours)

    assert [path for path, _ in source.skipped] == sorted(damaged)
    for path, reason in source.skipped:
        assert damaged[path] in reason
        assert "{{" not in reason
        assert "[Op:" not in reason


def test_skipped_images_are_remembered_once(flat_folder, damaged):
    source = load(flat_folder)

    read(source)
    read(source)

    assert len(source.skipped) == len(damaged)


def test_count_is_that_of_the_readable_images_once_all_are_read(flat_folder, damaged):
    source = load(flat_folder)

    assert source.steps_per_epoch(5) == 3
    assert source.count == 12
    assert len(list(source.training_batches(5, 0, 0, 2))) == 6


def test_image_that_vanishes_after_listing_is_reported(flat_folder):
    source = load(flat_folder)
    (flat_folder / "05.png").unlink()

    assert len(read(source)[0]) == 11
    assert source.skipped == [(str(flat_folder / "05.png"), "No such file or directory")]


def test_slices_share_no_image_and_keep_labels_with_images(class_folder, colours):
    parts = [read(load(f"{class_folder}{cut}")) for cut in ("[:75%]", "[75%:]")]

    x, y = (np.concatenate(column) for column in zip(*parts, strict=True))

    assert [len(part[1]) for part in parts] == [9, 3]
    assert sorted(image.tobytes() for image in x) == sorted(
        image.astype("float32").tobytes() for image in colours
    )
    for image, label in zip(x, y, strict=True):
        number = next(n for n in range(12) if np.array_equal(colours[n], image))
        assert number // 4 == label


def test_names_that_are_no_ascii_are_read(tmp_path, colours):
    Image.fromarray(colours[0]).save(tmp_path / "Äpfel 苹果\n.png")

    assert len(read(load(tmp_path))[0]) == 1


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load(tmp_path / "nowhere")


def test_file_in_place_of_a_folder_is_named(flat_folder):
    with pytest.raises(FileNotFoundError, match=r"00\.png is a file, not a folder"):
        load(flat_folder / "00.png")


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"There are no images .* which is empty"):
        load(tmp_path)


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "data.csv").write_text("1,2,3")

    with pytest.raises(
        ValueError, match=r"There are no images .* holds other things, such as 'data\.csv'"
    ):
        load(tmp_path)


def test_folder_of_unreadable_images_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("text")

    with pytest.raises(ValueError, match=r"No image of .* can be read, of 1 in all.*a\.png"):
        load(tmp_path)


def test_slice_of_unreadable_images_says_why_it_is_empty(tmp_path, colours):
    Image.fromarray(colours[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("text")

    for cut in ("[:1]", "[1:]"):
        source = load(f"{tmp_path}{cut}")
        if not list(source.batches()):
            with pytest.raises(ValueError, match=r"1 file\(s\) could not be read.*bad\.png"):
                list(iterate_batches(source))
            return
    pytest.fail("one of the slices must hold the unreadable image alone")


def test_images_beside_class_folders_are_refused(class_folder, colours):
    shutil.copy(class_folder / "apple" / "00.png", class_folder / "stray.png")

    with pytest.raises(ValueError, match=r"both beside its sub-folders and in them.*stray\.png"):
        load(class_folder)


@pytest.mark.parametrize(
    "left_behind",
    [
        "__MACOSX/apple/._00.png",
        "__MACOSX/apple/00.png",
        ".git/objects/00.png",
        ".ipynb_checkpoints/00-checkpoint.png",
        "apple/.ipynb_checkpoints/00-checkpoint.png",
        "apple/__MACOSX/00.png",
        "apple/._00.png",
        "@eaDir/00.png/thumb.png",
        "apple/@eaDir/thumb.png",
        "Thumbs.db",
        "apple/Thumbs.db",
        ".DS_Store",
    ],
)
def test_what_systems_leave_behind_is_no_class_and_no_image(class_folder, colours, left_behind):
    target = class_folder / left_behind
    target.parent.mkdir(parents=True, exist_ok=True)
    # As bad as can be: an image by content and, mostly, by name.
    shutil.copy(class_folder / "bean" / "04.png", target)
    source = load(class_folder)
    assert source.class_names == ("apple", "bean", "corn")
    np.testing.assert_array_equal(read(source)[0], colours)
    assert data.sources.folder.list_images(str(class_folder / "apple")) == [
        str(class_folder / "apple" / f"0{number}.png") for number in range(4)
    ]


def test_folders_without_images_are_known_to_be_empty(class_folder):
    (class_folder / "annotations").mkdir()
    source = load(class_folder)
    assert source.class_names == ("annotations", "apple", "bean", "corn")
    assert source.empty_classes == ("annotations",)
    mapped = source.with_labels_of(("corn", "bean", "apple"))
    np.testing.assert_array_equal(read(mapped)[1], np.repeat([2, 1, 0], 4))
