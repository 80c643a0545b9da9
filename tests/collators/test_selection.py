"""Which entries of a processor's arrays belong to which rows, where arrays show it and where they do not."""

import numpy as np
import pytest
from spanmask.collators.selection import lay_out_again, select_examples

NONE = [0, 0, 0, 0]


def entries(count, *shape):
    """An array whose entries are their own numbers."""
    return np.arange(count).reshape(count, *[1] * len(shape)) * np.ones((count, *shape), int)


def selected(batch, kept, image=NONE, video=NONE, audio=NONE):
    made = select_examples(batch, {"image": image, "video": video, "audio": audio}, kept)
    return None if made is None else {name: value.reshape(len(value), -1)[:, 0].tolist() for name, value in made.items()}


@pytest.mark.parametrize(
    ("batch", "counts", "wanted"),
    [
        ({"pixel_values": entries(6, 3, 2, 2)}, {"image": [1, 2, 0, 3]}, {"pixel_values": [0, 3, 4, 5]}),
        (
            {"pixel_values": entries(4, 5, 3, 2, 2)},
            {"image": [1, 2, 0, 3]},
            {"pixel_values": [0, 3]},
        ),  # by rows: fewer than images
        ({"image_sizes": entries(4, 2)}, {"image": [1, 1, 1, 1]}, {"image_sizes": [0, 3]}),
        ({"batch_num_images": entries(3)}, {"image": [1, 2, 0, 3]}, {"batch_num_images": [0, 2]}),  # rows with images
        (
            {"pixel_values": entries(10, 7), "image_grid_thw": np.array([[1, 1, 2], [1, 2, 2], [2, 2, 1]])},
            {"image": [1, 1, 0, 1]},
            {"pixel_values": [0, 1, 6, 7, 8, 9], "image_grid_thw": [1, 2]},
        ),
        (
            {"input_features": entries(5, 8), "feature_attention_mask": entries(5, 8)},
            {"audio": [2, 2, 0, 1], "image": [0, 1, 0, 1]},
            {"input_features": [0, 1, 4], "feature_attention_mask": [0, 1, 4]},
        ),
        (
            {"pixel_values_videos": entries(3, 2, 2)},
            {"video": [1, 1, 0, 1], "image": [1, 0, 0, 0]},
            {"pixel_values_videos": [0, 2]},
        ),
        ({"special": entries(4)}, {}, {"special": [0, 3]}),
    ],
)
def test_entries_of_rows(batch, counts, wanted):
    assert selected(batch, [0, 3], **counts) == wanted


@pytest.mark.parametrize(
    ("batch", "counts"),
    [
        ({"pixel_values": entries(4, 3)}, {"image": [2, 1, 0, 1]}),  # a row each, or an image each
        ({"pixel_values": entries(4, 3)}, {"image": [1, 0, 0, 1]}),  # a row each, or four tiles of two images
        ({"pixel_values": entries(4, 3)}, {"video": [1, 0, 0, 0]}),  # a row each, or four frames
        (
            {"pixel_values": entries(3, 3)},
            {"image": [1, 0, 0, 1], "video": [1, 1, 0, 1]},
        ),  # a video each, or three tiles of two images
        ({"pixel_values": entries(9, 3)}, {"image": [1, 2, 0, 1]}),
        ({"pixel_values": entries(2, 3)}, {"image": [0, 2, 0, 0]}),  # no image is left
        ({"pixel_values": entries(9, 3), "image_grid_thw": np.array([[1, 2, 2], [1, 2, 2]])}, {"image": [1, 0, 0, 1]}),
        ({"pixel_values": [entries(1, 3)] * 4}, {"image": [1, 1, 1, 1]}),
        ({"scale": np.array(1.0)}, {"image": [1, 1, 1, 1]}),
    ],
)
def test_entries_that_arrays_do_not_show(batch, counts):
    assert selected(batch, [0, 3], **counts) is None


def test_values_of_tokens_move_with_the_tokens():
    mask, new_mask = np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1]]), np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    array = np.arange(1, 19).reshape(3, 3, 2)
    out = lay_out_again(array, [1, 2], mask, new_mask)
    assert out[:, :2].tolist() == np.zeros((2, 2, 2)).tolist()
    assert out[0, 2:].tolist() == array[1, 1:].tolist()
    assert out[1, 2:].tolist() == array[2, :2].tolist()  # the row became shorter
    assert lay_out_again(array, [2, 0], mask, mask[[2, 0]]).tolist() == array[[2, 0]].tolist()
