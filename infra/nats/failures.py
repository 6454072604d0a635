"""What nats-py raises, and what that means to a person."""

import socket
import ssl

from nats.errors import Error, NoRespondersError

AWAY = (Error, TimeoutError, OSError)
"""What nats-py raises where a server is away, slow, or says no."""


def reason(error: BaseException) -> str:
    """Why, as the end of a sentence. May hold what the server said, so strike out secrets."""
    text = str(error).removeprefix("nats: ")
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case socket.gaierror():
            return "its name can't be resolved"
        case ssl.SSLError():
            return f"TLS failed ({error.reason or text})"
        case NoRespondersError():
            return "nobody answers there"
        case TimeoutError():
            return "it does not answer in time"
        case Error() if "authorization" in text.lower():
            return "it does not accept these credentials"
        case Error() if "expecting INFO" in text:
            return "what answers there is not NATS"
        case _:
            return text or type(error).__name__
