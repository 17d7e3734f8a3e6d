"""Views of an image whose answers are averaged: mirrored, and moved by a pixel."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from strided.config.keys import Views
from strided.data.geometry import reflected
from strided.errors import UserError

log = logging.getLogger(__name__)

_CORNERS = (0, 2)  # of crops in images that are reflected by a pixel: up and left, down and right


def views_of(pixels: Tensor, views: Views) -> list[tuple[float, Tensor]]:
    """Return the views of images (B, C, S, S) of any dtype, and the share of each in the answer.

    flip: the image and its mirror image, in equal parts. multicrop: these have half of the weight,
    and the other half those moved by a pixel up and left, or down and right, with what lies beyond
    the edge reflected (Jordan 2024, arXiv:2404.00498).
    """
    if views == "none":
        return [(1.0, pixels)]
    if views == "flip":
        return [(0.5, pixels), (0.5, pixels.flip(-1))]
    side, wide = pixels.shape[-1], reflected(pixels, 1)
    crops = [wide[..., at : at + side, at : at + side] for at in _CORNERS]
    shares = [(0.25, pixels), *((0.125, crop) for crop in crops)]
    return [(share, view) for share, one in shares for view in (one, one.flip(-1))]


def common_views(each: Sequence[Views | None]) -> Views | None:
    """The views that all networks of an ensemble average; None if they differ."""
    return each[0] if len(set(each)) == 1 else None


def refuse_mirrors(views: Views, data: Mapping[str, Any]) -> None:
    """Raise UserError for views of data in which a mirror image is of another class."""
    if views != "none" and data.get("horizontal_flip") is False:
        raise UserError(
            f"evaluation.views={views} mirrors images, and with data.horizontal_flip=false a "
            "mirror image is of another class; expected the image alone. Try evaluation.views="
            "null, or data.horizontal_flip=true"
        )


def refuse_unfitted(views: Views, *, without_validation: bool) -> None:
    """Raise UserError for views of a solved head that is calibrated on its inner folds."""
    if views != "none" and without_validation:
        raise UserError(
            f"evaluation.views={views} with data.val_fraction=0 would be calibrated on inner "
            "folds, whose answers are to an image alone; expected validation images. Try "
            "data.val_fraction=0.1, or evaluation.views=null"
        )


def tell_other(views: Views, fitted: Views) -> None:
    """Warn that a decision was fitted on the answers of other views."""
    log.warning(
        "evaluation.views=%s: calibration, sets, thresholds and gate of this checkpoint were "
        "fitted on the answers of evaluation.views=%s",
        views,
        fitted,
    )
