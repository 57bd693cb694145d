"""The exercises of docs/learn/beyond-text.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import numpy as np

from attention_ref.exercises._exercise import Exercise

# ------------------------------------------------------------------- to_patches


def to_patches(image, size):
    """Return the square patches of an image, row by row, each flattened."""
    height, width = image.shape
    down, across = height // size, width // size
    cut = image.reshape(down, size, across, size)
    return cut.transpose(0, 2, 1, 3).reshape(down * across, size * size)


def _patches_by_loops(image, size):
    patches = []
    for top in range(0, image.shape[0], size):
        for left in range(0, image.shape[1], size):
            pixels = [(top + i, left + j) for i in range(size) for j in range(size)]
            patches.append([image[pixel].item() for pixel in pixels])
    return np.array(patches)


def _images(rng):
    yield np.arange(8.0).reshape(2, 4), 2
    yield np.arange(24.0).reshape(4, 6), 2
    yield rng.normal(size=(15, 6)), 3
    yield rng.normal(size=(10, 35)), 5
    yield rng.normal(size=(3, 7)), 1


def _rows_of_the_image(image, size):
    """Each patch is a run of pixels from the image's rows: swap two axes between two reshapes."""
    return image.reshape(-1, size * size)


def _column_by_column(image, size):
    """The patches come column by column: the one to the right of the first comes second."""
    height, width = image.shape
    cut = image.reshape(height // size, size, width // size, size)
    return cut.transpose(2, 0, 1, 3).reshape(-1, size * size)


def _transposed_inside(image, size):
    """The pixels of each patch come column by column: flatten each patch row by row."""
    height, width = image.shape
    cut = image.reshape(height // size, size, width // size, size)
    return cut.transpose(0, 2, 3, 1).reshape(-1, size * size)


def _whole_image_turned(image, size):
    """These are patches of the transposed image: rows and columns have changed places."""
    return to_patches(image.T, size)


def _not_flattened(image, size):
    """Each patch is still a matrix: flatten it to a vector of size * size numbers."""
    return to_patches(image, size).reshape(-1, size, size)


def _a_pixel_apart(image, size):
    """The patches overlap: each begins one pixel after the last, not a whole patch."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size))
    return windows.reshape(-1, size * size)


def _the_means(image, size):
    """These are the means of the patches: return all their pixels."""
    return to_patches(image, size).mean(axis=1)


def _brightness_taken_out(image, size):
    """The mean of each patch was taken out: return the pixels as they are."""
    patches = to_patches(image, size)
    return patches - patches.mean(axis=1, keepdims=True)


def _pixels_kept(answer, image, size):
    """A pixel is missing or came twice: each belongs to one patch."""
    return np.array_equal(np.sort(answer, axis=None), np.sort(image, axis=None))


_PATCHES = Exercise(
    solution=to_patches,
    specification=_patches_by_loops,
    inputs=_images,
    mistakes=(
        _rows_of_the_image,
        _column_by_column,
        _transposed_inside,
        _whole_image_turned,
        _not_flattened,
        _a_pixel_apart,
        _the_means,
        _brightness_taken_out,
    ),
    rules=(_pixels_kept,),
    hints=(
        "Cut both axes in two: (patch row, row in it, patch column, column in it).",
        "The two axes that count patches must stand first: `transpose(0, 2, 1, 3)`.",
        "Then a second reshape flattens each patch to size * size numbers.",
    ),
)

# -------------------------------------------------------------------- grid_bias


def grid_bias(rows, columns, slope):
    """Return minus the slope times the steps between any two places."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    down = np.abs(row[:, None] - row)
    across = np.abs(column[:, None] - column)
    return -slope * (down + across)


def _bias_by_loops(rows, columns, slope):
    places = [(i, j) for i in range(rows) for j in range(columns)]
    return np.array([[-slope * (abs(r - i) + abs(c - j)) for i, j in places] for r, c in places])


def _grids(rng):
    yield 2, 2, 1.0
    yield 2, 3, 1.0
    yield 5, 3, float(rng.uniform(0.1, 2))
    yield 3, 7, float(rng.uniform(0.1, 2))
    yield 1, 5, 0.5


def _steps(rows, columns):
    row, column = np.divmod(np.arange(rows * columns), columns)
    return row[:, None] - row, column[:, None] - column


def _in_the_list(rows, columns, slope):
    """This is the distance in the list, where the end of a row is next to the next row."""
    place = np.arange(rows * columns)
    return -slope * np.abs(place[:, None] - place)


def _rows_for_columns(rows, columns, slope):
    """The place was divided by the number of rows: a row is as long as there are columns."""
    row, column = np.divmod(np.arange(rows * columns), rows)
    return -slope * (np.abs(row[:, None] - row) + np.abs(column[:, None] - column))


def _as_the_crow_flies(rows, columns, slope):
    """This is the straight distance: count the steps up or down plus left or right."""
    down, across = _steps(rows, columns)
    return -slope * np.hypot(down, across)


def _diagonal_steps(rows, columns, slope):
    """A diagonal step counts as one: add the steps in both directions."""
    down, across = _steps(rows, columns)
    return -slope * np.maximum(np.abs(down), np.abs(across))


def _plus(rows, columns, slope):
    """Far places are preferred: the bias is minus the slope times the steps."""
    return -grid_bias(rows, columns, slope)


def _signed(rows, columns, slope):
    """Steps to the left or up count as negative: take absolute values before you add."""
    down, across = _steps(rows, columns)
    return -slope * (down + across)


def _squared(rows, columns, slope):
    """The steps are squared: take their absolute values."""
    down, across = _steps(rows, columns)
    return -slope * (down**2 + across**2)


def _itself_counted(rows, columns, slope):
    """The place itself is counted as a step: from a place to its neighbour is one step."""
    return grid_bias(rows, columns, slope) - slope


def _zero_at_home(answer, rows, columns, slope):
    """A place is no steps from itself: the diagonal must be 0."""
    return np.all(np.diagonal(answer) == 0)


def _both_ways(answer, rows, columns, slope):
    """The way back is as long as the way: the matrix must be symmetric."""
    return np.allclose(answer, answer.T)


_GRID_BIAS = Exercise(
    solution=grid_bias,
    specification=_bias_by_loops,
    inputs=_grids,
    mistakes=(
        _in_the_list,
        _rows_for_columns,
        _as_the_crow_flies,
        _diagonal_steps,
        _plus,
        _signed,
        _squared,
        _itself_counted,
    ),
    rules=(_zero_at_home, _both_ways),
    hints=(
        "Place i is in row i // columns and column i % columns.",
        "`row[:, None] - row` has the difference of all pairs of rows.",
    ),
)

EXERCISES = (_PATCHES, _GRID_BIAS)
