"""The files of a request: a form of parts named file, or one file as it is. Nothing on the disk."""

from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from strided.service.problems import ClientLeftError, ProblemError
from strided.service.settings import Settings

FORM = "multipart/form-data"
RAW = ("image/jpeg", "image/png", "application/dicom")
FIELD = "file"


async def files_of(request: Request, settings: Settings) -> list[bytes]:
    """Read the files of a request. Raises ProblemError, and ClientLeftError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (FORM, *RAW):
        raise ProblemError(
            "unsupported_type",
            f"Expected {FORM} with parts named {FIELD}, or one file as {', '.join(RAW)}. "
            f"Try curl -F {FIELD}=@picture.png",
        )
    body = _limited(request, settings.body)
    try:
        if kind == FORM:
            return await _parts(request, body, settings)
        return [b"".join([piece async for piece in body])]
    except ClientDisconnect:
        raise ClientLeftError from None
    finally:
        await body.aclose()


async def _limited(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The pieces of a body. Raises ProblemError as soon as it is too large."""
    too_large = ProblemError("body_too_large", f"Expected at most {most:,} bytes in a body.")
    length = request.headers.get("content-length", "").lstrip("0")
    # as text: Python makes no number of thousands of digits
    if length.isdecimal() and (len(length), length) > (len(str(most)), str(most)):
        raise too_large
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large
        yield piece


async def _parts(
    request: Request, body: AsyncGenerator[bytes, None], settings: Settings
) -> list[bytes]:
    most = settings.files

    class InMemory(MultiPartParser):
        spool_max_size = settings.body + 1  # larger parts would go to a temporary file

        def on_headers_finished(self) -> None:
            super().on_headers_finished()
            if len(self.items) == most:  # the parser's own error is that of a damaged form
                raise ProblemError("too_many_files", f"Expected at most {most} files in a form.")

    try:
        form = await InMemory(request.headers, body, max_files=most + 1, max_fields=0).parse()
    except (MultiPartException, UnicodeError):  # of a name, in the charset that the type names
        raise ProblemError(
            "malformed_request",
            f"The form is damaged or cut off, or has parts that are no files; expected parts named "
            f"{FIELD}. Try curl -F {FIELD}=@picture.png",
        ) from None
    try:
        parts = form.multi_items()
        if not parts or any(name != FIELD for name, _ in parts):
            raise ProblemError(
                "malformed_request", f"Expected one part or more, each named {FIELD}."
            )
        return [await part.read() for _, part in parts if isinstance(part, UploadFile)]
    finally:
        await form.close()
