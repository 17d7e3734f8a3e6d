"""What a service answers in place of a prediction: a closed list of codes (RFC 9457)."""

# code: status and title
CODES: dict[str, tuple[int, str]] = {
    "malformed_request": (400, "The request is not as HTTP or the form prescribes"),
    "foreign_page": (400, "A web page of another site has made the request, or its name is used"),
    "bad_parameter": (400, "A parameter is unknown, or has a value that it cannot have"),
    "too_many_files": (400, "The form has more files than one request may have"),
    "unauthenticated": (401, "A key or a token is needed, and none that counts was shown"),
    "forbidden": (403, "The role of this key or token may not do this"),
    "not_found": (404, "There is nothing at this address"),
    "unknown_version": (404, "The registry has no such version"),
    "unknown_prediction": (404, "There is no prediction with this id that this role may see"),
    "no_picture": (404, "No picture is kept of this case"),
    "unknown_key": (404, "There is no key in use with this id"),
    "method_not_allowed": (405, "This address is not used with this method"),
    "not_activated": (409, "The version could not be loaded; the one before goes on answering"),
    "activation_running": (409, "Another version is being loaded"),
    "no_earlier_version": (409, "No other version has answered since the start"),
    "last_admin": (409, "It is the last key of an admin"),
    "already_decided": (409, "Somebody has decided the case since it was read"),
    "review_closed": (409, "The case was not decided in time, and is closed"),
    "body_too_large": (413, "The body is larger than the service reads"),
    "unsupported_type": (415, "The Content-Type is none that the service reads"),
    "unsupported_format": (415, "The format of the file is none that the service reads"),
    "unreadable": (422, "The picture cannot be read"),
    "too_many_pixels": (422, "The picture has more pixels than the service decodes"),
    "unknown_class": (422, "The class is none that this decision can name"),
    "comment_not_allowed": (422, "This service takes no text, which could hold a name"),
    "queue_full": (429, "As many pictures are waiting as may wait"),
    "rate_limited": (429, "More requests of a minute than one key or address may make"),
    "starting": (503, "The model is being loaded"),
    "draining": (503, "The service is stopping"),
    "not_finite": (503, "The network gave no finite numbers for this picture"),
    "not_recorded": (503, "It could not be recorded, so it is not answered"),
    "internal": (503, "A fault of the service; its log says more"),
    "deadline": (504, "The answer was not ready in time"),
}


class ProblemError(Exception):
    """A request, or one file of it, that gets no prediction.

    `detail` is for the client: it never quotes a file, a name or a path of this machine.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        self.status, self.title = CODES[code]
        super().__init__(detail or f"{self.title}.")
        self.code = code
        self.detail = str(self)


class ClientLeftError(Exception):
    """The client has closed its connection: nobody waits for an answer."""


def worst(problems: list[ProblemError]) -> ProblemError:
    """What stands for the problems of all files of a request: the one of the highest status."""
    return max(problems, key=lambda problem: problem.status)
