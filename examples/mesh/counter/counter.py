"""Counts visits, for whoever knows the password. Plain HTTP: the network shield makes it mutual TLS."""

import hmac
import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

PASSWORD = os.environ["COUNTER_PASSWORD"]
visits = 0


class Counter(BaseHTTPRequestHandler):
    def do_GET(self):
        global visits
        if not hmac.compare_digest(self.headers.get("x-password", ""), PASSWORD):
            self.send_error(403)
            return
        visits += 1
        body = str(visits).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 8000), Counter)
server.daemon_threads = False  # what was asked before the end is answered
signal.signal(signal.SIGTERM, lambda *_: Thread(target=server.shutdown).start())
print("the counter listens", flush=True)
server.serve_forever()
server.server_close()
