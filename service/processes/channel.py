"""What the parent and a worker tell each other: messages over a pair of sockets, and connections beside them."""

import socket
from collections import deque
from typing import Any, Final, Literal, Self

import msgspec

from service.processes.process import ModelChanges

LARGEST: Final = 1 << 16  # bytes of a message; an error's text is cut to less, and a change that is larger is refused
LONGEST_ERROR: Final = 4000  # characters
_MOST_DESCRIPTORS: Final = 1


class Connection(msgspec.Struct, frozen=True, tag=True):
    """To a worker: serve the connection that comes with this."""


class Opened(msgspec.Struct, frozen=True, tag=True):
    """To a worker: all workers of the start have loaded, the server as a whole is to be used."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """To a worker: be no longer ready, ask clients to leave, but go on."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """To a worker: no more connections come. Finish and end; `hurry`: do not wait for anything."""

    hurry: bool = False


class Change(msgspec.Struct, frozen=True):
    """A model that is to be loaded or unloaded; `override` goes before its model.toml."""

    kind: Literal["load", "unload"]
    name: str
    override: dict[str, Any] | None = None

    async def make(self, changes: ModelChanges) -> None:
        """Have it done."""
        await (changes.load(self.name, self.override) if self.kind == "load" else changes.unload(self.name))


class Apply(msgspec.Struct, frozen=True, tag=True):
    """To a worker: make a change, and say Done with this number; `own`: it was this worker that was asked to."""

    number: int
    change: Change
    own: bool


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """From a worker: the models of the start are in."""


class Leaving(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it was told by a signal to end."""


class Report(msgspec.Struct, frozen=True, tag=True):
    """From a worker, several times a second: how many connections it has taken so far, and how many it has now."""

    taken: int
    held: int


class Relay(msgspec.Struct, frozen=True, tag=True):
    """From a worker: have all make a change, and say Done with this number."""

    number: int
    change: Change


class Done(msgspec.Struct, frozen=True, tag=True):
    """In either direction: a change is made, or `error` says why not."""

    number: int
    error: str = ""


Message = Connection | Opened | Stop | Drain | Apply | Loaded | Leaving | Report | Relay | Done
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class Channel:
    """One end. Never blocks: what the other end does not take now waits here until `flush`, but for connections."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._unsent: deque[bytes] = deque()

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Return two ends that keep messages apart."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    @staticmethod
    def takes(message: Message) -> bool:
        """Say whether a message is small enough: of a larger one the other end would get a part."""
        return len(_encoder.encode(message)) <= LARGEST

    def send(self, message: Message) -> None:
        """Send a message after those that wait."""
        self._unsent.append(_encoder.encode(message))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as it is taken. If the other end is gone, nobody misses it."""
        while self._unsent:
            try:
                self._socket.send(self._unsent[0])
            except BlockingIOError:
                return
            except OSError:
                self._unsent.clear()
                return
            self._unsent.popleft()

    def hand_over(self, connection: socket.socket) -> bool:
        """Send a connection, after all messages before it; return False if it cannot be sent now."""
        self.flush()
        if self._unsent:
            return False
        try:
            socket.send_fds(self._socket, [_encoder.encode(Connection())], [connection.fileno()])
        except OSError:  # not taken now, gone, or too many connections on their way
            return False
        return True

    def receive(self) -> tuple[Message | None, list[int]] | None:
        """Return the next message with its descriptors; None if there is none now, and no message if the other end is gone."""
        try:
            content, descriptors, _, _ = socket.recv_fds(self._socket, LARGEST, _MOST_DESCRIPTORS)
        except BlockingIOError:
            return None
        except OSError:
            return None, []
        return (_decoder.decode(content) if content else None), descriptors

    def close(self) -> None:
        """Close this end; the other one sees that it is gone."""
        self._socket.close()
