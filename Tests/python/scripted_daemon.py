"""A peer that speaks frames and says what a test wants it to say."""

import pathlib
import shutil
import socket
import struct
import tempfile
import threading


class ScriptedDaemon:
    """Calls `answer(connection, frame)` for every whole frame, on a thread per connection.

    `answer` returns bytes to send, or None; False ends the connection. Knows every frame that
    arrived.
    """

    def __init__(self, answer):
        self.answer, self.frames, self.connections = answer, [], []
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tgs"))
        self.path = str(self.directory / "s.sock")

    def __enter__(self):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()
        shutil.rmtree(self.directory)

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        data = b""
        try:
            while part := connection.recv(65_536):
                data += part
                while len(data) >= 16 and len(data) >= 4 + struct.unpack_from("<I", data)[0]:
                    end = 4 + struct.unpack_from("<I", data)[0]
                    frame, data = data[:end], data[end:]
                    self.frames.append(frame)
                    said = self.answer(connection, frame)
                    if said is False:
                        return
                    if said:
                        connection.sendall(said)
        except OSError:
            pass
        finally:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()


def request_id(frame):
    return struct.unpack_from("<Q", frame, 8)[0]


def with_id(frame, identity):
    return frame[:8] + struct.pack("<Q", identity) + frame[16:]
