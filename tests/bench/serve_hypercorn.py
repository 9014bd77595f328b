"""Serves an application as the system that MSE replaces does inside its enclave: hypercorn in one
worker on uvloop, TLS ended in the same process.

    python serve_hypercorn.py --app-dir DIR --app MODULE:VARIABLE --bind HOST:PORT
                              [--certificate PEM --key PEM]

Without a certificate it serves plain HTTP. Two things differ from that system: HTTP/1.1 is offered
besides h2, because the load generator speaks nothing else, and there is no line per request on
standard output, because ours writes none either.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from pathlib import Path

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config


def main() -> None:
    options = parse_arguments()
    sys.path.insert(0, str(options.app_dir.resolve()))
    module, _, variable = options.app.partition(":")
    app = getattr(importlib.import_module(module), variable)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(app, config_of(options)))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serves an application with hypercorn.")
    parser.add_argument("--app-dir", type=Path, required=True)
    parser.add_argument("--app", required=True, metavar="MODULE:VARIABLE")
    parser.add_argument("--bind", required=True, metavar="HOST:PORT")
    parser.add_argument("--certificate", type=Path, metavar="PEM")
    parser.add_argument("--key", type=Path, metavar="PEM")
    return parser.parse_args()


def config_of(options: argparse.Namespace) -> Config:
    config = Config()
    config.bind = [options.bind]
    config.workers = 1
    config.worker_class = "uvloop"
    config.alpn_protocols = ["h2", "http/1.1"]
    config.wsgi_max_body_size = 2 << 30
    config.errorlog = "-"
    if options.certificate is not None:
        config.certfile = str(options.certificate)
        config.keyfile = str(options.key)
    return config


if __name__ == "__main__":
    main()
