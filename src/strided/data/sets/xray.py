"""1,124 chest radiographs: COVID-19, no findings, pneumonia; with their patients and sources."""

from pathlib import Path
from typing import Any

from strided.data.sets.image_table import ImageTable
from strided.data.source import Source
from strided.errors import UserError, sought_from

_TABLE = Path(__file__).with_name("xray.csv")
_OWN = ("this data set has its own table", "data=csv beside it")


class XRay(ImageTable):
    """The images of `xray3.zip` or `xray3/` under data.root; split by patient, none is published.

    Ozturk et al. 2020 (Computers in Biology and Medicine 121, 103792) collected them: 124 images of
    COVID-19 of ieee8023's covid-chestxray-dataset, 500 without findings and 500 of pneumonia of NIH
    ChestX-ray8. A class is confounded with its source.

    Args:
        root: The folder that holds xray3.zip or xray3/.
        group_column: The column whose values are never in two splits; null: none.
    """

    default_channels = 1
    unread = dict.fromkeys(
        ("csv", "path_column", "path_suffix", "label_column", "label_columns", "labels"), _OWN
    )

    def __init__(
        self, *, root: str = "data", group_column: str | None = "patient_id", **kwargs: Any
    ) -> None:
        own = {"csv": str(_TABLE), "path_column": "file", "label_column": "class"}
        super().__init__(root=root, group_column=group_column, **{**kwargs, **own})

    def make_source(self) -> Source:
        """Find the images, then read the table that comes with strided."""
        places = [self.root / "xray3.zip", self.root / "xray3"]
        place = next((place for place in places if place.exists()), None)
        if place is None:
            raise UserError(
                f"xray is not in data.root={self.root}{sought_from(self.root)}, and no site offers "
                "it as one download; expected xray3.zip, or xray3/, with the folders Covid-19, "
                "No_findings and Pneumonia of github.com/muhammedtalo/COVID-19. Try "
                "data.root=<the folder that holds it>"
            )
        self.root = place
        return super().make_source()
