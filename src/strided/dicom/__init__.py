"""DICOM to pixels, in a process of its own: it imports nothing else of strided and starts fast."""
