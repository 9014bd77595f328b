#!/usr/bin/env python3
"""What a party runs. Standard library only.

    client.py new-token TOKEN_FILE
    client.py --url URL upload bank TOKEN_FILE data/bank.csv
    client.py --url URL result bank TOKEN_FILE
    client.py --url URL reset  bank TOKEN_FILE

URL is best that of `mse proxy APP`, which verifies the enclave before it lets anything through.
With --ca-file, it may be the application's own: give the certificate that `mse verify` saved.
"""

import argparse
import hashlib
import json
import os
import secrets
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

CONTENT_TYPES = {".csv": "text/csv", ".json": "application/json"}


def main() -> None:
    options = parse_arguments()
    if options.command == "new-token":
        new_token(options.token_file)
        return
    service = Service(options.url, options.ca_file, options.party, options.token_file)
    match options.command:
        case "upload":
            content_type = CONTENT_TYPES.get(options.table.suffix)
            if content_type is None:
                sys.exit(f"error: `{options.table}` is neither a .csv nor a .json file")
            answer = service.send("PUT", "table", options.table.read_bytes(), content_type)
        case "result":
            answer = service.send("GET", "result")
        case "reset":
            answer = service.send("POST", "reset", b"")
    print(json.dumps(answer, indent=2))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A party of the private set intersection.")
    parser.add_argument("--url", help="URL of `mse proxy`, or of the application")
    parser.add_argument("--ca-file", type=Path, help="certificate to trust, PEM")
    commands = parser.add_subparsers(dest="command", required=True)
    token = commands.add_parser("new-token", help="make a token, print its hash for the deployer")
    token.add_argument("token_file", type=Path)
    for name, text in {
        "upload": "send this party's table",
        "result": "get the rows in common",
        "reset": "ask to forget all tables",
    }.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("party")
        command.add_argument("token_file", type=Path)
        if name == "upload":
            command.add_argument("table", type=Path, help="a .csv or .json file")
    options = parser.parse_args()
    if options.command != "new-token" and options.url is None:
        parser.error("--url is required")
    return options


def new_token(path: Path) -> None:
    token = secrets.token_urlsafe(32)
    # Exclusively and for the owner alone: a token that is overwritten cannot be had back.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")
    print("keep the file to yourself; give this hash to whoever deploys the application:")
    print(hashlib.sha256(token.encode()).hexdigest())


class Service:
    def __init__(self, url: str, ca_file: Path | None, party: str, token_file: Path) -> None:
        is_local = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
        if not url.startswith("https://") and not is_local:
            sys.exit(f"error: `{url}` would send the table in clear: use https or `mse proxy`")
        self.base = f"{url.rstrip('/')}/parties/{party}"
        self.tls = ssl.create_default_context(cafile=ca_file and str(ca_file))
        self.token = token_file.read_text(encoding="utf-8").strip()

    def send(
        self, method: str, page: str, body: bytes | None = None, content_type: str | None = None
    ) -> Any:
        request = urllib.request.Request(f"{self.base}/{page}", body, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        if content_type is not None:
            request.add_header("Content-Type", content_type)
        # No proxy of the environment: the enclave is who we want to talk to.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.tls)
        )
        try:
            with opener.open(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            sys.exit(f"error: refused with {error.code}: {error.read().decode(errors='replace')}")
        except urllib.error.URLError as error:
            sys.exit(f"error: `{self.base}` cannot be reached: {error.reason}")


if __name__ == "__main__":
    main()
