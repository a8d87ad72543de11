"""What a request is refused with, in the form that OpenAI's clients understand."""

from __future__ import annotations

from typing import Any

from vila_core.errors import VilaError

BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, CONFLICT, TOO_LARGE, TOO_MANY, FAILED, DOWN = (
    *(400, 401, 404, 409, 413, 429),
    *(500, 503),
)
_KINDS = {
    UNAUTHORIZED: "authentication_error",
    NOT_FOUND: "not_found_error",
    TOO_MANY: "rate_limit_error",
    FAILED: "server_error",
    DOWN: "server_error",
}


class RefusedError(VilaError):
    """A request that is answered with an error. code: a word for programs."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    def body(self) -> dict[str, Any]:
        """Return the answer's JSON object."""
        kind = _KINDS.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": None, "code": self.code}}
