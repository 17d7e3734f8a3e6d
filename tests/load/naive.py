"""The endpoint that tutorials show, to be compared with: FastAPI, PyTorch, a plain function.

    python -m tests.load.naive <run folder> <port>

The network is timm's or torchvision's, the transforms torchvision's; threads are as by default.
"""

import io
import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from strided.data.preprocessing import Preprocessing
from strided.evaluation.classifier import Classifier


def transform(given: Preprocessing) -> transforms.Compose:
    """The usual transforms, with the numbers of the checkpoint."""
    resized = round(given.image_size / given.crop_fraction)
    return transforms.Compose(
        [
            transforms.Resize(resized, InterpolationMode(given.interpolation)),
            transforms.CenterCrop(given.image_size),
            transforms.ToTensor(),
            transforms.Normalize(given.mean, given.std),
        ]
    )


def endpoint(run: str) -> FastAPI:
    """An application with one route, /predict."""
    classifier = Classifier.load(run, device="cpu")
    model, classes = classifier.task.model.eval(), classifier.classes
    prepare = transform(classifier.preprocessing)
    mode = "RGB" if classifier.preprocessing.channels == 3 else "L"
    app = FastAPI()

    @app.post("/predict")
    def predict(file: UploadFile) -> dict[str, Any]:
        image = Image.open(io.BytesIO(file.file.read())).convert(mode)
        with torch.inference_mode():
            probabilities = model(prepare(image).unsqueeze(0)).softmax(1)[0].tolist()
        return {"probabilities": dict(zip(classes, probabilities, strict=True))}

    return app


if __name__ == "__main__":
    uvicorn.run(endpoint(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
