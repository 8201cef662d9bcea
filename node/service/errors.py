"""What a service refuses to a caller, apart from what the ledger's rules refuse. The API maps each class to one status."""

from ledger.errors import TracemarkError


class AuthenticationError(TracemarkError):
    """No token, or none that this node issued and has not revoked."""

    default_code = "not_authenticated"


class AuthorizationError(TracemarkError):
    """A valid token that does not entitle to this."""

    default_code = "not_entitled"


class NotFoundError(TracemarkError):
    """Nothing there, or nothing that this caller may see: the two look the same."""

    default_code = "not_found"


class NotReadyError(TracemarkError):
    """The node cannot answer this now; `help` says why, and another node may."""

    default_code = "not_ready"
