"""{{name}}: runs in an enclave, and greets."""

import json
import os
from pathlib import Path

from flask import Flask

app = Flask(__name__)

# Only the enclave can read this file: `mse deploy` seals it to the enclave it has verified.
SECRETS = json.loads(Path(os.environ["SECRETS_PATH"]).read_text(encoding="utf-8"))


@app.get("/health")
def health() -> str:
    return "OK"


@app.get("/")
def hello() -> str:
    return "Hello world"


@app.get("/whoami")
def whoami() -> dict[str, str]:
    # Shows that the secrets arrived, without showing them.
    return {"login": SECRETS["login"]}
