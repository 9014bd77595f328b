"""Greets visitors, and asks the counter how many there were."""

import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.request import Request, urlopen

GREETING = os.environ["GREETING"]
PASSWORD = os.environ["COUNTER_PASSWORD"]


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            visits = "-"
        else:
            request = Request("http://counter:8000/", headers={"x-password": PASSWORD})
            with urlopen(request, timeout=10) as answer:
                visits = answer.read().decode()
        body = f"{GREETING}, visitor {visits}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 8080), Web)
server.daemon_threads = False  # what was asked before the end is answered
signal.signal(signal.SIGTERM, lambda *_: Thread(target=server.shutdown).start())
print("the web service listens", flush=True)
server.serve_forever()
server.server_close()
