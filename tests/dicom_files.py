"""DICOM files, made in a test, and those that pydicom ships."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.data import data_manager
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

SHIPPED = Path(data_manager.DATA_ROOT) / "test_files"
PATIENT = "Doe^Jane-of-Nowhere"
PLAIN, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
JPEG, JPEG_2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"
RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.1"


def data_set(pixels: np.ndarray, syntax: str = PLAIN, **elements: Any) -> Dataset:
    """A radiograph of uint8 or uint16 (H, W), or uint8 colours (H, W, 3); None removes."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = UID(RADIOGRAPH)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = UID("1.2.3")
    data.PatientName, data.PatientID = PATIENT, "12345-secret"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.PixelRepresentation = 0
    data.PixelData = pixels.tobytes()
    for key, value in elements.items():
        setattr(data, key, value)
    data.HighBit = elements.get("HighBit", data.BitsStored - 1)
    for key, value in elements.items():
        if value is None:
            delattr(data, key)
    return data


def written(data: Dataset) -> bytes:
    """The bytes of its file."""
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def dicom(pixels: np.ndarray, syntax: str = PLAIN, **elements: Any) -> bytes:
    """The file of a `data_set`."""
    return written(data_set(pixels, syntax, **elements))
