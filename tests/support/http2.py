"""HTTP/2 by hand: an upload and another request on one connection."""

import select
import socket

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection

#: Seconds until a server that neither reads nor answers counts as gone.
PATIENCE = 1


class Http2:
    """A connection in clear that sends as fast as flow control allows."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.initiate_connection()
        #: The status of each stream that has one, and which streams the server has ended.
        self.statuses: dict[int, int] = {}
        self.ended: set[int] = set()
        self.is_open = True

    def request(self, method: str, path: str) -> int:
        """Send the head of a request; its stream. A GET has no body."""
        stream = self._h2.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "h")]
        self._h2.send_headers(stream, head, end_stream=method == "GET")
        return stream

    def upload(self, stream: int, size: int) -> None:
        """Send the body of a request, whatever the server answers meanwhile."""
        while self.is_open and size:
            window = self._h2.local_flow_control_window(stream)
            piece = min(size, window, self._h2.max_outbound_frame_size)
            size -= piece
            if piece:
                self._h2.send_data(stream, b"x" * piece, end_stream=not size)
            self._exchange(wait=not piece)

    def reset(self, stream: int) -> None:
        """Give a request up."""
        self._h2.reset_stream(stream)
        self._exchange(wait=False)

    def wait_for(self, stream: int) -> int | None:
        """The status of a stream that the server has ended; None if the connection is closed."""
        while self.is_open and stream not in self.ended:
            self._exchange(wait=True)
        return self.statuses.get(stream) if stream in self.ended else None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _exchange(self, *, wait: bool) -> None:
        data = b""
        try:
            self._socket.sendall(self._h2.data_to_send())
            if select.select([self._socket], [], [], PATIENCE if wait else 0)[0]:
                data, wait = self._socket.recv(65_536), True
            self.is_open = bool(data) or not wait
        except OSError:
            self.is_open = False
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                fields = dict(event.headers)
                self.statuses[event.stream_id] = int(fields[b":status"])
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
