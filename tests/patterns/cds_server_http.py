"""How the store of `cds_server` sends its answers: threads, sockets, ranges, broken connections."""

import http.server
import json
import socket
import threading
import traceback
import urllib.parse

from cds_server_answers import Request, Sending
from cds_server_api import answer


class StoreHttpServer(http.server.ThreadingHTTPServer):
    """Threads on a free port; closing it ends every connection and waits for every thread."""

    daemon_threads = False

    def __init__(self, store):
        self.store = store
        self._open, self._guard = set(), threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request, client_address):
        """Remember the socket, then serve it in a thread."""
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        """Forget the socket and close it."""
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def close(self):
        """Stop listening, hang up, join."""
        self.shutdown()
        with self._guard:
            for connection in self._open:
                _hang_up(connection)
        self.server_close()

    def handle_error(self, request, client_address):
        """Keep what went wrong for the end of the store; that a caller hung up is no error."""
        text = traceback.format_exc()
        if "BrokenPipeError" not in text and "ConnectionResetError" not in text:
            self.store.errors.append(text)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length)
        if len(text) < length:
            # The caller died while it was asking.
            self._end()
            return
        request = Request(
            self.command,
            url.path,
            urllib.parse.parse_qs(url.query),
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(text) if text else {},
        )
        store = self.server.store
        sending: Sending = answer(store, request)
        nothing = sending.cut_after is not None and sending.cut_after < 0
        store.note(self.command, url.path, 0 if nothing else sending.status)
        if sending.stall_after == -1:
            store.closing.wait(store.slow_s)
            sending.stall_after = None
        if nothing:
            self._end()
            return
        self._send(store, sending)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

    def log_message(self, *arguments):
        """Say nothing on the error output: the store keeps a log."""

    def _send(self, store, sending):
        body = sending.body
        self.send_response(sending.status)
        self.send_header("Content-Type", sending.type)
        for name, value in sending.headers.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if sending.job:
            store.downloading(sending.job, +1)
        try:
            self._send_body(store, body, sending)
        finally:
            if sending.job:
                store.downloading(sending.job, -1)
        self.wfile.flush()
        if sending.cut_after is not None:
            self._end()

    def _send_body(self, store, body, sending):
        """All of the body but what must follow the end of the count of downloads.

        The last byte stays in the buffer: whoever has the whole file finds it counted out.
        """
        if sending.cut_after is not None:
            body = body[: sending.cut_after]
        if sending.stall_after is not None:
            self.wfile.write(body[: sending.stall_after])
            self.wfile.flush()
            body = body[sending.stall_after :]
            store.closing.wait(store.slow_s)
        self.wfile.write(body[:-1])
        self.wfile.flush()
        self.wfile.write(body[-1:])

    def _end(self):
        self.close_connection = True
        _hang_up(self.connection)


def _hang_up(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The other side was faster.
        return
