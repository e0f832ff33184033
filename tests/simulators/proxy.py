"""A TCP proxy that injects faults between two real programs."""

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """What happens to the bytes of one direction, counted per connection."""

    delay_s: float = 0.0  # before each piece
    drip_s: float = 0.0  # between any two bytes
    cut_after: int | None = None  # close after so many bytes
    black_hole: bool = False  # take everything, pass nothing on, stay connected
    reset: bool = False  # break the connection at the first byte
    corrupt_at: int | None = None  # flip a bit of this byte


NONE = Fault()


class FaultProxy:
    """Passes connections on to `target`; `up` (to it) and `down` (from it) may change any time."""

    def __init__(self, target: int, port: int = 0):
        self.up = self.down = NONE
        self.connections = 0
        self._target = target
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "FaultProxy":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.cut()
        for thread in self._threads[1:]:
            thread.join()

    def cut(self) -> None:
        """Close every connection that stands now."""
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        """No more faults."""
        self.up = self.down = NONE

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs.append((client, server))
            thread = threading.Thread(target=self._serve, args=(client, server))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        down = threading.Thread(target=self._pump, args=(server, client, "down"))
        down.start()
        self._pump(client, server, "up")
        down.join()
        client.close()
        server.close()
        self._pairs.remove((client, server))

    def _pump(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        """Pass one direction on until either end closes or a fault ends it."""
        count = 0
        with suppress(OSError):
            while data := source.recv(65536):
                fault: Fault = getattr(self, direction)
                if fault.reset:
                    sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                if fault.delay_s:
                    self._closing.wait(fault.delay_s)
                if not fault.black_hole and not self._pass_on(data, count, sink, fault):
                    break
                count += len(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, data: bytes, count: int, sink: socket.socket, fault: Fault) -> bool:
        """Send a piece as the fault has it; False when the connection is to be cut."""
        if fault.corrupt_at is not None and 0 <= fault.corrupt_at - count < len(data):
            place = fault.corrupt_at - count
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        whole = len(data)
        if fault.cut_after is not None:
            data = data[: max(0, fault.cut_after - count)]
        if fault.drip_s:
            for i in range(len(data)):
                sink.sendall(data[i : i + 1])
                if self._closing.wait(fault.drip_s):
                    return False
        else:
            sink.sendall(data)
        return len(data) == whole
