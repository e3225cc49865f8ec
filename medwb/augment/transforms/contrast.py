"""Transforms that change contrast by what lies around a pixel."""

from medwb.augment.transform import Values, transform
from medwb.augment.transforms.source import between
from medwb.augment.upstream import pixel_functions
from medwb.images import Pixels
from medwb.params import Param

_TILE = 16
"""Pixels a side of the smallest tile. OpenCV cuts off the bins of a tile's histogram at a whole number of pixels, one
at least: in a smaller tile even the lowest limit lets contrast through that it should hold back."""


def _grid(tiles: float, size: tuple[int, int]) -> tuple[int, int]:
    """Tiles across and down for a scan of (height, width)."""
    across, down = (max(1, min(int(tiles), side // _TILE)) for side in (size[1], size[0]))
    return across, down


@transform(
    "clahe",
    title="CLAHE",
    family="pixels",
    params=[
        Param("clip", 1, 10, 1, 0.1, "Limit of the contrast; at 1 the scan hardly changes.", until=3),
        Param("tiles", 1, 16, 4, 1, "Tiles a side that get a curve each; one has 16 pixels a side or more."),
    ],
    code=lambda settings, size: (
        f"A.CLAHE(clip_limit={between(settings['clip'])}, tile_grid_size={_grid(settings['tiles'], size)}, "
        f"p={settings['p']:g})"
    ),
)
def clahe(image: Pixels, values: Values) -> Pixels:
    """Evens out the contrast of each part of the scan, up to a limit (Zuiderveld 1994)."""
    grid = _grid(values["tiles"], (image.shape[0], image.shape[1]))
    changed: Pixels = pixel_functions().clahe(image, float(values["clip"]), grid)
    return changed
