"""The serve verb: answer over HTTP with a bundle."""

from importlib.util import find_spec
from pathlib import Path

from strided.config.keys import Config
from strided.errors import UserError
from strided.runs.results import Results
from strided.system.signals import Interruption

# what is imported, by what is installed
_PACKAGES = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "httptools": "httptools",
    "python_multipart": "python-multipart",
    "onnxruntime": "onnxruntime",
    "prometheus_client": "prometheus-client",
    "sqlalchemy": "sqlalchemy",
    "jwt": "pyjwt",
    "cryptography": "cryptography",
}


def serve_bundle(config: Config, folder: Path, _: Results, __: Interruption) -> None:
    """Answer until a signal comes. Raises UserError, and Interrupted at the end."""
    if missing := [name for module, name in _PACKAGES.items() if find_spec(module) is None]:
        raise UserError(
            f"serve needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed; expected strided with its extra of that name. Try pip install "
            "'strided[serve]', or without torch pip install -r requirements-serve.txt"
        )
    from strided.service.server import serve
    from strided.service.settings import Settings

    serve(Settings.of(config, folder.parent))
