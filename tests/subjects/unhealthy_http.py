"""unhealthy_http.py PORT STATUS [FAILURES]: answers STATUS, after FAILURES (default: for ever) requests 200."""

import itertools
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

port, status = int(sys.argv[1]), int(sys.argv[2])
answers = [status] * int(sys.argv[3]) if len(sys.argv) > 3 else itertools.repeat(status)
upcoming = itertools.chain(answers, itertools.repeat(200))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(next(upcoming))
        self.send_header("Content-Length", "0")
        self.end_headers()


server = HTTPServer(("127.0.0.1", port), Handler)
print(f"port {server.server_port}", flush=True)
server.serve_forever()
