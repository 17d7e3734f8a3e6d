"""What a service reads: bundles and the registry that holds them. No torch is imported here."""

from strided.serving.bundle import Answer, Bundle, Outputs
from strided.serving.registry import activate

__all__ = ["Answer", "Bundle", "Outputs", "activate"]
